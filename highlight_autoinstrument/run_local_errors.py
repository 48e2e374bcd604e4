"""The errors that have come to highlight-local while a command runs, each as one line on stderr with a link."""

from __future__ import annotations

import http.client
import re
import threading
from typing import TYPE_CHECKING, Any

from . import guard
from .check_report import plain

if TYPE_CHECKING:
    from .run_local_server import Server

# Tells whose terminal an error belongs to; `local/queries.py` reads it.
RESOURCE_ATTRIBUTE = "highlight.local.launcher"
_MOST_LINES = 5  # at once, so that a burst leaves something to be seen of the command's own output
_PAUSE_SECONDS = 0.5  # between two times
_END_SECONDS = 1.0
_LONGEST_TYPE, _LONGEST_MESSAGE, _LONGEST_NAME = 60, 120, 40  # characters


class Lines:
    """Prints errors of one launcher, and of those that no launcher has started, from now on."""

    def __init__(self, server: Server, launcher: str) -> None:
        self._server = server
        self._launcher = launcher
        self._ended = threading.Event()
        self._printing = threading.Lock()
        self._seen: int | None = None  # the id of the last error that was there
        self._printed = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Print those that come from now on."""
        self._print()
        self._thread.start()

    def finish(self) -> None:
        """Print those that the command has sent until its end: what it was acknowledged is there."""
        self._ended.set()
        self._print()
        self._server.leave()
        self._thread.join(_END_SECONDS)
        if self._printed and self._server.log:  # else it is its user's, and stays
            guard.say("what came is kept; to look at it later: highlight-local")

    def _run(self) -> None:
        for rows in self._server.changes():
            if "errors" in rows and not self._ended.is_set():
                self._print()
                self._ended.wait(_PAUSE_SECONDS)
        if not self._ended.is_set():
            why = f"; see {self._server.log}" if self._server.log else ""
            guard.say(f"highlight-local has ended, so that errors are not shown here any more{why}")

    def _print(self) -> None:
        with self._printing:
            since = {} if self._seen is None else {"since": self._seen}
            try:
                found = self._server.get("arrived", launcher=self._launcher, limit=_MOST_LINES, **since)
                items, count, self._seen = found["items"], found["count"], found["last"]
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                return  # it has ended, or is too busy: the next time they are seen
            for item in items:
                guard.say(line(item, self._server.url))
            more = count - len(items)
            if more:
                guard.say(f"and {more} more error{'s' * (more > 1)}  {self._server.url}")
            self._printed = self._printed or bool(count)


def line(error: dict[str, Any], url: str) -> str:
    """What a terminal shows of an error: strangers' words, so that nothing in them steers it."""
    what = _shown(error["type"], _LONGEST_TYPE)
    # The agent gives the type's name as the message where there is none.
    if error["message"] not in ("", error["type"].rpartition(".")[2]):
        what += f": {_shown(error['message'], _LONGEST_MESSAGE)}"
    name = re.split(r"[/\\]", error["file"].partition("?")[0])[-1]
    number = f":{error['line']}" if error["line"] else ""
    place = f" in {_shown(name, _LONGEST_NAME)}{number}" if name else ""
    return f"{what}{place} ({_shown(error['service'], _LONGEST_NAME)})  {url}/error/{error['id']}"


def _shown(text: str, most: int) -> str:
    found = plain(" ".join(text.split()))
    return found if len(found) <= most else f"{found[: most - 3]}..."
