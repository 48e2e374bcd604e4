"""Falcon, under WSGI and ASGI: each request is a server span named by its route, with what becomes a 5xx on it."""

from __future__ import annotations

from .. import active, asgi, wsgi
from ..later import errors, spans
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("falcon.app", "falcon.asgi.app")


def patch(module: ModuleType) -> None:
    # Middleware would be public, but is told neither of errors nor of requests that other middleware answers.
    if module.__name__ == "falcon.app":
        wsgi.serve_calls(module.App)
        wrap(module.App, "_get_responder", name_span)
    else:
        asgi.serve_calls(module.App)
    wrap(module.App, "_handle_exception", note_raised)
    wrap(module.App, "_python_error_handler", fail)


def name_span(call: Call) -> Generator[None, Any, None]:
    *_, template = yield
    if template is None:  # no route matched, a 404 is coming, or a sink
        return
    request = call["req"]
    if hasattr(request, "env"):
        wsgi.name_by_route(request.env, request.method, template)
    else:  # under ASGI its routes are of the whole path
        spans.set_route(request.method, template)


def note_raised(call: Call) -> Generator[None, Any, None]:
    error, response = call["ex"], call["resp"]
    request = asgi.served(getattr(call["req"], "scope", None))
    if request is not None:
        request.raised = error  # an error, if the answer is a 5xx
    handled = yield
    if handled and request is None and response is not None and status(response) >= 500:
        errors.record(error)


def fail(call: Call) -> Generator[None, Any, None]:
    """What no handler of the application's takes: a 500, or the end of a websocket."""
    error, unit = call["error"], active.current()
    if unit is not None and errors.is_error(error):
        unit.span.fail(errors.type_name(error))
        errors.record(error)
    yield


def status(response: Any) -> int:
    """The number; before 4.0, where there is none, of what the application has set: a number or a line."""
    if hasattr(response, "status_code"):
        return int(response.status_code)
    first = str(getattr(response.status, "value", response.status))[:3]
    return int(first) if first.isdigit() else 200
