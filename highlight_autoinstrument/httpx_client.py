"""httpx's clients and those of its successor httpx2, which have the same methods: a call's span, a request's headers.

An application may have httpx2 take httpx's name: their hooks are the same, so that no client gets them twice.
"""

from __future__ import annotations

from . import active
from .later import outgoing, spans
from .patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from .patching import Call


def patch(httpx: ModuleType) -> None:
    """Patch the clients of either."""
    for client in (httpx.Client, httpx.AsyncClient):
        wrap(client, "send", send)
        # Below redirects and authentication, above the transports: nothing public sees each request alone.
        wrap(client, "_send_single_request", send_one)


def send(call: Call) -> Generator[None, Any, None]:
    """Hook for a call: one client span, redirects and logins included."""
    if active.current() is None:
        return
    request = call.get("request")
    with spans.http_client(getattr(request, "method", None), getattr(request, "url", None)) as span:
        response = yield
        spans.set_status_code(span, getattr(response, "status_code", None))


def send_one(call: Call) -> Generator[None, Any, None]:
    """Hook for one of its requests: it has the headers if its host may."""
    if active.outside(call.instance, lambda: call["request"].url.host):
        return
    request = call["request"]
    url, headers = request.url, request.headers
    host = url.raw_host.decode("ascii")
    given = {name.lower(): value for name, value in headers.raw}

    def has(name: str) -> str | None:
        value = given.get(name.encode())
        return value.decode("latin-1") if value is not None else None

    added = outgoing.headers(url.scheme, host, url.port, has, str(url))
    for name, value in added:
        headers[name] = value
    try:
        yield
    finally:
        # The request stays the application's, and what a redirect is made of: the next host may not have the ids.
        for name, _ in added:
            if name in headers:  # the application's hooks may have taken it out
                del headers[name]
