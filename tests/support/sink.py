"""A receiver for very many records: a process of its own that keeps exports as they came, to be decoded at the end.

It is also a service that can be called: the head of each call is kept as well.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import sys
import zlib
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

ROOT = Path(__file__).resolve().parent.parent.parent
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
SIGNALS = ("traces", "logs", "metrics", "calls")
_HEAD = Struct("<BI")  # the signal, and the body's length


class Connection(asyncio.Protocol):
    """One connection, kept open: each request is taken, and answered at once."""

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file
        self._received = bytearray()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            line, *lines = bytes(self._received[:end]).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
            length = end + 4 + int(headers.get("content-length", 0))
            if len(self._received) < length:
                return
            if self._file is not None:
                body = bytes(self._received[end + 4 : length])
                method, path, _ = line.split(" ", 2)
                signal = path.rpartition("/")[2]
                if method != "POST":
                    signal, body = "calls", bytes(self._received[:end])
                if headers.get("content-encoding") != "gzip":
                    body = gzip.compress(body, 1)
                self._file.write(_HEAD.pack(SIGNALS.index(signal), len(body)) + body)
            del self._received[:length]
            self._transport.write(ANSWER)


async def _serve(port: int, file: BinaryIO | None) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(file), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


class Sink:
    """Such a receiver. Without a file it takes everything and keeps nothing."""

    root = ROOT

    def __init__(self, file: Path | None = None, port: int = 0) -> None:
        self._path = file
        command = [sys.executable, "-m", "tests.support.sink", str(port), str(file or "")]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop; what has been kept can still be read."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()

    @property
    def size(self) -> int:
        """Bytes that have come; they change for as long as something arrives."""
        return self._path.stat().st_size if self._path is not None and self._path.exists() else 0

    def exports(self) -> Iterator[tuple[str, bytes]]:
        """Each export that has come: its signal and its body."""
        assert self._path is not None
        with self._path.open("rb") as file:
            while len(head := file.read(_HEAD.size)) == _HEAD.size:
                signal, length = _HEAD.unpack(head)
                body = file.read(length)
                if len(body) < length:
                    return
                try:
                    yield SIGNALS[signal], gzip.decompress(body)
                except (OSError, EOFError, zlib.error) as error:
                    raise AssertionError(f"an export of {SIGNALS[signal]} cannot be unpacked: {error}") from error


if __name__ == "__main__":
    with open(sys.argv[2] or os.devnull, "ab", buffering=0) as kept:
        asyncio.run(_serve(int(sys.argv[1]), kept if sys.argv[2] else None))
