"""The server's life: the store, the application and uvicorn, and their orderly end."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import uvicorn

from .application import application
from .live import Live
from .store import Store

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

# A process that decodes and writes at once: the writer needs Python's lock rarely and briefly, and shall get it soon.
_SWITCH_SECONDS = 0.001
_END_SECONDS = 3


class _Server(uvicorn.Server):
    """uvicorn, which says when it has begun, and when it ends: streams would hold it up."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._ending = ending

    async def startup(self, sockets: Any = None) -> None:
        """Signals are handled, and requests taken, when it is told."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: Any = None) -> None:
        """End the streams first."""
        self._ending()
        await super().shutdown(sockets)


def serve(listening: socket.socket, path: str, keep: int, token: str | None, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; what was taken is written before it returns."""
    live = Live()
    store = Store(path, keep, live.written)
    sys.setswitchinterval(_SWITCH_SECONDS)
    # uvicorn handles the signal, and raises it again in the end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        application(store, live, token),
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_END_SECONDS,
    )
    try:
        _Server(config, ready, live.end).run(sockets=[listening])
    finally:
        store.close()
