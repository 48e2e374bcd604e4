"""Server-sent events that say what kind of thing has come, to whoever looks at a page."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from .bodies import to_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PAUSE_SECONDS = 0.25  # between two events: what comes meanwhile is told together
_ALIVE_SECONDS = 15
_MOST_SESSIONS = 100  # named in one event


class Listener:
    """What one page has not been told yet."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.sessions: set[str] = set()
        self.something = asyncio.Event()


class Live:
    """Everybody who listens."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False

    def written(self, rows: dict[str, int], sessions: set[str]) -> None:
        """Rows have been written; called in the writer's thread."""
        loop = self._loop
        if loop is not None and self._listeners and (rows or sessions):
            try:
                loop.call_soon_threadsafe(self._tell, rows, sessions)
            except RuntimeError:  # the loop has ended
                pass

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        for listener in self._listeners:
            listener.something.set()

    async def events(self) -> AsyncIterator[str]:
        """The stream for one page: `data: {"rows": {"logs": 3}, "sessions": ["..."]}` after each batch."""
        self._loop = asyncio.get_running_loop()
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield "retry: 1000\n\n"
            while not self._ended:
                try:
                    await asyncio.wait_for(listener.something.wait(), _ALIVE_SECONDS)
                except asyncio.TimeoutError:  # another one before Python 3.11
                    yield ": still here\n\n"
                    continue
                told = {"rows": dict(listener.rows), "sessions": sorted(listener.sessions)[:_MOST_SESSIONS]}
                listener.rows.clear()
                listener.sessions.clear()
                listener.something.clear()
                if told["rows"] or told["sessions"]:
                    yield f"data: {to_json(told)}\n\n"
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._listeners.discard(listener)

    def _tell(self, rows: dict[str, int], sessions: set[str]) -> None:
        for listener in self._listeners:
            listener.rows.update(rows)
            listener.sessions.update(sessions)
            listener.something.set()
