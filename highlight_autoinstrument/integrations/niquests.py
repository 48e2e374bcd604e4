"""niquests, sync and async: each call is one client span, redirects included; the headers go out below, in urllib3."""

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

MODULES = ("niquests.sessions", "niquests.async_session")


def patch(module: ModuleType) -> None:
    wrap(module.Session if module.__name__ == "niquests.sessions" else module.AsyncSession, "send", send)


def send(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    request = call.get("request")
    with spans.http_client(getattr(request, "method", None), getattr(request, "url", None)) as span:
        response = yield
        if not getattr(response, "lazy", False):  # several at once on one connection: the answer is yet to come
            spans.set_status_code(span, getattr(response, "status_code", None))
