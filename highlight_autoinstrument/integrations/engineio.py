"""python-engineio: what serves all connections, or one of Socket.IO's, is no part of the request that it runs in."""

from __future__ import annotations

from .. import active
from ..later import errors
from ..outside import outside
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = (
    "engineio.server",
    "engineio.async_server",
    "engineio.asyncio_server",  # the same in older versions
    "engineio.async_drivers._websocket_wsgi",
)


def patch(module: ModuleType) -> None:
    if module.__name__ == "engineio.async_drivers._websocket_wsgi":
        wrap(module.SimpleWebSocketWSGI, "__call__", end_websocket)
        return
    server = module.Server if module.__name__ == "engineio.server" else module.AsyncServer
    wrap(server, "_service_task", outside)  # it watches all connections, although the first starts it
    wrap(server, "_trigger_event", leave)


def leave(call: Call) -> Generator[None, Any, None]:
    """Have Socket.IO's events handled outside the request that brings them: they are work of their connection."""
    handler = call.instance.handlers.get(call["event"])
    if (getattr(handler, "__module__", None) or "").startswith("socketio."):
        yield from outside(call)


def end_websocket(call: Call) -> Generator[None, Any, None]:
    """A websocket that has ended is no error, although the server is told of it by an exception."""
    try:
        yield
    except (ConnectionError, StopIteration) as error:
        if type(error) in (ConnectionError, StopIteration) and not error.args:
            errors.claim(error, active.current())
        raise
