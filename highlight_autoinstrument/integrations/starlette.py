"""Starlette: each request is a server span named by its route, with what becomes a 5xx on it."""

from __future__ import annotations

from .. import asgi
from ..patching import guarded, hide_frame, replace, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType
    from typing import Any

    from ..asgi import Request
    from ..patching import Call

MODULES = ("starlette.applications", "starlette.routing", "starlette.middleware.exceptions")


def patch(module: ModuleType) -> None:
    if module.__name__ == "starlette.applications":
        asgi.serve_calls(module.Starlette)
    elif module.__name__ == "starlette.routing":
        replace(module.Route, "handle", name_span)
        replace(module.WebSocketRoute, "handle", name_span)
        wrap(module.Mount, "handle", name_span_by_mount)
    else:
        replace(module.ExceptionMiddleware, "__call__", watching)


def template(route: Any, _: Any) -> str:
    found: str = route.path_format
    return found


name_span = asgi.naming(template)


def name_span_by_mount(call: Call) -> Generator[None, Any, None]:
    scope, template = call["scope"], call.instance.path_format
    asgi.name_by_route(scope, template)  # a route of the application below, if there is one, says it better
    scope[asgi.MOUNTED] = scope.get(asgi.MOUNTED, "") + template.removesuffix("/{path}")
    yield


def watching(call: Callable[..., Any]) -> Callable[..., Any]:
    """Note what the handlers make an answer of, and what leaves them: middleware outside may make an answer of that."""

    async def __call__(self: Any, scope: Any, receive: Any, send: Any) -> Any:  # noqa: N807
        request = served(scope)

        async def watched_send(message: Any) -> None:
            status = message.get("status") if isinstance(message, dict) else None
            if status is not None and isinstance(status, int) and status >= 500:
                note(request, message)
            await send(message)

        try:
            return await call(self, scope, receive, send if request is None else watched_send)
        except BaseException as error:
            hide_frame(error, __file__)
            if type(request) is asgi.Request and isinstance(error, Exception):
                request.raised = error
            raise

    return __call__


served = guarded(asgi.served)


@guarded
def note(request: Request, message: Any) -> None:
    _, status = asgi.kind_and_status(message)
    if status is not None and status >= 500:
        request.note_raised()
