"""A real OTLP receiver on this machine that misbehaves on demand."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .records import Error, Log, Metric, Span, decode_logs, decode_metrics, decode_traces, errors_of
from .services import PATIENCE_SECONDS

QUIET_SECONDS = 0.4
PROTOBUF = "application/x-protobuf"
SIGNALS = {"/v1/traces": "traces", "/v1/logs": "logs", "/v1/metrics": "metrics"}


@dataclass
class Misbehaviour:
    """What to do with the next requests, in place of accepting them."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0
    hang: bool = False  # say nothing until the receiver closes, then hang up
    half: bool = False  # send half of an answer and hang up
    close: bool = False  # hang up without an answer
    body: bytes = b""


@dataclass
class Export:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    size: int
    connection: tuple[str, int]
    answered: int  # the status meant for it, also where it was never sent


class Received:
    """What has arrived, and the means to wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._spans: list[Span] = []
        self._logs: list[Log] = []
        self.metrics: list[Metric] = []
        self.exports: list[Export] = []
        self.bodies: list[bytes] = []  # of the exports, unpacked
        self.faults: list[str] = []
        self._last = 0.0

    def add(self, signal: str, body: bytes) -> bool:
        """Take an export's body; False if it is no valid one."""
        spans: list[Span] = []
        logs: list[Log] = []
        metrics: list[Metric] = []
        self.bodies.append(body)
        try:
            if signal == "traces":
                spans = decode_traces(body)
            elif signal == "logs":
                logs = decode_logs(body)
            else:
                metrics = decode_metrics(body)
        except Exception as error:  # noqa: BLE001 - it fails the test
            self.faults.append(f"an export of {signal} that cannot be decoded: {error!r}")
            return False
        with self._changed:
            self._spans += spans
            self._logs += logs
            self.metrics += metrics
            self._last = time.monotonic()
            self._changed.notify_all()
        return True

    @property
    def spans(self) -> list[Span]:
        """All spans, by the time that they began."""
        with self._changed:
            return sorted(self._spans, key=lambda span: span.start_ns)

    @property
    def logs(self) -> list[Log]:
        """All log records, by their time."""
        with self._changed:
            return sorted(self._logs, key=lambda log: log.time_ns)

    @property
    def errors(self) -> list[Error]:
        """All errors, wherever they came: events of spans and log records."""
        return errors_of(self.spans, self.logs)

    def wait(self, spans: int = 0, logs: int = 0, errors: int = 0, timeout: float = PATIENCE_SECONDS) -> None:
        """Wait until so many have arrived, and then until no more come: what is too much shall be seen."""

        def enough() -> bool:
            return (
                len(self._spans) >= spans
                and len(self._logs) >= logs
                and (not errors or len(errors_of(self._spans, self._logs)) >= errors)
            )

        with self._changed:
            if not self._changed.wait_for(enough, timeout):
                msg = f"waited for {spans} spans, {logs} logs, {errors} errors; got\n{self.told()}"
                raise AssertionError(msg)
        self.settle()

    def settle(self) -> None:
        """Wait until nothing has arrived for a short while, counted from now: what is on its way shall be seen."""
        began = time.monotonic()
        with self._changed:
            while (left := max(self._last, began) + QUIET_SECONDS - time.monotonic()) > 0:
                self._changed.wait(left)

    def clear(self) -> None:
        """Forget what has arrived."""
        with self._changed:
            self._spans.clear()
            self._logs.clear()
            self.exports.clear()
            self.bodies.clear()

    def told(self) -> str:
        """What has arrived, a line each."""
        lines = [f"  span {span.kind} {span.name} {span.session} {span.status}" for span in self._spans]
        lines += [f"  log {log.severity_text} {log.logger} {log.body!r:.100} {log.session}" for log in self._logs]
        lines += [f"  error {e.type}: {e.message!r:.100} {e.session}" for e in errors_of(self._spans, self._logs)]
        return "\n".join(lines) or "  nothing"


class Receiver(Received):
    """The receiver for OTLP/HTTP. `misbehave` is a list: its first item is used up by each request."""

    def __init__(self, port: int = 0, tls: Any = None) -> None:
        super().__init__()
        self.misbehave: list[Misbehaviour] = []
        self._closing = threading.Event()
        self._connections: set[socket.socket] = set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                receiver._connections.add(self.connection)

            def finish(self) -> None:
                receiver._connections.discard(self.connection)
                super().finish()

            def do_POST(self) -> None:
                receiver.handle(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                pass  # a client that was killed

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        scheme = "http"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = _read(request)
        behaviour = self.misbehave.pop(0) if self.misbehave else Misbehaviour()
        if behaviour.hang or behaviour.delay_seconds:
            self._closing.wait(None if behaviour.hang else behaviour.delay_seconds)
        status, content = behaviour.status, behaviour.body
        silent = behaviour.close or self._closing.is_set()
        if status < 300 and not (silent or behaviour.half) and not self._take(request, body):
            status = 400
        self.exports.append(
            Export(
                request.path,
                {name.lower(): text for name, text in request.headers.items()},
                len(body),
                request.client_address,
                status,
            )
        )
        if silent:
            request.close_connection = True
            return
        request.send_response(status)
        for name, text in behaviour.headers.items():
            request.send_header(name, text)
        request.send_header("Content-Type", PROTOBUF)
        request.send_header("Content-Length", str(len(content) + (100 if behaviour.half else 0)))
        request.end_headers()
        request.wfile.write(content)
        request.close_connection = request.close_connection or behaviour.half

    def _take(self, request: BaseHTTPRequestHandler, body: bytes) -> bool:
        """Take an export as the real backend does; what that would refuse is a fault."""
        signal = SIGNALS.get(request.path)
        encoding = request.headers.get("Content-Encoding", "identity")
        if signal is None or request.headers.get("Content-Type") != PROTOBUF or encoding not in {"identity", "gzip"}:
            self.faults.append(f"no OTLP/HTTP export: POST {request.path}, {dict(request.headers)}")
            return False
        try:
            plain = gzip.decompress(body) if encoding == "gzip" else body
        except (OSError, EOFError, zlib.error) as error:
            self.faults.append(f"an export of {signal} that cannot be unpacked: {error!r}")
            return False
        return self.add(signal, plain)

    def close(self) -> None:
        """Stop serving: new connections are refused from now on, and those that were kept are cut."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # its client may be faster
                connection.shutdown(socket.SHUT_RDWR)


def _read(request: BaseHTTPRequestHandler) -> bytes:
    length = request.headers.get("Content-Length")
    if length is not None:
        return request.rfile.read(int(length))
    chunks = []
    while size := int(request.rfile.readline(), 16):
        chunks.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(chunks)
