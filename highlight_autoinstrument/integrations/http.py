"""http.client: every request on the wire carries the headers, and is a client span unless the library above has one.

This is the one place through which requests, urllib3, urllib and most others send, hop by hop and attempt by attempt.
"""

from __future__ import annotations

from .. import active
from ..later import outgoing, spans
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from http.client import HTTPConnection
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("http.client",)


def patch(client: ModuleType) -> None:
    wrap(client.HTTPConnection, "endheaders", endheaders)
    wrap(client.HTTPConnection, "getresponse", getresponse)


def endheaders(call: Call) -> Generator[None, Any, None]:
    connection: HTTPConnection = call.instance
    unanswered = connection.__dict__.pop("_highlight_span", None)
    if unanswered is not None:
        spans.finish(unanswered)  # the connection was closed and is used anew
    # The lines that have been put so far, the request line first; what is to be sent is nowhere else.
    lines: list[bytes] = connection._buffer  # type: ignore[attr-defined]  # noqa: SLF001
    if not lines or active.outside(connection, lambda: _destination(connection, "/")[1]):
        return

    given: dict[bytes, bytes] = {}
    for line in lines[:0:-1]:  # the first of a name counts
        name, _, value = line.partition(b":")
        given[name.lower()] = value

    def has(name: str) -> str | None:
        value = given.get(name.encode())
        return value.strip().decode("latin-1") if value is not None else None

    method, _, rest = lines[0].decode("latin-1").partition(" ")
    target = rest.rpartition(" ")[0]
    scheme, host, port, path = _destination(connection, target)
    span = spans.http_call_span(method, spans.origin(scheme, host, port) + path) if spans.calling() else None
    # Past putheader, which subclasses replace, and which is for what the application says.
    lines += [
        f"{name}: {value}".encode("ascii") for name, value in outgoing.headers(scheme, host, port, has, target, span)
    ]
    try:
        yield
    except BaseException as error:
        spans.finish(span, error)
        raise
    if span is not None:
        connection.__dict__["_highlight_span"] = span


def getresponse(call: Call) -> Generator[None, Any, None]:
    span = call.instance.__dict__.pop("_highlight_span", None)
    if span is None:
        return
    try:
        response = yield
    except BaseException as error:
        spans.finish(span, error)
        raise
    spans.set_status_code(span, response.status)
    spans.finish(span)


def _destination(connection: HTTPConnection, target: str) -> tuple[str, str, int | None, str]:
    """Where the request really goes: by a proxy that is given the whole URL, or through a proxy's tunnel."""
    if not target.startswith("/") and "://" in target:
        return spans.split_url(target)
    scheme = "https" if connection.default_port == 443 else "http"
    path = target.partition("?")[0]
    tunnel: Any = getattr(connection, "_tunnel_host", None)
    if tunnel:
        return scheme, _text(tunnel), getattr(connection, "_tunnel_port", None), path
    # urllib leaves the URL's user and password in it, fails at them next, and may be caught.
    return scheme, connection.host.rpartition("@")[2], connection.port, path


def _text(host: Any) -> str:
    return host.decode("latin-1") if isinstance(host, bytes) else host
