"""httpx: each call is one client span; every request that it takes, after redirects and for logins, has the headers."""

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

MODULES = ("httpx",)


def patch(httpx: ModuleType) -> None:
    for client in (httpx.Client, httpx.AsyncClient):
        wrap(client, "send", send)
        # Below redirects and authentication, above the transports: nothing public sees each request alone.
        wrap(client, "_send_single_request", send_one)


def send(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    request = call.get("request")
    with spans.http_client(getattr(request, "method", None), getattr(request, "url", None)) as span:
        response = yield
        spans.set_status_code(span, getattr(response, "status_code", None))


def send_one(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    request = call["request"]
    url, headers = request.url, request.headers
    host = url.raw_host.decode("ascii")
    added = outgoing.headers(url.scheme, host, url.port, headers.get, str(url))
    for name, value in added:
        headers[name] = value
    try:
        yield
    finally:
        # The request stays the application's, and what a redirect is made of: the next host may not have the ids.
        for name, _ in added:
            headers.pop(name, None)
