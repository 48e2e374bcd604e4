"""Memory: what is resident after the first 10,000 requests and after very many, each with its own path and session.

    python3 tests/long/memory.py [--requests 1000000] [--only flask-up ...]

Every fiftieth request fails, each with a message of its own; every tenth logs. Each program runs bare, with a receiver,
and with a receiver that is away from the beginning to the end. It fails where the agent has let a program grow by more
than 5 MiB beyond what the bare one grew by. The callers here never pause, so that as many records wait as may.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests import environment
from tests.long import REQUIREMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST = 10_000
MOST_GROWTH = 5.0  # MiB
PAUSE_SECONDS = 3  # before memory is read: what waits may go out

# Flask: the calls that a WSGI server makes for requests over one connection, in the process itself.
FLASK = """
import io, logging, sys
from flask import Flask

app = Flask("memory")
app.logger.addHandler(logging.NullHandler())
log = logging.getLogger("app")
log.addHandler(logging.NullHandler())
log.propagate = False

@app.get("/orders/<int:number>/<path:rest>")
def order(number, rest):
    if number % 10 == 0:
        log.warning("order %s", number)
    if number % 50 == 0:
        raise LookupError(f"no order {number}")
    return f"order {number}"

def start_response(status, headers, exc_info=None):
    return None

environ = {
    "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "QUERY_STRING": "", "SERVER_NAME": "shop", "SERVER_PORT": "80",
    "HTTP_HOST": "shop", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http", "wsgi.errors": sys.stderr, "wsgi.multithread": False, "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}

def serve(begin, end):
    for number in range(begin, end):
        body = app({
            **environ,
            "PATH_INFO": f"/orders/{number}/of/{number * 7919}",
            "HTTP_X_HIGHLIGHT_REQUEST": f"session{number}/request{number}",
            "wsgi.input": io.BytesIO(),
        }, start_response)
        for _ in body:
            pass
        body.close()

served = 0
for line in sys.stdin:
    serve(served, int(line))
    served = int(line)
    print(served, flush=True)
"""

FASTAPI = """
import logging
from fastapi import FastAPI
from fastapi.responses import JSONResponse

app = FastAPI()
log = logging.getLogger("app")
log.addHandler(logging.NullHandler())
log.propagate = False

@app.exception_handler(LookupError)
async def failed(request, error):  # what is not handled ends the connection
    return JSONResponse({"failed": str(error)}, 500)

@app.get("/orders/{number}/{rest:path}")
async def order(number: int, rest: str):
    if number % 10 == 0:
        log.warning("order %s", number)
    if number % 50 == 0:
        raise LookupError(f"no order {number}")
    return {"order": number}
"""


class Flask:
    """The program that calls its application itself, and is told by its standard input how far to go."""

    def __init__(self, folder: Path, endpoint: str | None) -> None:
        (folder / "app.py").write_text(FLASK)
        self._errors = (folder / "stderr").open("wb")
        self._process = subprocess.Popen(
            _launched([sys.executable, "app.py"], endpoint),
            cwd=folder,
            env=_environment(folder, endpoint),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.pid = self._process.pid

    def serve(self, begin: int, end: int) -> None:
        """Serve the requests with these numbers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(end, file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == f"{end}\n", "the program has ended"

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._errors.close()


class FastAPI:
    """A service, and a client that sends it requests over one connection, many at a time."""

    AT_A_TIME = 20

    def __init__(self, folder: Path, endpoint: str | None) -> None:
        from tests.support.services import Service

        self._service = Service(
            "uvicorn --port {port} --no-access-log --log-level critical app:app",
            files={"app.py": FASTAPI},
            folder=folder,
            endpoint=endpoint,
            bare=endpoint is None,
            env=SETTINGS,
        )
        self.pid = self._service.process.pid
        self._connection = self._service.connect()
        self._connection.connect()

    def serve(self, begin: int, end: int) -> None:
        """Send the requests with these numbers."""
        connection = self._connection.sock
        for first in range(begin, end, self.AT_A_TIME):
            numbers = range(first, min(first + self.AT_A_TIME, end))
            connection.sendall(b"".join(map(_request, numbers)))
            received = b""
            while received.count(b"HTTP/1.1 ") < len(numbers) or not received.endswith(b"}"):
                data = connection.recv(65_536)
                assert data, received
                received += data

    def close(self) -> None:
        """End the service."""
        self._connection.close()
        self._service.stop()


def _request(number: int) -> bytes:
    return b"GET /orders/%d/of/%d HTTP/1.1\r\nHost: shop\r\nx-highlight-request: session%d/request%d\r\n\r\n" % (
        number,
        number * 7919,
        number,
        number,
    )


SETTINGS = {"OTEL_BSP_SCHEDULE_DELAY": "1000", "HIGHLIGHT_RAISE_ERRORS": "false"}
PROGRAMS: dict[str, Callable[[Path, str | None], Flask | FastAPI]] = {"flask": Flask, "fastapi": FastAPI}
RECEIVERS = ("bare", "up", "away")


def _launched(command: list[str], endpoint: str | None) -> list[str]:
    from tests.support.services import LAUNCHER

    return command if endpoint is None else [str(LAUNCHER), *command]


def _environment(folder: Path, endpoint: str | None) -> dict[str, str]:
    from tests.support.services import agent_environment

    return agent_environment(endpoint, HIGHLIGHT_SPOOL_DIR=str(folder / "spool"), **SETTINGS)


def memory(pid: int) -> dict[str, float]:
    """What is resident, in MiB: the whole, and what is not shared with a file."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        lines = dict(line.split(":", 1) for line in file if line[0].isupper() and ":" in line)
    return {name: int(lines[name].split()[0]) / 1024 for name in ("Rss", "Anonymous")}


def checkpoints(requests: int) -> Iterator[int]:
    """Where memory is read: after the first, ten times on the way, and at the end."""
    yield FIRST
    for part in range(1, 11):
        if requests * part // 10 > FIRST:
            yield requests * part // 10


def measure(program: str, receiver: str, requests: int) -> float:
    """Run it, print what was resident, and return by how much it grew after the first requests, in MiB."""
    from tests.support.services import free_port
    from tests.support.sink import Sink

    endpoints: dict[str, str | None] = {"bare": None, "away": f"http://127.0.0.1:{free_port()}"}
    sink = None
    if receiver == "up":
        sink = Sink()
        endpoints["up"] = sink.url
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run = PROGRAMS[program](folder, endpoints[receiver])
        first = None
        done = 0
        began = time.monotonic()
        try:
            for checkpoint in checkpoints(requests):
                run.serve(done, checkpoint)
                done = checkpoint
                time.sleep(PAUSE_SECONDS)
                resident = memory(run.pid)
                first = first or resident
                seconds = time.monotonic() - began
                grown = resident["Rss"] - first["Rss"]
                print(
                    f"{program:8} {receiver:5} {done:9,} requests  {resident['Rss']:7.1f} MiB resident ({grown:+.1f})  "
                    f"{resident['Anonymous']:7.1f} anonymous  {seconds:5.0f} s",
                    flush=True,
                )
        finally:
            run.close()
            if sink is not None:
                sink.close()
        for line in _said(folder):
            print("    ", line)
        assert first is not None
        return resident["Rss"] - first["Rss"]


def _said(folder: Path) -> list[str]:
    files = [folder / "stderr", folder / "service.err"]
    lines = [line for file in files if file.exists() for line in file.read_text(errors="replace").splitlines()]
    said = [line for line in lines if line.startswith("highlight: ")]
    return said if len(said) <= 4 else [*said[:2], "...", *said[-2:]]


def main() -> int:
    environment.enter(environment.ROOT / f".venv-long-3.{sys.version_info.minor}", REQUIREMENTS)
    every = [f"{program}-{receiver}" for program in PROGRAMS for receiver in RECEIVERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="*", choices=every, default=every)
    options = parser.parse_args()
    print(f"CPython {sys.version.split()[0]}, {os.cpu_count()} cores")
    growth = {name: measure(*name.split("-"), options.requests) for name in options.only}
    failed = False
    for name, by in growth.items():
        bare = growth.get(f"{name.partition('-')[0]}-bare", 0.0)
        wrong = not name.endswith("-bare") and by - bare > MOST_GROWTH
        failed = failed or wrong
        print(f"{name:14} {by:+6.1f} MiB since the first {FIRST:,}{'  TOO MUCH' if wrong else ''}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
