"""An incoming request, for every server and framework that speaks WSGI: one unit of work until its body is done."""

from __future__ import annotations

import functools

from . import active, config
from .later import cors, errors, incoming, spans
from .patching import guarded, hide_frame, hooked, replace, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from types import FrameType
    from typing import Any

    from .incoming import Work
    from .patching import Call

_BARE = ("CONTENT_TYPE", "CONTENT_LENGTH")  # headers without the prefix of the others
MARK = "highlight.request"  # in the environ: the server, or a framework further out, has begun this request


def application(app: Callable[..., Any]) -> Callable[..., Any]:
    """Return a WSGI application that serves each request of `app` as a unit of work; for servers."""
    return functools.partial(_SERVED, app)


def called(app: Callable[..., Any], _: FrameType) -> Callable[..., Any]:
    """Hook for a server's reading of the application that it is about to call."""
    return application(app)


def serve_calls(owner: type) -> None:
    """Serve each request of a class of WSGI applications as a unit of work, where their own tools count arguments."""
    wrap(owner, "__call__", serve)
    replace(owner, "__call__", _declared)


def _declared(call: Callable[..., Any]) -> Callable[..., Any]:
    def __call__(self: Any, environ: Any, start_response: Any) -> Any:  # noqa: N807
        try:
            return call(self, environ, start_response)
        except BaseException as error:
            hide_frame(error, __file__)
            raise

    return __call__


def _call(app: Callable[..., Any], environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    try:
        return app(environ, start_response)
    except BaseException as error:
        hide_frame(error, __file__)
        raise


def serve(call: Call) -> Generator[None, Any, Any]:
    """Hook for a WSGI application's call: its last two arguments are the environ and start_response."""
    if len(call.args) < 2:  # as uvicorn does, to see whether this is a factory: the application answers by a TypeError
        return None
    *instance, environ, start_response = call.args
    if MARK in environ or _is_handed_on(environ):
        return None
    work = begin(environ)
    environ[MARK] = True
    request = Request(work, environ, start_response)
    call.args = (*instance, environ, request.start_response)
    token = work.attach()
    try:
        body = yield
    except BaseException as error:
        request.fail(error, 500)
        request.end()
        raise
    finally:
        work.detach(token)
    # A server recognises its own file wrapper by type, and sends the file in its own way.
    if isinstance(body, (list, tuple)) or _is_file(environ, body):
        request.end()
        return None
    return SizedBody(body, request) if hasattr(body, "__len__") else Body(body, request)


_SERVED = hooked(_call, serve, "WSGI")


def _is_handed_on(environ: dict[str, Any]) -> bool:
    """Whether this is the request that is being served already, which an ASGI application has handed to a WSGI one.

    A call to another application in-process, by a test client, is a request of its own.
    """
    unit = active.current()
    if unit is None:
        return False
    served = unit.span.attributes
    path = _decoded(environ.get("PATH_INFO", ""))
    return (
        not unit.span.end_ns
        and served.get("http.request.method") == environ.get("REQUEST_METHOD")
        and served.get("server.address") == environ.get("HTTP_HOST")
        and served.get("url.path", "").endswith(path)
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


def begin(environ: dict[str, Any]) -> Work:
    """Begin the unit of work of a request."""
    from opentelemetry.trace import SpanKind

    def get(name: str) -> str | None:
        key = name.upper().replace("-", "_")
        value: str | None = environ.get("HTTP_" + key)
        return environ.get(key) if value is None and key in _BARE else value

    method = environ.get("REQUEST_METHOD", "GET")
    attributes = spans.http_server(
        method,
        environ.get("wsgi.url_scheme", "http"),
        environ.get("HTTP_HOST") or environ.get("SERVER_NAME", ""),
        _decoded(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")),
        environ.get("QUERY_STRING", ""),
        environ.get("REMOTE_ADDR"),
        environ.get("HTTP_USER_AGENT"),
    )
    return incoming.begin(method, SpanKind.SERVER, get, attributes)


def _is_file(environ: dict[str, Any], body: object) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type):
        return isinstance(body, wrapper)
    return wrapper is not None and hasattr(body, "fileno")  # uWSGI's is a function, and returns the file itself


class Request:
    """A request that is being answered."""

    __slots__ = ("_asked", "_environ", "_start_response", "ended_ns", "work")

    def __init__(self, work: Work, environ: dict[str, Any], start_response: Callable[..., Any]) -> None:
        self.work = work
        self.ended_ns: int | None = None
        self._environ = environ
        self._start_response = start_response
        self._asked: tuple[str, ...] = ()
        if environ.get("REQUEST_METHOD") == "OPTIONS" and config.get().cors:
            self._hide_ours()

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
        changed = observe(self, status, headers, *exc_info)
        return self._start_response(status, changed if isinstance(changed, list) else headers, *exc_info)

    def note(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> list[tuple[str, str]] | None:
        """Read what the application answers; return headers to send in place of its own, or None."""
        number = status.partition(" ")[0] if isinstance(status, str) else ""
        if not (len(number) == 3 and number.isascii() and number.isdigit()):
            return None  # the server complains of that, or sends it; the next answer is observed all the same
        code = int(number)
        spans.set_status_code(self.work.unit.span, code)
        spans.note_headers(self.work.unit.span, headers if isinstance(headers, list) else ())
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
        self._environ.pop(MARK, None)
        self.work.unit.span.end(self.ended_ns)


@guarded
def observe(request: Request, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
    """`Request.note`, guarded."""
    return request.note(status, headers, *exc_info)


class Body:
    """An answer's body that is made while it is sent: the request lasts until it is closed."""

    __slots__ = ("_iterator", "_request", "answer")

    def __init__(self, body: Any, request: Request) -> None:
        self.answer = body  # what the application has returned
        self._iterator: Iterator[bytes] | None = None
        self._request: Request | None = request

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        request = self._request
        if request is None:  # closed already
            if self._iterator is None:
                self._iterator = iter(self.answer)
            return next(self._iterator)
        work = request.work
        token = work.attach()
        try:
            if self._iterator is None:
                self._iterator = iter(self.answer)
            return next(self._iterator)
        except StopIteration:
            note_end(request)
            raise
        except BaseException as error:
            failed(request, error)
            raise
        finally:
            work.detach(token)

    def close(self) -> None:
        """Close the application's body as the server would have, and end the request."""
        request, self._request = self._request, None
        close = getattr(self.answer, "close", None)
        if request is None:
            if close is not None:
                close()
            return
        work = request.work
        token = work.attach()
        try:
            if close is not None:
                close()
        except BaseException as error:
            failed(request, error)
            raise
        finally:
            work.detach(token)
            end(request)

    def let_go(self) -> Held | None:
        """Leave the body to whoever it is for; None where it has been closed. What is returned ends the request."""
        request, self._request = self._request, None
        return None if request is None else Held(request)

    def __del__(self) -> None:
        # A server or test client that never closes: the request is over all the same.
        request = getattr(self, "_request", None)
        if request is not None:
            end(request)


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
        token = request.work.attach()
        try:
            yield
        except BaseException as error:
            failed(request, error)
            raise
        finally:
            request.work.detach(token)
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
def failed(request: Request, error: BaseException) -> None:
    """`Request.fail`, guarded."""
    request.fail(error)


@guarded
def note_end(request: Request) -> None:
    """Note when the last of the body was made."""
    request.ended_ns = request.work.unit.span.now_ns()


@guarded
def end(request: Request) -> None:
    """`Request.end`, guarded."""
    request.end()
