"""Channels: a websocket is named by its route; what a consumer raises is reported by the server's integration."""

from __future__ import annotations

from .. import asgi
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("channels.routing",)


def patch(routing: ModuleType) -> None:
    asgi.serve_calls(routing.ProtocolTypeRouter)
    wrap(routing.URLRouter, "__call__", name_span)


def name_span(call: Call) -> Generator[None, Any, None]:
    scope = call["scope"]
    template = matched(call.instance.routes, path_of(scope))
    if template:
        asgi.name_by_route(scope, template)
        # A copy, as the router makes: for a router below.
        call["scope"] = {**scope, asgi.MOUNTED: scope.get(asgi.MOUNTED, "") + template}
    yield


def path_of(scope: Any) -> str:
    path: str = scope.get("path_remaining", scope.get("path")) or ""
    if "path_remaining" not in scope:
        path = path.removeprefix(scope.get("root_path", ""))
    return path.lstrip("/")


def matched(routes: Any, path: str) -> str:
    """The template of the first route for a path: the router tells it to nobody."""
    for route in routes:
        if route.pattern.match(path):
            return str(route.pattern).removeprefix("^").removesuffix("$")
    return ""
