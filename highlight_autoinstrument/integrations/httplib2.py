"""httplib2: each call is one client span, redirects included; the headers go out below, in http.client."""

from __future__ import annotations

from .. import active
from ..later import spans
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("httplib2",)


def patch(httplib2: ModuleType) -> None:
    wrap(httplib2.Http, "request", request)


def request(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    with spans.http_client(call.get("method", "GET"), call.get("uri")) as span:
        result = yield
        spans.set_status_code(span, getattr(result[0], "status", None) if isinstance(result, tuple) else None)
