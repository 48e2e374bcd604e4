"""Tornado: a request that a handler answers is a unit of work, and a call of its HTTP clients is one span."""

from __future__ import annotations

import sys
import weakref

from .. import active, config, guard, serving, wsgi
from ..later import context, errors, outgoing, spans
from ..outside import outside
from ..patching import guarded, hide_frame, on_read, replace, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = (
    "tornado.web",
    "tornado.websocket",
    "tornado.routing",
    "tornado.wsgi",
    "tornado.ioloop",
    "tornado.simple_httpclient",
    "tornado.curl_httpclient",
)

# Among the attributes of the library's own objects: the request that is being answered, the template of its route, and
# the context that a call was made in.
REQUEST, ROUTE, CONTEXT = "_highlight_request", "_highlight_route", "_highlight_context"


def patch(module: ModuleType) -> None:
    name = module.__name__.partition(".")[2]
    if name == "web":
        # Nothing public is around a handler from its making to its end.
        wrap(module._HandlerDelegate, "execute", begin)  # noqa: SLF001
        handler = module.RequestHandler
        wrap(handler, "_execute", run)
        wrap(handler, "_handle_request_exception", fail_half_way)
        wrap(handler, "log_exception", record_error)
        wrap(handler, "finish", answer)
        replace(handler, "set_status", noting)
    elif name == "websocket":
        wrap(module.WebSocketHandler, "__init__", watch_log_exception)
    elif name == "routing":
        replace(module.PathMatches, "match", remembering)
    elif name == "wsgi":
        container = module.WSGIContainer
        readers = (getattr(container, "handle_request", None), container.__call__)  # the second one before Tornado 6.3
        on_read(container, "wsgi_application", readers, wsgi.called)
    elif name == "ioloop":
        wrap(module.PeriodicCallback, "start", outside)
    elif name == "simple_httpclient":
        wrap(module.SimpleAsyncHTTPClient, "fetch_impl", fetch)
        wrap(module._HTTPConnection, "run", send)  # noqa: SLF001 - one hop
        wrap(module._HTTPConnection, "_create_connection", add_headers)  # noqa: SLF001
    else:
        wrap(module.CurlAsyncHTTPClient, "fetch_impl", fetch)
        wrap(module.CurlAsyncHTTPClient, "_curl_setup_request", set_up)


# The server


def begin(call: Call) -> Generator[None, Any, None]:
    if issubclass(call.instance.handler_class, sys.modules["tornado.web"].FallbackHandler):
        return  # what it hands the request to has a unit of work of its own
    request = call.instance.request
    headers = request.headers
    serving_request = serving.Request(
        request.method, request.protocol, request.path, request.query, request.remote_ip, headers.get
    )
    if serving_request.asked:
        request.headers = headers.copy()
        del request.headers["Access-Control-Request-Headers"]
        if serving_request.shown is not None:
            request.headers["Access-Control-Request-Headers"] = serving_request.shown
    setattr(request, REQUEST, serving_request)
    work = serving_request.work
    token = work.attach()
    try:
        route = getattr(request, ROUTE, None)
        if route is not None:
            spans.set_route(request.method, route)
        yield
    except BaseException as error:
        work.fail(error)
        serving_request.end()
        raise
    finally:
        work.detach(token)


def run(call: Call) -> Generator[None, Any, None]:
    """The handler's own task, which has the context that it was made in."""
    handler = call.instance
    request = handler.request.__dict__.get(REQUEST)
    if request is None:
        return
    try:
        yield
    finally:
        websocket = handler.get_status() == 101
        if websocket:
            request.ended_ns = None  # it was not over with the handshake
        if websocket or request.ended_ns is not None:
            end(handler)
        else:  # some other callback is to finish it, or nobody
            request.ended_ns = 0
            weakref.finalize(handler, request.end)


def end(handler: Any) -> None:
    request = handler.request.__dict__.pop(REQUEST, None)
    if request is not None:
        request.end()


def answer(call: Call) -> Generator[None, Any, None]:
    handler = call.instance
    request = handler.request.__dict__.get(REQUEST)
    if request is None:
        return
    is_running = request.ended_ns is None
    if request.asked:
        allowed = request.allowed(handler._headers.get_all(), handler.get_status())  # noqa: SLF001
        if allowed is not None:
            handler.set_header("Access-Control-Allow-Headers", allowed)
    # One handler may finish the request of another, as in a chat.
    token = request.work.attach()
    try:
        yield
        request.ended_ns = request.work.unit.span.now_ns()
        request.answer(handler.get_status(), handler._headers.get_all())  # noqa: SLF001
    finally:
        request.work.detach(token)
    if not is_running:
        end(handler)


def noting(set_status: Callable[..., None]) -> Callable[..., None]:
    def replaced(self: Any, status_code: int, *args: Any, **kwargs: Any) -> None:
        note_raised(status_code)
        try:
            set_status(self, status_code, *args, **kwargs)
        except BaseException as error:
            hide_frame(error, __file__)
            raise

    return replaced


note_raised = guarded(serving.note_raised)


def fail_half_way(call: Call) -> Generator[None, Any, None]:
    """An error that no answer can be made of any more; others are seen when their answer is sent."""
    handler, error = call.instance, call["e"]
    request = handler.request.__dict__.get(REQUEST)
    if request is None or isinstance(error, sys.modules["tornado.web"].Finish):
        return
    if is_disconnect(handler, error):
        errors.claim(error, request.work.unit)  # Tornado logs it all the same
    elif handler._headers_written and status(error) >= 500:  # noqa: SLF001
        request.work.fail(error)
    yield


def record_error(call: Call) -> Generator[None, Any, None]:
    error = call.args[2] if len(call.args) > 2 else sys.exc_info()[1]
    request = call.instance.request.__dict__.get(REQUEST)
    if request is not None and isinstance(error, BaseException) and status(error) >= 500:
        if is_disconnect(call.instance, error):
            errors.claim(error, request.work.unit)
        elif not hasattr(error, "status_code") or call.instance.get_status() == 101:
            request.work.fail(error)
    yield


def status(error: BaseException) -> int:
    code = getattr(error, "status_code", 500)  # an HTTPError has one
    return code if isinstance(code, int) else 500


def is_disconnect(handler: Any, error: BaseException) -> bool:
    """Whether the client has gone away, and the handler has noticed by writing to it."""
    stream = getattr(handler.request.connection, "stream", None)
    closed = type(error).__name__ in ("StreamClosedError", "WebSocketClosedError")
    return closed and (stream is None or stream.closed())


def watch_log_exception(call: Call) -> Generator[None, Any, None]:
    # A websocket has no answer that would show the error, so that an application's own way to log it is looked at.
    wrap(type(call.instance), "log_exception", record_error)
    yield


def remembering(match: Callable[..., Any]) -> Callable[..., Any]:
    def replaced(self: Any, request: Any) -> Any:
        found = match(self, request)
        if found is not None:
            remember(self, request)
        return found

    return replaced


@guarded
def remember(matcher: Any, request: Any) -> None:
    known = matcher.__dict__.get(ROUTE)
    if known is None:
        known = template(matcher)
        setattr(matcher, ROUTE, known)
    setattr(request, ROUTE, known)  # the last one to match, of routers in routers, knows the whole path


def template(matcher: Any) -> str:
    """The matcher's regular expression with its groups as `{name}` or `{1}`, or as it is where it is complicated."""
    regex, path = matcher.regex, getattr(matcher, "_path", None)  # what reverse_url is made of
    if path is None:
        pattern: str = regex.pattern
        return pattern.removeprefix("^").removesuffix("$")
    names = {number: name for name, number in regex.groupindex.items()}
    first, *rest = path.split("%s")
    return str(first) + "".join(f"{{{names.get(number, number)}}}{text}" for number, text in enumerate(rest, 1))


# The clients


def fetch(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    request = call["request"]
    span = spans.http_call_span(request.method, request.url)  # None for a redirect, which is part of the call
    here = context.snapshot() if span is None else context.with_span(span)
    if span is not None:
        call["callback"] = finishing(span, call["callback"])
    request.__dict__[CONTEXT] = here  # a call that has to wait is sent by whoever ends before it
    token = context.attach(here)
    try:
        yield
    except BaseException as error:
        spans.finish(span, error)
        raise
    finally:
        context.detach(token)


def finishing(span: Any, answered: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def callback(response: Any) -> Any:
        finish(span, response)
        return answered(response)

    return callback


@guarded
def finish(span: Any, response: Any) -> None:
    if response.code == 599:  # no answer
        spans.finish(span, response.error)
    else:
        spans.set_status_code(span, response.code)
        spans.finish(span)


def send(call: Call) -> Generator[None, Any, None]:
    its_own = call.instance.request.__dict__.get(CONTEXT)
    if its_own is None:
        if active.current() is None or call.instance.client is None:  # None: a websocket, which never waits
            return
        its_own = context.empty()
    token = context.attach(its_own)
    try:
        yield
    finally:
        context.detach(token)


def add_headers(call: Call) -> Generator[None, Any, None]:
    connection = yield
    added = headers_for(call.instance.request)
    if not added:
        return
    write = connection.write_headers

    def write_headers(start_line: Any, headers: Any, *args: Any) -> Any:
        del connection.write_headers
        headers = headers.copy()  # the request's, which the response shows, and which a redirect starts from
        for name, value in added:
            headers[name] = value
        return write(start_line, headers, *args)

    connection.write_headers = write_headers


def host_of(request: Any) -> str:
    return spans.split_url(request.url)[1]


def headers_for(request: Any) -> list[tuple[str, str]]:
    if active.outside(request, lambda: host_of(request)):
        return []
    scheme, host, port, _ = spans.split_url(request.url)
    return outgoing.headers(scheme, host, port, request.headers.get, request.url)


def set_up(call: Call) -> Generator[None, Any, None]:
    request = call["request"]
    its_own = request.__dict__.get(CONTEXT)
    if its_own is None:
        active.outside(request, lambda: host_of(request))
        return
    if request.follow_redirects and config.get().tracing_origins != "*":
        # libcurl follows by itself, and takes the headers to wherever it is sent.
        guard.debug("call by curl: no ids, they are not for every host, and redirects are followed out of sight")
        return
    token = context.attach(its_own)
    try:
        added = headers_for(request)
    finally:
        context.detach(token)
    for name, value in added:
        request.headers[name] = value
    try:
        yield
    finally:
        for name, _ in added:
            request.headers.pop(name, None)
