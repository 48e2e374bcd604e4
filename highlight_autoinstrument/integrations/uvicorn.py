"""uvicorn: each request that it serves is a unit of work, whatever the application is made with."""

from __future__ import annotations

from .. import asgi, lifecycle
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("uvicorn.server",)


def patch(server: ModuleType) -> None:
    # By then the configuration has tried out what it was given (factory, ASGI 2 or 3, WSGI); no connection is open yet.
    wrap(server.Server, "startup", serve_application)
    wrap(server.Server, "_serve", send_at_end)


def serve_application(call: Call) -> Generator[None, Any, None]:
    config = call.instance.config
    config.loaded_app = asgi.application(config.loaded_app)
    yield


def send_at_end(call: Call) -> Generator[None, Any, None]:
    yield
    # Next it raises the signal that stopped it once more, with the handler from before: in gunicorn's worker, none.
    lifecycle.close()
