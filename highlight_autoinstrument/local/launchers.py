"""The launchers that use a server which they have started: it ends soon after the last of them has gone."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST_SECONDS = 10.0  # in which the one that has started it is to come
GRACE_SECONDS = 2.0  # for what is sent at the end, and for another to come


class Launchers:
    """How many use the server; of the event loop's thread."""

    def __init__(self) -> None:
        self.ended = False
        self._number = 0
        self._end: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, end: Callable[[], None]) -> None:
        """The server is ready; `end` ends it."""
        self._end = end
        self._wait(FIRST_SECONDS)

    @contextmanager
    def one(self) -> Iterator[None]:
        """One more, as long as this lasts."""
        self._number += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            yield
        finally:
            self._number -= 1
            if not self._number:
                self._wait(GRACE_SECONDS)

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._over)

    def _over(self) -> None:
        self.ended = True
        if self._end is not None:
            self._end()
