"""FastAPI: a route of an included router names its request's span with the router's prefix; the rest is Starlette's."""

from __future__ import annotations

from .. import asgi
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("fastapi.routing",)


def patch(routing: ModuleType) -> None:
    wrap(routing.APIRoute, "handle", name_span)


def name_span(call: Call) -> Generator[None, Any, None]:
    route, scope = call.instance, call["scope"]
    included = (scope.get("fastapi") or {}).get("effective_route_context")
    if getattr(included, "original_route", None) is route:
        route = included
    asgi.name_by_route(scope, route.path_format)
    yield
