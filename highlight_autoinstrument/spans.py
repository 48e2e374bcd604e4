"""The kinds of span, and what each says of its work; each attribute name is spelled here once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from opentelemetry.trace import INVALID_SPAN, SpanKind

from . import active, config, context, errors
from .recording import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType


# For those that do not load OpenTelemetry themselves.
INTERNAL, PRODUCER, CONSUMER = SpanKind.INTERNAL, SpanKind.PRODUCER, SpanKind.CONSUMER
SERVER, CLIENT = SpanKind.SERVER, SpanKind.CLIENT
__all__ = ["CLIENT", "CONSUMER", "INTERNAL", "INVALID_SPAN", "PRODUCER", "SERVER"]

# The span of a request that is served here.

RECORDED = config.get().record_headers


def http_server(
    method: str, scheme: str, host: str, path: str, query: str, client: str | None, agent: str | None
) -> dict[str, Any]:
    """The attributes of a request, by today's names and by those that Highlight's columns have."""
    attributes = {
        "http.request.method": method,
        "http.method": method,
        "url.scheme": scheme,
        "url.path": path,
        "http.url": f"{scheme}://{host}{path}",
        "server.address": host,
    }
    if query:
        attributes["url.query"] = query
    if client:
        attributes["client.address"] = client
    if agent:
        attributes["user_agent.original"] = agent
    return attributes


def request_headers(get: Callable[[str], str | None]) -> dict[str, list[str]]:
    """Those headers of a request that the settings name; `get` is asked in lower case."""
    values = {header: get(header) for header in RECORDED}
    return {f"http.request.header.{header}": [value] for header, value in values.items() if value is not None}


def set_route(method: str, route: str) -> None:
    """Name the present request's span by its route's template: `GET /orders/{id}`."""
    span = active.span()
    if span is not None and not span.end_ns:
        if not route.startswith("/"):
            route = f"/{route}"
        span.attributes["http.route"] = route
        span.name = f"{method} {route}"


def set_status_code(span: Span | None, status: object) -> None:
    """Note an HTTP answer on a span: 5xx is a failure, and to a client's call 4xx is one as well."""
    # A stand-in for a response may have anything for a status.
    if span is not None and isinstance(status, int) and not span.end_ns:
        span.attributes["http.response.status_code"] = span.attributes["http.status_code"] = status
        if status >= (400 if span.kind is SpanKind.CLIENT else 500):
            span.fail(str(status))


def note_headers(span: Span, headers: Iterable[tuple[Any, Any]]) -> None:
    """Record those headers of an answer that the settings name, in text or bytes."""
    if not RECORDED:
        return
    found: dict[str, list[str]] = {}
    for pair in headers:
        # Malformed ones are for the server to complain of.
        name, value = map(_plain, pair) if isinstance(pair, (tuple, list)) and len(pair) == 2 else ("", "")
        if name.lower() in RECORDED:
            found.setdefault(f"http.response.header.{name.lower()}", []).append(value)
    span.set_attributes(found)


def _plain(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""


# A piece of a unit's work.


class Piece:
    """A span inside a unit of work: current while entered, failed if an exception leaves it, ended after."""

    __slots__ = ("_token", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self._token: object = None

    def __enter__(self) -> Span:
        self._token = context.attach(context.with_span(self.span))
        return self.span

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None and errors.is_error(error):
            # No error yet: the application may catch it and try again.
            self.span.fail(errors.type_name(error))
        try:
            context.detach(self._token)
        finally:
            self.span.end()


class Nothing:
    """What stands in for a span outside a unit of work, and inside the call of a library above."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


NOTHING = Nothing()


def child(name: str, kind: SpanKind, attributes: Mapping[str, Any] | None = None) -> Span | None:
    """A new span in the present unit of work, below the current span; None outside one. It is not yet entered."""
    unit = active.current()
    if unit is None:
        return None
    parent = context.ids_in(unit)
    return Span(name, kind, unit, dict(attributes or {}), parent, unit.span.trace_state)


def piece(name: str, kind: SpanKind, attributes: Mapping[str, Any] | None = None) -> Piece | Nothing:
    """A new span in the present unit of work, to be entered; `Nothing` outside one."""
    span = child(name, kind, attributes)
    return Piece(span) if span is not None else NOTHING


def calling() -> bool:
    """Whether a call that starts here gets a span: inside a unit of work, and not inside another call's span."""
    if active.current() is None or context.suppressed():
        return False
    return getattr(context.current_span(), "kind", None) is not SpanKind.CLIENT


def http_client(method: object, url: object, base: object = "") -> Piece | Nothing:
    """A client span for an HTTP call. Of the URL, credentials and query are left out; it may be relative to `base`."""
    if not calling():
        return NOTHING
    name = _method(method)
    return piece(name, SpanKind.CLIENT, http_call(name, str(url or ""), str(base or "")))


def http_call_span(method: str, url: str) -> Span | None:
    """The same for a call that begins in one function and ends in another: not entered, ended by `finish`."""
    return child(method, SpanKind.CLIENT, http_call(method, url)) if calling() else None


def _method(method: object) -> str:
    if isinstance(method, bytes):
        method = method.decode("latin-1")
    return str(method or "HTTP").upper()


def finish(span: Span | None, error: BaseException | None = None) -> None:
    """End a span that was not entered, as failed if there is an exception."""
    if span is not None:
        if error is not None and errors.is_error(error):
            span.fail(errors.type_name(error))
        span.end()


def http_call(method: str, url: str, base: str = "") -> dict[str, Any]:
    """The attributes of an HTTP call."""
    scheme, host, port, path = split_url(url, base)
    bare_url = f"{origin(scheme, host, port)}{path}"
    attributes: dict[str, Any] = {
        "http.request.method": method,
        "http.method": method,
        "url.full": bare_url,
        "http.url": bare_url,
        "server.address": host,
    }
    if port:
        attributes["server.port"] = port
    return attributes


def split_url(url: str, base: str = "") -> tuple[str, str, int | None, str]:
    """Scheme, host, port and path of a URL; all of them empty for one that is malformed: the library will say so."""
    try:
        parts = urlsplit(urljoin(base, url) if base else url)
        port = parts.port
    except ValueError:
        return "", "", None, ""
    return parts.scheme, parts.hostname or "", port, parts.path


def origin(scheme: str, host: str, port: int | None) -> str:
    """What a URL begins with."""
    if not host:
        return ""
    default = port is None or port == (443 if scheme == "https" else 80)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}{'' if default else f':{port}'}"


def rpc(system: str, full_method: str, address: str = "") -> dict[str, Any]:
    """The attributes of a remote procedure call or of serving one; `full_method` as gRPC has it, `/service/method`."""
    service, _, method = full_method.lstrip("/").rpartition("/")
    attributes = {"rpc.system": system, "rpc.service": service, "rpc.method": method}
    if address:
        attributes["server.address"] = address
    return attributes


def message(system: str, destination: str, operation: str) -> dict[str, Any]:
    """The attributes of sending a message (`send`) or of working on one (`process`)."""
    return {
        "messaging.system": system,
        "messaging.destination.name": destination,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }
