"""An incoming request or websocket, for every server and framework that speaks ASGI: one unit of work per call."""

from __future__ import annotations

import sys
from weakref import ref

from . import active, config
from .later import context, cors, errors, incoming, propagation, spans, unread
from .patching import Switch, guarded, hide_frame, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any

    from opentelemetry.context import Context

    from .context import Asked
    from .incoming import Work

    Message = dict[str, Any]

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
    if getattr(app, "__highlight__", None) is serving:
        return app

    async def asgi_application(scope: Any, receive: Any, send: Any) -> Any:
        try:
            return await _SERVED(app, scope, receive, send)
        except BaseException as error:
            hide_frame(error, __file__)
            raise

    asgi_application.__highlight__ = serving  # type: ignore[attr-defined]
    return asgi_application


def serve_calls(owner: type) -> None:
    """Serve each request of a class of ASGI 3 applications as a unit of work; for frameworks and servers."""
    replace(owner, "__call__", serving)


def serving(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return `call`, a method that takes scope, receive and send, serving each request as a unit of work.

    A function of its own, and no hook: nothing is called more often. Servers call an application without arguments,
    and take it for a factory unless that raises before it is awaited: it declares those that it has to have.
    """
    switch = Switch("ASGI", _opened)

    async def __call__(self: Any, scope: Any, receive: Any, send: Any, *more: Any) -> Any:  # noqa: N807
        request = None
        if switch.on:
            try:
                request = _opened(scope, send)
            except Exception as error:  # noqa: BLE001 - the guard
                try:
                    switch.fail(error)
                except RecursionError as deeper:
                    if deeper is error:
                        raise
        if type(request) is not Request:
            try:
                return await call(self, scope, receive, send, *more)
            except BaseException as error:
                hide_frame(error, __file__)
                raise
        try:
            token = context.attach(request.context)
            try:
                return await call(self, scope, receive, request.send, *more)
            except BaseException as error:
                hide_frame(error, __file__)
                failed(request, error)
                raise
            finally:
                if token is not None:
                    try:
                        context.reset(token)  # in place, as in wsgi.py
                    except context.NOT_HERE:
                        pass
        finally:
            closed(request, scope)  # whatever a signal's handler raises in between

    return __call__


def _call(app: Callable[..., Any], scope: Any, receive: Any, send: Any) -> Any:
    try:
        return app(scope, receive, send)
    except BaseException as error:
        hide_frame(error, __file__)
        raise


def _opened(scope: dict[str, Any], send: Callable[[Message], Awaitable[None]]) -> Request | None:
    """Begin a request or a websocket; None for what is neither, or has begun already."""
    kind = scope["type"]
    if kind not in ("http", "websocket") or (id(kind) in _serving and served(scope) is not None):
        return None
    request = Request(scope, send, is_inner=dict.__len__(context.get_current()) > 0)
    request.kind = kind
    scope["type"] = request.mark = mark = kind[:1] + kind[1:]
    _serving[id(mark)] = ref(request)
    return request


_SERVED = serving(_call)

# Global state: the requests that are being served, each by the identity of the text that stands as the type in its
# scope. Copies of the scope have the same one. A key of ours, or a value of a type of ours, would be seen: applications
# write all of a scope as JSON, compare it, and send it elsewhere. Held by the call alone: one that is never ended, in a
# task of a loop that was, goes with that.
_serving: dict[int, ref[Request]] = {}


@guarded
def failed(request: Request, error: BaseException) -> None:
    """Report an exception that left the application."""
    request.work.fail(error)


@guarded
def closed(request: Request, scope: dict[str, Any]) -> None:
    """End a request, and have its scope be as it was."""
    mark = request.mark
    _serving.pop(id(mark), None)
    if scope.get("type") is mark:
        scope["type"] = request.kind
    request.close()


def _handed_on(scope: dict[str, Any]) -> Work | None:
    """The request that is being served already, where it came as a serverless platform's event and is handed on."""
    unit = active.current()
    if unit is None or unit.asked is None or unit.span.end_ns or "faas.name" not in unit.span.attributes:
        return None
    method, _, path = unit.asked
    if method != scope.get("method") or not path.endswith(scope.get("path", "")):
        return None
    return incoming.Work(unit, context.snapshot())


def served(scope: Any) -> Request | None:
    """Return the request that a scope, or a copy of it, is of, while it is being served."""
    kind = (scope or {}).get("type")
    found = _serving.get(id(kind))
    request = found() if found is not None else None
    return request if request is not None and request.mark is kind else None


def name_by_route(scope: dict[str, Any], template: str) -> None:
    """Name the present request's span by a route's template, below where its application is mounted."""
    spans.set_route(scope.get("method", "GET"), scope.get(MOUNTED, "") + template)


def naming(template: Callable[[Any, Any], str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What replaces a route's method that takes scope, receive and send, and names the span, where one will be sent.

    `template` says it of the route and the scope.
    """

    @guarded
    def name(route: Any, scope: Any) -> None:
        name_by_route(scope, template(route, scope))

    def make(handle: Callable[..., Any]) -> Callable[..., Any]:
        async def named(self: Any, scope: Any, *args: Any, **kwargs: Any) -> Any:
            if active.span() is not None:
                name(self, scope)
            try:
                return await handle(self, scope, *args, **kwargs)
            except BaseException as error:
                hide_frame(error, __file__)
                raise

        return named

    return make


class Request:
    """A request that is being answered."""

    __slots__ = (
        "__weakref__",
        "_asked",
        "_handed_on",
        "_handled",
        "_origin",
        "_send",
        "_work",
        "context",
        "ended_ns",
        "kind",
        "mark",
        "raised",
    )

    kind: str  # the type in the scope, as it came
    mark: str  # the text that stands for it: the same, and this request's own

    def __init__(self, scope: dict[str, Any], send: Callable[[Message], Awaitable[None]], *, is_inner: bool) -> None:
        work = _handed_on(scope) if is_inner else None
        self._send = send
        self._handed_on = work is not None
        self._asked: tuple[str, ...] = ()
        self._origin: str | None = None
        self.ended_ns: int | None = None
        self._handled = sys.exc_info()[1]  # what is being handled around a call in-process is not of this request
        self.raised: BaseException | None = None  # the last exception that was seen on its way out
        given = _headers(scope)
        headers = dict(given)
        if len(headers) != len(given):
            headers = _joined(given)
        method = scope.get("method", "GET")
        preflight = method == "OPTIONS" and b"access-control-request-method" in headers
        place = method, headers.get(b"host"), scope.get("server"), scope.get("path", "")
        inside: Context | int = 0
        if not (is_inner or preflight):
            came = [value if value is None else _text(value) for value in map(headers.get, _names or _named())]
            inside = unread.put_off(method, spans.SERVER, _asked, place, *came)
        if type(inside) is unread.Unread:
            self._work = None
            self.context: Context = inside
        else:
            self._work = work = work or begin(scope, headers, _asked(place), inside if isinstance(inside, int) else 0)
            self.context = work.context
        if preflight and config.get().cors:
            scope["headers"], self._asked = cors.hide_bytes(given)
            self._origin = _text(headers.get(b"origin")) or None

    @property
    def work(self) -> Work:
        """The unit of work, which begins now if nobody has asked for it before."""
        if self._work is None:
            self._work = incoming.Work(unread.begun(self.context), self.context)
        return self._work

    async def send(self, message: Message) -> None:
        """Note what the application answers, and pass it on."""
        status = message.get("status") if isinstance(message, dict) else None
        if self._work is not None or (
            status is not None and isinstance(status, int) and status >= 500
        ):  # else nobody is told
            changed = observe(self, message)
            if isinstance(changed, dict):
                message = changed
        await self._send(message)

    def close(self) -> None:
        """End the request, and let go of exceptions, whose tracebacks hold whatever was at work."""
        self._handled = self.raised = None
        if self._handed_on:
            return  # whoever has begun it will
        if type(self.context) is not unread.Unread:
            # What runs after the answer (background tasks) belongs to the request, but does not make it longer.
            self.work.unit.span.end(self.ended_ns)
        else:
            unread.over(self.context)

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


def _joined(given: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers that are read, where some come in several lines: all of a list, and the first of others."""
    headers: dict[bytes, bytes] = {}
    for name, value in given:
        if name in _HEADERS and isinstance(value, bytes):
            if name in headers and name in _LISTS:
                headers[name] += _LISTS[name] + value
            else:
                headers.setdefault(name, value)
    return headers


# Global state: what those headers are called here that a unit of work begins with; None before the first request.
_names: tuple[bytes, ...] | None = None


def _named() -> tuple[bytes, ...]:
    global _names  # noqa: PLW0603 - once in a process
    _names = tuple([name.encode() for name in propagation.NAMES])
    return _names


def _host(address: Any) -> str | None:
    """The host of a pair; one that cannot be gone through again is the application's to read."""
    return str(address[0]) if address and isinstance(address, (list, tuple)) else None


def begin(scope: dict[str, Any], headers: dict[bytes, bytes], asked: Asked, half: int) -> Work:
    """Begin the unit of work of a request or a websocket; `half` as `unread.put_off` has it."""
    get = _getter(headers)
    method, host, path = asked

    def attributes() -> dict[str, Any]:
        query = scope.get("query_string")
        return spans.http_server(
            method,
            scope.get("scheme", "http"),
            host,
            path,
            query.decode("latin-1") if isinstance(query, bytes) else query or "",
            _host(scope.get("client")),
            get("user-agent"),
        )

    work = incoming.begin(method, spans.SERVER, get, attributes, half=half)
    work.unit.asked = asked
    return work


def _getter(headers: dict[bytes, bytes]) -> Callable[[str], str | None]:
    def get(name: str) -> str | None:
        return _text(headers.get(name.encode()))

    return get


def _text(value: Any) -> str | None:
    """A header's value; None for what is none."""
    return value.decode("latin-1") if isinstance(value, bytes) else None


def _asked(place: tuple[str, bytes | None, Any, str]) -> Asked:
    """Method, host and path; a websocket begins with a GET."""
    method, host, server, path = place
    return method, _text(host) or _host(server) or "", path
