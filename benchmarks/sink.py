"""A process that answers every request (exports, and calls) at once, and says afterwards what came.

GET /seen tells how many requests, calls, messages, logs and errors the exports tell of that came since it was last
asked. They are decoded only then, so that a program under test never waits for it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import protocols

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
exports: list[protocols.Export] = []


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
        content = protocols.answer(path)
        if path == "/seen":
            content = json.dumps(seen()).encode()
        elif method in ("POST", "PUT"):
            exports.append(protocols.Export(path, headers.get("content-encoding", ""), body))
        kind = b"application/json" if content.startswith(b"{") else b"text/plain"
        self.transport.write(ANSWER % (kind, len(content), content))


def seen() -> dict[str, int]:
    taken, exports[:] = exports[:], []
    found: Counter[str] = Counter(exports=len(taken), requests=0, calls=0, messages=0, logs=0, errors=0)
    for export in taken:
        found.update(protocols.records(export))
    return found


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
