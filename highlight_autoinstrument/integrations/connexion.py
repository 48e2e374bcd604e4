"""Connexion: each request is a server span named by its path in the specification, with what becomes a 5xx on it."""

from __future__ import annotations

from .. import active, asgi
from ..later import errors, spans
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("connexion.middleware.main", "connexion.middleware.exceptions", "connexion.apps.flask")


def patch(module: ModuleType) -> None:
    if module.__name__ == "connexion.middleware.main":
        asgi.serve_calls(module.ConnexionMiddleware)
    elif module.__name__ == "connexion.middleware.exceptions":
        wrap(module.ExceptionMiddleware, "common_error_handler", answer)
    else:
        wrap(module.FlaskASGIApp, "__call__", keep_name)


def answer(call: Call) -> Generator[None, Any, None]:
    errors.record(call["exc"])  # before Connexion logs it; the answer is a 500
    yield


def keep_name(call: Call) -> Generator[None, Any, None]:
    """Keep the name that the specification has given, in place of Flask's for the same route."""
    unit = active.current()
    routing = (call["scope"].get("extensions") or {}).get("connexion_routing") or {}
    if unit is None or routing.get("operation_id") is None:  # None: a route of Flask's own
        return
    route = unit.span.attributes.get("http.route")
    try:
        yield
    finally:
        if route is not None:
            spans.set_route(call["scope"]["method"], route)
