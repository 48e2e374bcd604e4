"""hypercorn, on asyncio and trio: each request that it serves is a unit of work, for ASGI and WSGI applications."""

from __future__ import annotations

from .. import asgi
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MODULES = ("hypercorn.app_wrappers",)


def patch(app_wrappers: ModuleType) -> None:
    wrap(app_wrappers.ASGIWrapper, "__call__", asgi.serve)
    wrap(app_wrappers.WSGIWrapper, "__call__", asgi.serve)
