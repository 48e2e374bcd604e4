"""daphne: each request that it serves is a unit of work, whatever the application is made with."""

from __future__ import annotations

from .. import asgi
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("daphne.server",)


def patch(server: ModuleType) -> None:
    wrap(server.Server, "__init__", serve_application)


def serve_application(call: Call) -> Generator[None, Any, None]:
    call["application"] = asgi.application(call["application"])
    yield
