"""An incoming request, for every server and framework that speaks WSGI: one unit of work until its body is done."""

from __future__ import annotations

import functools

from . import active, config, guard
from .later import context, cors, errors, incoming, propagation, spans, unread
from .patching import Switch, guarded, hide_frame, replace, standing_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from types import FrameType
    from typing import Any

    from opentelemetry.context import Context

    from .context import Asked
    from .incoming import Work
    from .propagation import Names

_BARE = ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH")  # headers that come without the prefix of the others
MARK = "highlight.request"  # in the environ: the server, or a framework further out, has begun this request


def application(app: Callable[..., Any]) -> Callable[..., Any]:
    """Return a WSGI application that serves each request of `app` as a unit of work; for servers."""
    return functools.partial(_SERVED, app)


def called(app: Callable[..., Any], _: FrameType) -> Callable[..., Any]:
    """Hook for a server's reading of the application that it is about to call."""
    return application(app)


def in_place_of(app: Callable[..., Any]) -> Callable[..., Any]:
    """Return what serves each request of `app`, and is `app` to whoever looks at it."""
    return standing_for(app, _SERVED)


def serve_calls(owner: type, answer: Callable[[Body], Any] | None = None) -> None:
    """Serve each request of a class of WSGI applications as a unit of work; for frameworks.

    `answer` says what the application's caller gets in place of a body that is made while it is sent.
    """
    replace(owner, "__call__", functools.partial(serving, answer=answer) if answer is not None else serving)


def serving(call: Callable[..., Any], answer: Callable[[Body], Any] | None = None) -> Callable[..., Any]:
    """Return `call`, a method that takes environ and start_response, serving each request as a unit of work.

    A function of its own, and no hook: nothing is called more often.
    """
    switch = Switch("WSGI", _opened)

    def __call__(self: Any, environ: Any, start_response: Any) -> Any:  # noqa: N807
        request = None
        if switch.on:
            try:
                request = _opened(environ, start_response)
            except Exception as error:  # noqa: BLE001 - the guard
                try:
                    switch.fail(error)
                except RecursionError as deeper:
                    if deeper is error:
                        raise
        if type(request) is not Request:
            try:
                return call(self, environ, start_response)
            except BaseException as error:
                hide_frame(error, __file__)
                raise
        try:
            token = context.set_current(request.context)
            try:
                body = call(self, environ, request.start_response)
            except BaseException as error:
                hide_frame(error, __file__)
                failed(request, error, 500)
                raise
            finally:
                try:
                    context.reset(token)  # in place: a signal's handler runs where a function of Python's begins
                except context.NOT_HERE:
                    pass
            answered = _answered(request, environ, body, answer, switch)
        except BaseException:
            request.end()  # whatever comes in between
            raise
        try:
            return answered
        finally:
            del body, answered  # what keeps the call's frame keeps this one: see patching.py

    return __call__


def _close(body: Any) -> None:
    """Close an application's body, as its server would have."""
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _call(app: Callable[..., Any], environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    try:
        return app(environ, start_response)
    except BaseException as error:
        hide_frame(error, __file__)
        raise


def _opened(environ: dict[str, Any], start_response: Callable[..., Any]) -> Request | None:
    """Begin a request; None for one that has begun already."""
    around = context.get_current()
    if MARK in environ or (around and _is_handed_on(environ)):
        return None
    get = environ.get
    method = get("REQUEST_METHOD", "GET")
    place = method, get("HTTP_HOST") or get("SERVER_NAME", ""), get("SCRIPT_NAME", ""), get("PATH_INFO", "")
    inside: Context | int = 0
    if not around and method != "OPTIONS":  # whose headers are for browsers to see
        inside = unread.put_off(method, spans.SERVER, _asked, place, *map(get, _names or _name()))
    if type(inside) is unread.Unread:
        request = Request(None, inside, environ, start_response)
    else:
        work = begin(environ, _asked(place), inside if isinstance(inside, int) else 0)
        request = Request(work, work.context, environ, start_response)
    environ[MARK] = True
    return request


def _answered(
    request: Request,
    environ: dict[str, Any],
    body: Any,
    answer: Callable[[Body], Any] | None,
    switch: Switch,
) -> Any:
    """What goes to the server in place of an answer's body, which may be made only while it is sent."""
    try:
        wrapper = environ.get("wsgi.file_wrapper")
        is_whole = _judge(body) if type(body) is _known else isinstance(body, (list, tuple))
        if is_whole or (wrapper is not None and _is_file(wrapper, body)):
            request.end()
            return body
        served = SizedBody(body, request) if hasattr(body, "__len__") else Body(body, request)
        return served if answer is None else answer(served)
    except BaseException as error:  # noqa: BLE001 - the guard
        try:
            if not isinstance(error, Exception):
                raise
            switch.fail(error)
        except BaseException as deeper:
            if deeper is error or not isinstance(deeper, RecursionError):
                _close(body)  # a signal's handler's, or the stack is used up: nobody gets it
                raise
        return body


_SERVED = serving(_call)


def _is_handed_on(environ: dict[str, Any]) -> bool:
    """Whether this is the request that is being served already, which an ASGI application has handed to a WSGI one.

    A call to another application in-process, by a test client, is a request of its own.
    """
    unit = active.current()
    if unit is None or unit.asked is None or unit.span.end_ns:
        return False
    method, host, path = unit.asked
    return (
        method == environ.get("REQUEST_METHOD")
        and host == environ.get("HTTP_HOST")
        and path.endswith(_decoded(environ.get("PATH_INFO", "")))
    )


def _decoded(path: str) -> str:
    """A path as the browser meant it: WSGI has its bytes as latin-1, and some callers have the text itself."""
    if path.isascii():
        return path
    try:
        return path.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return path


def name_by_route(environ: dict[str, Any], method: str, template: str) -> None:
    """Name the present request's span by a route's template, below where its application is mounted."""
    spans.set_route(method, below(_decoded(environ.get("SCRIPT_NAME") or ""), template))


def below(root: str, template: str) -> str:
    """A route's template below an application's root, with one slash between the two."""
    root = root.rstrip("/")
    return f"{root}/{template.removeprefix('/')}" if root else template


def begin(environ: dict[str, Any], asked: Asked, half: int) -> Work:
    """Begin the unit of work of a request; `half` as `unread.put_off` has it."""
    get = environ.get
    method, host, path = asked

    def attributes() -> dict[str, Any]:
        return spans.http_server(
            method,
            get("wsgi.url_scheme", "http"),
            host,
            path,
            get("QUERY_STRING", ""),
            get("REMOTE_ADDR"),
            get("HTTP_USER_AGENT"),
        )

    if spans.RECORDED:  # by the names that the settings have
        work = incoming.begin(method, spans.SERVER, lambda name: _header(environ, name), attributes, half=half)
    else:
        work = incoming.begin(method, spans.SERVER, get, attributes, _names or _name(), half)
    work.unit.asked = asked
    return work


def _asked(place: tuple[str, ...]) -> Asked:
    """Method, host and path: the same wherever in the application, which may be mounted, they are asked for."""
    method, host, script, path = place
    return method, host, _decoded(script + path)


# Global state: what the environ calls those headers that are read; None before the first request.
_names: Names | None = None


def _name() -> Names:
    global _names  # noqa: PLW0603 - once in a process
    _names = propagation.Names(*map(_key, propagation.NAMES))
    return _names


def _header(environ: dict[str, Any], name: str) -> str | None:
    key = _key(name)
    value: str | None = environ.get(key)
    return environ.get(key[5:]) if value is None and key in _BARE else value


def _key(name: str) -> str:
    """The environ's key of a header."""
    return "HTTP_" + name.upper().replace("-", "_")


# Global state: a framework's type of bodies, and what says of one of them whether it is whole.
_known: type | None = None
_judge: Callable[[Any], bool] = bool


def know_whole(kind: type, judge: Callable[[Any], bool]) -> None:
    """Let `judge` say of bodies of a type whether one is there already, and no code of the application's is to run."""
    global _known, _judge
    _judge, _known = judge, kind


def _is_file(wrapper: Any, body: object) -> bool:
    # A server recognises its own file wrapper by type, and sends the file in its own way.
    if isinstance(wrapper, type):
        return isinstance(body, wrapper)
    return hasattr(body, "fileno")  # uWSGI's is a function, and returns the file itself


class Request:
    """A request that is being answered."""

    __slots__ = ("_asked", "_environ", "_start_response", "_work", "context", "ended_ns", "told")

    def __init__(
        self, work: Work | None, inside: Context, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> None:
        self._work = work
        self.context = inside
        self.ended_ns: int | None = None
        self._environ = environ
        self._start_response = start_response
        self._asked: tuple[str, ...] = ()
        self.told = False  # whether anybody is, of the answer: the span, or a browser's preflight
        if work is not None:
            if environ.get("REQUEST_METHOD") == "OPTIONS" and config.get().cors:
                self._hide_ours()
            self.told = work.unit.span.sampled or bool(self._asked)

    @property
    def work(self) -> Work:
        """The unit of work, which begins now if nobody has asked for it before."""
        if self._work is None:
            self._work = incoming.Work(unread.begun(self.context), self.context)
        return self._work

    def _hide_ours(self) -> None:
        requested = self._environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS")
        if requested and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in self._environ:
            shown, self._asked = cors.hide(requested)
            if shown is None:
                del self._environ["HTTP_ACCESS_CONTROL_REQUEST_HEADERS"]
            else:
                self._environ["HTTP_ACCESS_CONTROL_REQUEST_HEADERS"] = shown

    def start_response(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        """Note the status, and let the browser client's headers through the application's CORS answer."""
        if self.told or exc_info:
            changed = self.note(status, headers, *exc_info)
            if isinstance(changed, list):
                headers = changed
        if not exc_info:  # the usual call: a quicker one
            return self._start_response(status, headers)
        return self._start_response(status, headers, *exc_info)

    @guarded
    def note(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> list[tuple[str, str]] | None:
        """Read what the application answers; return headers to send in place of its own, or None."""
        number = status.partition(" ")[0] if isinstance(status, str) else ""
        if not (len(number) == 3 and number.isascii() and number.isdigit()):
            return None  # the server complains of that, or sends it; the next answer is observed all the same
        code = int(number)
        span = self.work.unit.span
        spans.set_status_code(span, code)
        if spans.RECORDED:
            spans.note_headers(span, headers if isinstance(headers, list) else ())
        if exc_info and code >= 500:
            errors.record_in(self.work.unit, exc_info[1])
        if self._asked:
            return cors.allow(headers, self._asked, self._environ.get("HTTP_ORIGIN"), code)
        return None

    def fail(self, error: BaseException, status: int | None = None) -> None:
        """Report an exception that left the application: `status` is what the server answers then, if that is known."""
        self.work.fail(error)
        span = self.work.unit.span
        if errors.is_error(error) and (status or "http.status_code" not in span.attributes):
            spans.set_status_code(span, status or 500)

    def end(self) -> None:
        """End the request."""
        try:
            self._environ.pop(MARK, None)
            if type(self.context) is not unread.Unread:
                self.work.unit.span.end(self.ended_ns)
            else:
                unread.over(self.context)
        except Exception as error:  # noqa: BLE001 - the guard, for those whom servers and the interpreter call
            guard.broken("a request", error)


class Body:
    """An answer's body that is made while it is sent: the request lasts until it is closed."""

    __slots__ = ("_iterator", "_request", "answer")

    def __init__(self, body: Any, request: Request) -> None:
        self._request: Request | None = request
        self._iterator: Iterator[bytes] | None = None
        self.answer = body  # what the application has returned

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        request = self._request
        if request is None:  # closed already
            if self._iterator is None:
                self._iterator = iter(self.answer)
            return next(self._iterator)
        token = context.set_current(request.context)
        try:
            if self._iterator is None:
                self._iterator = iter(self.answer)
            return next(self._iterator)
        except StopIteration:
            if request.told:
                note_end(request)
            raise
        except BaseException as error:
            failed(request, error)
            raise
        finally:
            try:
                context.reset(token)
            except context.NOT_HERE:  # as `context.detach` has it, in place: there may be many chunks
                pass

    def close(self) -> None:
        """Close the application's body as the server would have, and end the request."""
        request, self._request = self._request, None
        close = getattr(self.answer, "close", None)
        if request is None:
            if close is not None:
                close()
            return
        token = context.set_current(request.context)
        try:
            if close is not None:
                close()
        except BaseException as error:
            failed(request, error)
            raise
        finally:
            try:
                context.reset(token)
            except context.NOT_HERE:
                pass
            finally:
                request.end()

    def let_go(self) -> Held | None:
        """Leave the body to whoever it is for; None where it has been closed. What is returned ends the request."""
        request, self._request = self._request, None
        return None if request is None else Held(request)

    def __del__(self) -> None:
        # A server or test client that never closes: the request is over all the same.
        request = getattr(self, "_request", None)
        if request is not None:
            request.end()


class Held:
    """The end of a request whose answer, an object of the framework's that is whole already, goes out as it is.

    The answer has it among its attributes, and with it goes the request that nobody has closed.
    """

    __slots__ = ("_request",)

    def __init__(self, request: Request) -> None:
        self._request: Request | None = request

    def close(self) -> Generator[None, Any, None]:
        """Hook for the closing of the answer, which belongs to the request still."""
        request, self._request = self._request, None
        if request is None:
            return
        token = context.attach(request.context)
        try:
            yield
        except BaseException as error:
            failed(request, error)
            raise
        finally:
            try:
                if token is not None:
                    context.reset(token)
            except context.NOT_HERE:
                pass
            finally:
                request.end()

    def __del__(self) -> None:
        if self._request is not None:
            self._request.end()


class SizedBody(Body):
    """A body whose number of chunks is known: with one, a server may fill in the length."""

    __slots__ = ()

    def __iter__(self) -> Iterator[bytes]:
        self._iterator = None  # eventlet goes through it twice, for the length first
        return self

    def __len__(self) -> int:
        return len(self.answer)


@guarded
def failed(request: Request, error: BaseException, status: int | None = None) -> None:
    """`Request.fail`, guarded."""
    request.fail(error, status)


@guarded
def note_end(request: Request) -> None:
    """Note when the last of the body was made."""
    request.ended_ns = request.work.unit.span.now_ns()
