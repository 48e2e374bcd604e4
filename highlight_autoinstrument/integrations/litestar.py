"""Litestar: each request or websocket is a server span named by its route, with what becomes a 5xx on it."""

from __future__ import annotations

import sys

from .. import active, asgi
from ..later import errors
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("litestar.app", "litestar.middleware._internal.exceptions.middleware")


def patch(module: ModuleType) -> None:
    if module.__name__ == "litestar.app":
        wrap(module.Litestar, "__call__", name_span)
        asgi.serve_calls(module.Litestar)
    else:
        # What it makes answers of is seen where they are sent; of this nothing public tells.
        wrap(module.ExceptionHandlerMiddleware, "handle_exception_logging", forgive)
        wrap(module.ExceptionHandlerMiddleware, "handle_websocket_exception", fail)


def name_span(call: Call) -> Generator[None, Any, None]:
    scope = call["scope"]
    try:
        yield
    except Exception as error:
        cause = original(error)
        request = asgi.served(scope)
        if cause is not error and request is not None:
            request.work.fail(cause)
            errors.claim(error, active.current())
        raise
    finally:
        template, unit = scope.get("path_template") or find_template(scope), active.current()
        # An application that is mounted below says it better.
        if template and unit is not None and "http.route" not in unit.span.attributes:
            asgi.name_by_route(scope, template)


def find_template(scope: Any) -> str | None:
    """What older versions do not say: the route whose handler, of which each route has its own, was called."""
    handler = scope.get("route_handler")
    for route in scope["app"].routes if handler is not None else ():
        of_route = getattr(route, "route_handlers", None) or (route.route_handler,)
        # One handler may have several paths.
        same_parameters = set(route.path_parameters) == set(scope.get("path_params", ()))
        if same_parameters and any(each is handler for each in of_route):
            return str(route.path_format)
    return None


def original(error: BaseException) -> BaseException:
    """What went wrong after half of the answer was sent: each layer says so by an exception of its own."""
    while error.__cause__ is not None and type(error).__name__ == "LitestarException":
        error = error.__cause__
    return error


def forgive(call: Call) -> Generator[None, Any, None]:
    error = sys.exc_info()[1]
    if error is not None and is_refusal(error):
        errors.claim(error, active.current())  # it is logged as if it were one
    yield


def fail(call: Call) -> Generator[None, Any, None]:
    """An exception that closes a websocket."""
    error, unit = call["exc"], active.current()
    if unit is not None and not is_refusal(error) and errors.is_error(error):
        unit.span.fail(errors.type_name(error))
        errors.record(error)
    yield


def is_refusal(error: BaseException) -> bool:
    """Whether it is the application's way to say no: an HTTP exception with a 4xx, or a websocket's with a code."""
    status = getattr(error, "status_code", None)
    return (isinstance(status, int) and status < 500) or hasattr(error, "code")
