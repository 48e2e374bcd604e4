"""urllib: each call is one client span, redirects included; the headers go out below, in http.client."""

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

MODULES = ("urllib.request",)


def patch(request: ModuleType) -> None:
    wrap(request.OpenerDirector, "open", opening)


def opening(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    request = call.get("fullurl")
    url = request if isinstance(request, str) else getattr(request, "full_url", None)
    if not isinstance(url, str) or not url.lower().startswith(("http://", "https://")):
        return  # a file, or what an opener of the application's own reads
    has_body = (call.get("data") if isinstance(request, str) else call.get("data") or request.data) is not None
    method = "POST" if has_body else "GET"
    if not isinstance(request, str):
        method = getattr(request, "method", None) or method
    with spans.http_client(method, url) as span:
        try:
            response = yield
        except BaseException as error:
            spans.set_status_code(span, getattr(error, "code", None))  # HTTPError is the answer as well
            raise
        spans.set_status_code(span, getattr(response, "status", None))
