"""aiohttp: a request that its server answers is a unit of work, and a call of its client is one span, with the headers.

The client decides on the headers anew for every request that a call takes, redirected or not.
"""

from __future__ import annotations

import sys

from .. import active, serving
from ..later import errors, outgoing, spans
from ..patching import guarded, hide_frame, replace, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("aiohttp.client", "aiohttp.web_protocol", "aiohttp.web_response")


def patch(module: ModuleType) -> None:
    if module.__name__ == "aiohttp.client":
        # A TraceConfig would be public, but hears of a redirect before the next host is known, and shows in a session.
        wrap(module.ClientSession, "_request", request)
        wrap(module.ClientRequest, "send", send)
    elif module.__name__ == "aiohttp.web_protocol":
        # Middleware would be public, but sees neither what the server makes of errors nor applications of web.Server.
        wrap(module.RequestHandler, "_handle_request", serve)
        wrap(module.RequestHandler, "handle_error", record_error)
    else:
        response = module.StreamResponse
        replace(response, "_set_status" if hasattr(response, "_set_status") else "set_status", noting)
        replace(response, "_write_headers", observing)


# The server


def serve(call: Call) -> Generator[None, Any, None]:
    request = call["request"]
    if request.method == "UNKNOWN":  # what stands in for a request that could not be read
        return
    # Not `headers`, which keeps what it has given once: a preflight is shown others.
    url, headers = request.rel_url, request._headers  # noqa: SLF001
    serving_request = serving.Request(
        request.method, request.scheme, url.path, url.raw_query_string, request.remote, headers.get
    )
    if serving_request.asked:
        shown = headers.copy()
        shown.popall("Access-Control-Request-Headers")
        if serving_request.shown is not None:
            shown["Access-Control-Request-Headers"] = serving_request.shown
        request._headers = type(headers)(shown)  # noqa: SLF001 - of a clone the server would not let go
    work = serving_request.work
    token = work.attach()
    try:
        response, _ = yield
        raised = getattr(response, "__traceback__", None)  # an HTTPException is an answer
        if raised is not None:
            serving_request.raised = response
        serving_request.answer(response.status, response.headers.items())
    except ConnectionError:  # the client is gone, or is hung up on, since half of the answer had been sent
        raise
    except BaseException as error:
        work.fail(error)
        raise
    finally:
        name_by_route(request)
        work.detach(token)
        serving_request.end()


def name_by_route(request: Any) -> None:
    match = getattr(request, "_match_info", None)  # None: the application was not asked; and web.Server has no routes
    resource = match.route.resource if match is not None else None
    if resource is not None:
        spans.set_route(request.method, resource.canonical)


def record_error(call: Call) -> Generator[None, Any, None]:
    error = call.get("exc") or sys.exc_info()[1]
    if error is not None:
        request = serving.current()
        transport = call["request"].transport
        gone = isinstance(error, ConnectionError) and (transport is None or transport.is_closing())
        if gone or request is None or call.get("status", 500) < 500:
            errors.claim(error, active.current())  # the server logs it all the same
        else:
            request.work.fail(error)
    yield


def noting(set_status: Callable[..., None]) -> Callable[..., None]:
    def _set_status(self: Any, status: int, *args: Any, **kwargs: Any) -> None:
        note_raised(status)
        try:
            set_status(self, status, *args, **kwargs)
        except BaseException as error:
            hide_frame(error, __file__)
            raise

    return _set_status


note_raised = guarded(serving.note_raised)


def observing(write_headers: Callable[..., Any]) -> Callable[..., Any]:
    async def _write_headers(self: Any) -> None:
        observe(self)
        try:
            await write_headers(self)
        except BaseException as error:
            hide_frame(error, __file__)
            raise

    return _write_headers


@guarded
def observe(response: Any) -> None:
    """Note the status, which is all that is known of an answer that fails half-way, and help preflights."""
    request = serving.current()
    if request is not None:
        spans.set_status_code(request.work.unit.span, response.status)
        allowed = request.allowed(response.headers.items(), response.status)
        if allowed is not None:
            response.headers["Access-Control-Allow-Headers"] = allowed


# The client


def request(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    base = getattr(call.instance, "_base_url", None)
    with spans.http_client(call.get("method"), call.get("str_or_url"), base) as span:
        response = yield
        spans.set_status_code(span, getattr(response, "status", None))


def send(call: Call) -> Generator[None, Any, None]:
    request = call.instance
    if request.method == "CONNECT" or active.outside(request, lambda: request.url.raw_host):
        return  # what opens a tunnel is for the proxy
    url, headers = request.url, request.headers
    added = outgoing.headers(url.scheme, url.raw_host or "", url.port, headers.get, str(url))
    for name, value in added:
        headers[name] = value
    try:
        yield
    finally:
        # Middleware may send this same object again, elsewhere; and the response shows what the application sent.
        for name, _ in added:
            headers.pop(name, None)
