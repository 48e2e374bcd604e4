"""A process that answers every request (exports, and calls) with 200 at once, and says afterwards what came.

GET /seen tells how many exports came since it was last asked, their bytes, and the records in those that are OTLP. They
are decoded only then, so that a program under test never waits for it.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
exports: list[tuple[str, bytes]] = []


class Connection(asyncio.Protocol):
    """One connection, kept open."""

    def __init__(self) -> None:
        self.received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            first, *lines = bytes(self.received[:end]).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = end + 4 + int(headers.get("content-length", 0))
            if len(self.received) < length:
                return
            body = bytes(self.received[end + 4 : length])
            del self.received[:length]
            self.answer(*first.split(" ")[:2], headers, body)

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        content = b"ok"
        if path == "/seen":
            content = json.dumps(seen()).encode()
        elif method == "POST":
            exports.append((headers.get("content-encoding", ""), body))
            content = b""
        self.transport.write(ANSWER % (len(content), content))


def seen() -> dict[str, int]:
    taken, exports[:] = exports[:], []
    bodies = [gzip.decompress(body) if encoding == "gzip" else body for encoding, body in taken]
    return {
        "exports": len(taken),
        "bytes": sum(len(body) for _, body in taken),
        "records": sum(records(body) for body in bodies),
    }


def records(body: bytes) -> int:
    """The spans or log records of an OTLP request: resource, then scope, then record, in fields 1, 2 and 2."""
    try:
        return sum(1 for one in fields(body, 1) for scoped in fields(one, 2) for _ in fields(scoped, 2))
    except (IndexError, ValueError):  # another protocol
        return 0


def fields(message: bytes, wanted: int) -> Iterator[bytes]:
    position = 0
    while position < len(message):
        tag, position = varint(message, position)
        if tag & 7 != 2:
            raise ValueError(tag)
        length, position = varint(message, position)
        if tag >> 3 == wanted:
            yield message[position : position + length]
        position += length


def varint(message: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
        shift += 7


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
