"""A stand-in for the Runtime API of AWS Lambda, from which a function fetches its events and to which it answers."""

from __future__ import annotations

import json
import queue
import select
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

ARN = "arn:aws:lambda:us-east-1:123456789012:function:orders"


@dataclass
class Outcome:
    """What the function has posted: `response`, `error` or `init/error`, and what `observe` found at that time."""

    kind: str
    body: Any
    seen: Any
    at: float  # monotonic seconds


class LambdaRuntime:
    """The server; `observe` is called when the function answers, before it is told that it may go on."""

    def __init__(self, observe: Callable[[], Any] = lambda: None) -> None:
        self._events: queue.Queue[bytes] = queue.Queue()
        self._outcomes: queue.Queue[Outcome] = queue.Queue()
        self.seconds = 30.0  # what an invocation is given
        self.client_context: dict[str, Any] = {}  # what its caller says beside the event
        self._number = 0
        runtime = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                event = runtime._next(self.connection)
                if event is None:
                    self.close_connection = True
                    return
                runtime._number += 1
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", f"invocation-{runtime._number}")
                self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + runtime.seconds) * 1000)))
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", ARN)
                if runtime.client_context:
                    self.send_header("Lambda-Runtime-Client-Context", json.dumps(runtime.client_context))
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(event)))
                self.end_headers()
                self.wfile.write(event)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                kind = "init/error" if self.path.endswith("init/error") else self.path.rpartition("/")[2]
                runtime._outcomes.put(Outcome(kind, json.loads(body), observe(), time.monotonic()))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                pass  # a function that was killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def invoke(self, event: Any) -> Outcome:
        """Have the function handle an event, and wait for its answer."""
        self._events.put(event if isinstance(event, bytes) else json.dumps(event).encode())
        return self.outcome()

    def _next(self, connection: socket.socket) -> bytes | None:
        """Wait for the next event, as long as there is a function that asks for it."""
        while not select.select([connection], [], [], 0)[0]:  # readable: it has hung up
            try:
                event = self._events.get(timeout=0.02)
            except queue.Empty:
                continue
            if not select.select([connection], [], [], 0)[0]:
                return event
            self._events.put(event)
        return None

    def outcome(self) -> Outcome:
        """Wait for what the function posts next."""
        return self._outcomes.get(timeout=30)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
