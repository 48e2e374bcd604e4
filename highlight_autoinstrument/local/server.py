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

    from .launchers import Launchers

# A process that decodes and writes at once: the writer needs Python's lock rarely and briefly, and shall get it soon.
_SWITCH_SECONDS = 0.001
_END_SECONDS = 3


class _Server(uvicorn.Server):
    """uvicorn, which says when it has begun, and when it ends: streams would hold it up."""

    def __init__(
        self,
        config: uvicorn.Config,
        ready: Callable[[], None],
        ending: Callable[[], None],
        launchers: Launchers | None,
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._ending = ending
        self._launchers = launchers

    async def startup(self, sockets: Any = None) -> None:
        """Signals are handled, and requests taken, when it is told."""
        await super().startup(sockets)
        self._ready()
        if self._launchers is not None:
            self._launchers.begin(self._end)

    async def shutdown(self, sockets: Any = None) -> None:
        """End the streams first."""
        self._ending()
        await super().shutdown(sockets)

    def _end(self) -> None:
        self.should_exit = True


def serve(
    listening: socket.socket,
    path: str,
    keep: int,
    token: str | None,
    ready: Callable[[], None],
    ending: Callable[[], None],
    launchers: Launchers | None,
) -> None:
    """Serve until SIGINT or SIGTERM, or until the last launcher has gone; what was taken is written then."""
    live = Live()
    store = Store(path, keep, live.written)
    sys.setswitchinterval(_SWITCH_SECONDS)
    # uvicorn handles the signal, and raises it again in the end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        application(store, live, token, launchers),
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_END_SECONDS,
    )

    def end() -> None:
        ending()
        live.end()

    try:
        _Server(config, ready, end, launchers).run(sockets=[listening])
    finally:
        store.close()
