"""A server that outgoing calls go to: it keeps each request as it came, byte for byte, and answers by its path."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Seen:
    """One request."""

    head: bytes
    body: bytes
    connection: int

    @property
    def line(self) -> str:
        return self.head.partition(b"\r\n")[0].decode("latin-1")

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header lines in their order, names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return [(name.lower(), value.strip()) for name, _, value in pairs]

    def all(self, name: str) -> list[str]:
        """Every value of that header."""
        return [value for key, value in self.headers if key == name]

    @property
    def ids(self) -> tuple[list[str], list[str]]:
        """The values of the two headers that an agent may add."""
        return self.all("x-highlight-request"), self.all("traceparent")


class Target:
    """The server. As an HTTP proxy it answers for every host itself, and opens tunnels."""

    def __init__(self, tls: object = None) -> None:
        self.seen: list[Seen] = []
        self._tls = tls
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.scheme = "http" if tls is None else "https"
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def at(self, host: str, path: str = "") -> str:
        """The URL by which this server is reached under another name."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    def clear(self) -> None:
        """Forget what has come."""
        with self._lock:
            self.seen.clear()
            self._counts.clear()

    def close(self) -> None:
        """Stop, and hang up on everybody."""
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._open:
            _hang_up(connection)

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)  # type: ignore[attr-defined]
                self._open.append(connection)
            with connection.makefile("rb") as file:
                while head := _head(file):
                    seen = Seen(head, b"", number)
                    seen.body = _body(file, seen)
                    with self._lock:
                        self.seen.append(seen)
                        self._counts[seen.path] += 1
                        count = self._counts[seen.path]
                    if seen.line.startswith("CONNECT "):
                        self._tunnel(connection, seen.path)
                        return
                    if not self._answer(connection, seen, count):
                        return
        except OSError:
            pass
        finally:
            _hang_up(connection)

    def _answer(self, connection: socket.socket, seen: Seen, count: int) -> bool:
        url = urlsplit(seen.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        what, _, rest = url.path.strip("/").partition("/")
        headers: list[str] = []
        status, content = "200 OK", b"fine"
        if what == "status":
            status = f"{rest} Said so"
        elif what == "to":
            status = f"{query.get('status', '302')} Elsewhere"
            headers.append(f"Location: {unquote(query['url'])}")
        elif what == "flaky" and count <= int(rest):
            status = "503 Not yet"
        elif what == "hang":
            self._closing.wait(30)
            return False
        elif what == "drop":
            return False
        elif what == "login" and not seen.all("authorization"):
            status = "401 Who"
            headers.append('WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=MD5')
        elif what == "cookie":
            headers.append("Set-Cookie: taste=sweet; Path=/")
        if what == "stream":
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in (b"one", b"two", b"three"):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\n\r\n")
            return True
        headers.append(f"Content-Length: {len(content)}")
        lines = "".join(f"{header}\r\n" for header in headers)
        if seen.line.startswith("HEAD "):
            content = b""
        connection.sendall(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + content)
        return True

    def _tunnel(self, connection: socket.socket, authority: str) -> None:
        host, _, port = authority.rpartition(":")
        with socket.create_connection((host, int(port))) as other:
            connection.sendall(b"HTTP/1.1 200 Go on\r\n\r\n")
            back = threading.Thread(target=_pipe, args=(other, connection), daemon=True)
            back.start()
            _pipe(connection, other)
            back.join()


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()


def _pipe(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _head(file: object) -> bytes:
    lines = []
    while (line := file.readline()) not in (b"", b"\r\n"):  # type: ignore[attr-defined]
        lines.append(line)
    return b"".join(lines)


def _body(file: object, seen: Seen) -> bytes:
    if seen.all("transfer-encoding") == ["chunked"]:
        whole = b""
        while True:
            line = file.readline()  # type: ignore[attr-defined]
            whole += line
            size = int(line.strip() or b"0", 16)
            whole += file.read(size + 2)  # type: ignore[attr-defined]
            if not size:
                return whole
    length = seen.all("content-length")
    return file.read(int(length[0])) if length else b""  # type: ignore[attr-defined]
