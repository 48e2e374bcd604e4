"""granian: each request that one of its workers takes is served as a unit of work, for WSGI and ASGI applications."""

from __future__ import annotations

from .. import asgi, wsgi
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

# Both are given the application by the worker, in its own process or thread; no attribute holds it. RSGI, granian's
# own protocol, is left to the frameworks.
MODULES = ("granian.wsgi", "granian.asgi")


def patch(module: ModuleType) -> None:
    wrap(module, "_callback_wrapper", serve_wsgi if module.__name__ == "granian.wsgi" else serve_asgi)


def serve_wsgi(call: Call) -> Generator[None, Any, None]:
    call["callback"] = wsgi.application(call["callback"])
    yield


def serve_asgi(call: Call) -> Generator[None, Any, None]:
    call["callback"] = asgi.application(call["callback"])
    yield
