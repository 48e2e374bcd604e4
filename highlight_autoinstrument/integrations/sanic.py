"""Sanic, with its own server and under ASGI: each request is a unit of work named by its route.

At its start Sanic compiles some of its methods anew from their source, so those are patched again then.
"""

from __future__ import annotations

import sys
import weakref

from .. import active, asgi, serving
from ..later import errors, spans
from ..patching import guarded, hide_frame, replace, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("sanic.app", "sanic.touchup", "sanic.handlers", "sanic.response")

# Requests that were given up before they had an answer, and may still get one: after a timeout.
unanswered: weakref.WeakKeyDictionary[Any, serving.Request] = weakref.WeakKeyDictionary()


def patch(module: ModuleType) -> None:
    if module.__name__ == "sanic.app":
        asgi.serve_calls(module.Sanic)
        # Middleware and signals would be public, but each ends before what comes between them.
        wrap(module.Sanic, "handle_request", serve)
        wrap(module.Sanic, "handle_exception", handle)
    elif module.__name__ == "sanic.touchup":
        wrap(module.TouchUp, "run", patch_again)
    elif module.__name__ == "sanic.handlers":
        wrap(module.ErrorHandler, "log", record_error)
    else:
        replace(module.BaseHTTPResponse, "send", allowing)


def patch_again(call: Call) -> Generator[None, Any, None]:
    yield
    patch(sys.modules["sanic.app"])


def serve(call: Call) -> Generator[None, Any, None]:
    request = call["request"]
    if is_asgi(request):
        try:
            yield
        finally:
            name_by_route(request)
        return
    headers = request.headers
    path, _, query = request.raw_url.decode("latin-1").partition("?")
    scheme = "https" if getattr(request.conn_info, "ssl", False) else "http"
    client = getattr(request.conn_info, "client_ip", None)
    serving_request = serving.Request(request.method, scheme, path, query, client, headers.get)
    if serving_request.asked:
        request.headers = headers.copy()
        del request.headers["access-control-request-headers"]
        if serving_request.shown is not None:
            request.headers["access-control-request-headers"] = serving_request.shown
    work = serving_request.work
    token = work.attach()
    done = False
    try:
        yield
        done = True
    except Exception as error:
        work.fail(error)
        done = True
        raise
    finally:
        name_by_route(request)
        work.detach(token)
        if done or request.transport.is_closing():
            finish(request, serving_request)
        else:
            unanswered[request] = serving_request
            weakref.finalize(request, serving_request.end)


def is_asgi(request: Any) -> bool:
    return asgi.served(getattr(request.transport, "scope", None)) is not None


def name_by_route(request: Any) -> None:
    template = request.uri_template
    if template is not None:  # None: no route matched
        spans.set_route(request.method, template)


def finish(request: Any, serving_request: serving.Request) -> None:
    response = getattr(request.stream, "response", None)
    if response is not None:  # None: a websocket
        serving_request.answer(response.status, response.headers.items())
    serving_request.end()


def handle(call: Call) -> Generator[None, Any, None]:
    """The making of an answer of an exception."""
    request, error = call["request"], call["exception"]
    late = unanswered.pop(request, None)
    answering = asgi.served(getattr(request.transport, "scope", None)) or late or serving.current()
    if answering is None:  # a request that could not be read
        return
    answering.raised = error  # an error, if the answer is a 5xx
    if request.stream is not None and request.stream.stage.name != "HANDLER":  # half of an answer has been sent
        answering.work.fail(error)
    if late is None:
        yield
        return
    token = late.work.attach()
    try:
        yield
    finally:
        late.work.detach(token)
        finish(request, late)


def record_error(call: Call) -> Generator[None, Any, None]:
    """What the error handler logs: an error before it is logged, a refusal none."""
    error, unit = call["exception"], active.current()
    status = getattr(error, "status_code", 500)
    if unit is not None and errors.is_error(error) and (not isinstance(status, int) or status >= 500):
        unit.span.fail(errors.type_name(error))
        errors.record(error)
    else:
        errors.claim(error, unit)
    yield


def allowing(send: Callable[..., Any]) -> Callable[..., Any]:
    async def replaced(self: Any, *args: Any, **kwargs: Any) -> None:
        allow(self)
        try:
            await send(self, *args, **kwargs)
        except BaseException as error:
            hide_frame(error, __file__)
            raise

    return replaced


@guarded
def allow(response: Any) -> None:
    request = serving.current()
    if request is not None and request.asked:
        allowed = request.allowed(response.headers.items(), response.status)
        if allowed is not None:
            response.headers["access-control-allow-headers"] = allowed
