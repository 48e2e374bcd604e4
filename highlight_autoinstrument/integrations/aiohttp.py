"""aiohttp's client: each call is one client span; every request that it takes, redirected or not, has the headers."""

from __future__ import annotations

from .. import active
from ..later import outgoing, spans
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("aiohttp.client",)


def patch(client: ModuleType) -> None:
    # A TraceConfig would be public, but is told of a redirect before the next host is known, and shows in the session.
    wrap(client.ClientSession, "_request", request)
    wrap(client.ClientRequest, "send", send)


def request(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    base = getattr(call.instance, "_base_url", None)
    with spans.http_client(call.get("method"), call.get("str_or_url"), base) as span:
        response = yield
        spans.set_status_code(span, getattr(response, "status", None))


def send(call: Call) -> Generator[None, Any, None]:
    request = call.instance
    if active.current() is None or request.method == "CONNECT":  # what opens a tunnel is for the proxy
        return
    url, headers = request.url, request.headers
    added = outgoing.headers(url.scheme, url.raw_host or "", url.port, headers.get, str(url))
    for name, value in added:
        headers[name] = value
    try:
        yield
    finally:
        # Middleware may send this same object again, elsewhere; and the response shows what the application sent.
        for name, _ in added:
            headers.pop(name, None)
