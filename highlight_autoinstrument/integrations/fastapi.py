"""FastAPI: a route of an included router names its request's span with the router's prefix; the rest is Starlette's."""

from __future__ import annotations

from .. import asgi
from ..patching import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any


MODULES = ("fastapi.applications", "fastapi.routing")


def patch(module: ModuleType) -> None:
    if module.__name__ == "fastapi.applications":
        # Its own telemetry begins in its `__call__`, around Starlette's: what it makes of a request is a part of ours.
        asgi.serve_calls(module.FastAPI)
    else:
        replace(module.APIRoute, "handle", name_span)


def template(route: Any, scope: Any) -> str:
    included: Any = (scope.get("fastapi") or {}).get("effective_route_context")
    found: str = (included if getattr(included, "original_route", None) is route else route).path_format
    return found


# One for all that it replaces, by which it is known.
name_span = asgi.naming(template)
