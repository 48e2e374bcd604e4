"""highlight-local as a command uses it: joined, or started if none runs, and asked over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import urlencode, urlsplit

from . import cli

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT_PROJECT_ID = "1"  # any will do there
START_SECONDS = 10.0
_ANSWER_SECONDS = 5.0
_ALIVE_SECONDS = 60.0  # four times what it lets pass without a word


class UnavailableError(Exception):
    """There is no server to use; the text is one line for the user."""


class _EndingError(Exception):
    """That server has just ended, or is about to."""


class Server:
    """A server, which stays as long as this object's connection."""

    def __init__(self, told: Mapping[str, str]) -> None:
        self.url = told["url"]
        self.note = told.get("note", "")
        self.log = told.get("log", "")  # where it says what is wrong; empty if its user runs it
        url = urlsplit(self.url)
        self._address = url.hostname or "", url.port or 80
        self._connection = self._connect()
        try:
            self._listen()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _EndingError from error
        except BaseException:
            self.close()
            raise

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._address, timeout=_ANSWER_SECONDS)

    def _listen(self) -> None:
        self._connection.connect()
        self._socket: socket.socket = self._connection.sock
        self._connection.request("GET", "/api/live?stay=1")
        self._stream = self._connection.getresponse()
        if self._stream.status == http.client.SERVICE_UNAVAILABLE:
            raise _EndingError
        if self._stream.status == http.client.UNAUTHORIZED:
            raise UnavailableError(
                f"highlight-local at {self.url} wants a token, which --local has none of: end it, or send to it with "
                "--endpoint and OTEL_EXPORTER_OTLP_HEADERS=x-highlight-local-token=TOKEN"
            )
        if self._stream.getheader("content-type", "").partition(";")[0] != "text/event-stream":
            raise UnavailableError(f"what answers at {self.url} is no highlight-local")
        self._socket.settimeout(_ALIVE_SECONDS)

    def get(self, path: str, **query: object) -> Any:
        """What the API answers; OSError, HTTPException or ValueError if it does not."""
        connection = self._connect()
        try:
            connection.request("GET", f"/api/{path}?{urlencode(query)}")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def changes(self) -> Iterator[dict[str, int]]:
        """How many rows have come, by table, as long as the server is there."""
        try:
            for line in self._stream:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])["rows"]
        except (OSError, http.client.HTTPException):
            pass

    def leave(self) -> None:
        """End `changes`, in whichever thread, and let the server end if nobody else uses it."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # it has ended first
            pass

    def close(self) -> None:
        """Close the connection, where nobody is in `changes`."""
        self._connection.close()


def join(environ: Mapping[str, str]) -> Server:
    """The server of this user, started if none runs."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        told = _start(environ, deadline)
        try:
            return Server(told)
        except _EndingError:
            if time.monotonic() > deadline:
                raise UnavailableError(f"highlight-local at {told['url']} does not answer") from None
            time.sleep(0.1)  # until it has ended, and another can be started


def _start(environ: Mapping[str, str], deadline: float) -> dict[str, str]:
    """Run the command, which says where it is, or where the one is that runs already."""
    windows = 0
    if sys.platform == "win32":
        windows = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    process = subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-m", f"{__package__}.local.command", "--while-used"],
        env={**environ, "HIGHLIGHT_ENABLED": "false"},  # where we are run by another highlight-run
        # `python -m` looks there first: in the command's folder may be anything, here is the package that this is.
        cwd=os.path.dirname(cli.template_folder()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C is not for the server
        creationflags=windows,
    )
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), process.kill)
    timer.daemon = True
    timer.start()
    last = ""
    told: dict[str, str] | None = None
    try:
        with cast("IO[str]", process.stdout) as output:
            for line in output:
                if line.startswith("{"):
                    told = json.loads(line)
                    break
                last = line.strip() or last
    except KeyboardInterrupt:
        process.terminate()
        raise
    timer.cancel()
    if told is None:
        process.wait()
        late = time.monotonic() > deadline
        why = f"it was not ready within {START_SECONDS:g} s" if late else last or f"status {process.returncode}"
        raise UnavailableError(f"highlight-local does not start: {why.removeprefix('highlight-local: ')}")
    if "started" in told:
        process.returncode = 0  # it outlives this process, of which Popen would warn
    else:
        process.wait()
    return told
