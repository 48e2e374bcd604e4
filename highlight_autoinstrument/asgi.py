"""An incoming request or websocket, for every server and framework that speaks ASGI: one unit of work per call."""

from __future__ import annotations

import sys

from . import active, config
from .later import context, cors, errors, incoming, spans
from .patching import guarded, hide_frame, hooked, replace, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence
    from typing import Any

    from .incoming import Work
    from .patching import Call

    Message = dict[str, Any]

MARK = "highlight.request"  # in the scope: the Request that the server, or a framework further out, has begun
MOUNTED = "highlight.mounted"  # in the scope: the template of the path that the application is mounted under
STARTS = ("http.response.start", "websocket.http.response.start")
_HEADERS = frozenset(
    b"x-highlight-request traceparent tracestate baggage cookie host user-agent origin "
    b"access-control-request-method".split()
)
# Lists that may come in several lines, and what stands between their parts. HTTP/2's browsers send each cookie alone.
_LISTS = {b"cookie": b"; ", b"baggage": b",", b"tracestate": b","}
for _name in config.get().record_headers:
    if _name.encode() not in _HEADERS:
        _LISTS[_name.encode()] = b", "
_HEADERS |= _LISTS.keys()


def application(app: Callable[..., Any]) -> Callable[..., Any]:
    """Return an ASGI 3 application that serves each request of `app` as a unit of work; for servers."""
    if getattr(app, "__highlight__", None) is serve:
        return app

    async def asgi_application(scope: Any, receive: Any, send: Any) -> Any:
        return await app(scope, receive, send)

    return hooked(asgi_application, serve, "ASGI")


def serve_calls(owner: type) -> None:
    """Serve each request of a class of ASGI 3 applications as a unit of work; for frameworks."""
    wrap(owner, "__call__", serve)
    replace(owner, "__call__", _declared)


def _declared(call: Callable[..., Any]) -> Callable[..., Any]:
    # Servers call an application without arguments, and take it for a factory unless that raises before it is awaited.
    async def __call__(self: Any, scope: Any, receive: Any, send: Any) -> Any:  # noqa: N807
        try:
            return await call(self, scope, receive, send)
        except BaseException as error:
            hide_frame(error, __file__)
            raise

    return __call__


def serve(call: Call) -> Generator[None, Any, None]:
    """Hook for an ASGI application's call, which has the arguments scope, receive and send."""
    scope = call["scope"]
    if scope["type"] not in ("http", "websocket") or MARK in scope:
        return
    outer = _handed_on(scope)
    request = Request(scope, call["send"], outer)
    scope[MARK] = request
    call["send"] = request.send
    work = request.work
    token = work.attach()
    try:
        yield
    except BaseException as error:
        work.fail(error)
        raise
    finally:
        work.detach(token)
        scope.pop(MARK, None)
        request.forget()
        if outer is None:
            # What runs after the answer (background tasks) belongs to the request, but does not make it longer.
            work.unit.span.end(request.ended_ns)


def _handed_on(scope: dict[str, Any]) -> Work | None:
    """The request that is being served already, where it came as a serverless platform's event and is handed on."""
    unit = active.current()
    if unit is None or unit.span.end_ns or "faas.name" not in unit.span.attributes:
        return None
    served = unit.span.attributes
    if served.get("http.request.method") != scope.get("method"):
        return None
    if not served.get("url.path", "").endswith(scope.get("path", "")):
        return None
    return incoming.Work(unit, context.snapshot())


def name_by_route(scope: dict[str, Any], template: str) -> None:
    """Name the present request's span by a route's template, below where its application is mounted."""
    spans.set_route(scope.get("method", "GET"), scope.get(MOUNTED, "") + template)


class Request:
    """A request that is being answered."""

    __slots__ = ("_asked", "_handled", "_origin", "_send", "ended_ns", "raised", "work")

    def __init__(
        self, scope: dict[str, Any], send: Callable[[Message], Awaitable[None]], work: Work | None = None
    ) -> None:
        self._send = send
        self._asked: tuple[str, ...] = ()
        self._origin: str | None = None
        self.ended_ns: int | None = None
        self._handled = sys.exc_info()[1]  # what is being handled around a call in-process is not of this request
        self.raised: BaseException | None = None  # the last exception that was seen on its way out
        headers: dict[bytes, bytes] = {}
        given = _headers(scope)
        for name, value in given:
            if name in _HEADERS and isinstance(value, bytes):
                if name in headers and name in _LISTS:
                    headers[name] += _LISTS[name] + value
                else:
                    headers.setdefault(name, value)
        self.work = work or begin(scope, headers)
        preflight = scope.get("method") == "OPTIONS" and b"access-control-request-method" in headers
        if preflight and config.get().cors:
            scope["headers"], self._asked = cors.hide_bytes(given)
            self._origin = headers.get(b"origin", b"").decode("latin-1") or None

    async def send(self, message: Message) -> None:
        """Note what the application answers, and pass it on."""
        changed = observe(self, message)
        await self._send(changed if isinstance(changed, dict) else message)

    def note(self, message: Message) -> Message | None:
        """Read a message of the application's; return one to send in its place, or None."""
        kind, status = kind_and_status(message)
        span = self.work.unit.span
        if status is not None:
            spans.set_status_code(span, status)
            if status >= 500:
                self.note_raised()
                if self.raised is not None:
                    errors.record_in(self.work.unit, self.raised)
            if self._asked or spans.RECORDED:
                headers = list(message.get("headers") or ())  # may be an iterator, that can be gone through once
                spans.note_headers(span, headers)
                allowed = cors.allow_bytes(headers, self._asked, self._origin, status) if self._asked else None
                return {**message, "headers": headers if allowed is None else allowed}
        elif kind == "http.response.body" and not message.get("more_body"):
            self.ended_ns = span.now_ns()
        return None

    def forget(self) -> None:
        """Let go of exceptions, whose tracebacks hold whatever was at work."""
        self._handled = self.raised = None

    def note_raised(self) -> None:
        """Remember the exception that is being handled: one that an answer is made of is answered while it is."""
        error = sys.exc_info()[1]
        if error is not None and error is not self._handled:
            self.raised = error


def kind_and_status(message: Any) -> tuple[str | None, int | None]:
    """What a message of the application's is, and the status that an answer begins with; None for what is malformed.

    The server is about to complain of that. The next answer is to be observed all the same.
    """
    if not isinstance(message, dict):
        return None, None
    kind, status = message.get("type"), message.get("status")
    return kind, status if kind in STARTS and isinstance(status, int) else None


@guarded
def observe(request: Request, message: Message) -> Message | None:
    """`Request.note`, guarded."""
    return request.note(message)


def _headers(scope: dict[str, Any]) -> Sequence[tuple[bytes, bytes]]:
    """The headers. Any iterable of pairs may stand there: the application finds it as it was."""
    given = scope.get("headers") or ()
    if isinstance(given, (list, tuple)) and (not given or isinstance(given[0], (list, tuple))):
        return given
    read = [(name, value) for name, value in given]
    scope["headers"] = iter(read) if hasattr(given, "__next__") else read
    return read


def _host(address: Any) -> str | None:
    """The host of a pair; one that cannot be gone through again is the application's to read."""
    return str(address[0]) if address and isinstance(address, (list, tuple)) else None


def begin(scope: dict[str, Any], headers: dict[bytes, bytes]) -> Work:
    """Begin the unit of work of a request or a websocket."""
    from opentelemetry.trace import SpanKind

    def get(name: str) -> str | None:
        value = headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    method = scope.get("method", "GET")  # a websocket begins with a GET
    query = scope.get("query_string")
    attributes = spans.http_server(
        method,
        scope.get("scheme", "http"),
        get("host") or _host(scope.get("server")) or "",
        scope.get("path", ""),
        query.decode("latin-1") if isinstance(query, bytes) else query or "",
        _host(scope.get("client")),
        get("user-agent"),
    )
    return incoming.begin(method, SpanKind.SERVER, get, attributes)
