"""Starlette: each request is a server span named by its route, with what becomes a 5xx on it."""

from __future__ import annotations

from .. import asgi
from ..patching import guarded, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from types import ModuleType
    from typing import Any

    from ..asgi import Request
    from ..patching import Call

MODULES = ("starlette.applications", "starlette.routing", "starlette.middleware.exceptions")


def patch(module: ModuleType) -> None:
    if module.__name__ == "starlette.applications":
        asgi.serve_calls(module.Starlette)
    elif module.__name__ == "starlette.routing":
        wrap(module.Route, "handle", name_span)
        wrap(module.WebSocketRoute, "handle", name_span)
        wrap(module.Mount, "handle", name_span_by_mount)
    else:
        wrap(module.ExceptionMiddleware, "__call__", watch)


def name_span(call: Call) -> Generator[None, Any, None]:
    asgi.name_by_route(call["scope"], call.instance.path_format)
    yield


def name_span_by_mount(call: Call) -> Generator[None, Any, None]:
    scope, template = call["scope"], call.instance.path_format
    asgi.name_by_route(scope, template)  # a route of the application below, if there is one, says it better
    scope[asgi.MOUNTED] = scope.get(asgi.MOUNTED, "") + template.removesuffix("/{path}")
    yield


def watch(call: Call) -> Generator[None, Any, None]:
    """Note what the handlers make an answer of, and what leaves them: middleware outside may make an answer of that."""
    request = call["scope"].get(asgi.MARK)
    if request is None:
        return
    call["send"] = sender(request, call["send"])
    try:
        yield
    except Exception as error:
        request.raised = error
        raise


def sender(request: Request, send: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    async def watched_send(message: Any) -> None:
        note(request, message)
        await send(message)

    return watched_send


@guarded
def note(request: Request, message: Any) -> None:
    _, status = asgi.kind_and_status(message)
    if status is not None and status >= 500:
        request.note_raised()
