"""hypercorn, on asyncio and trio: each request that it serves is a unit of work, for ASGI and WSGI applications."""

from __future__ import annotations

from .. import asgi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MODULES = ("hypercorn.app_wrappers",)


def patch(app_wrappers: ModuleType) -> None:
    asgi.serve_calls(app_wrappers.ASGIWrapper)
    asgi.serve_calls(app_wrappers.WSGIWrapper)
