"""`highlight-local` as its users run it, and what is sent to it."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from .services import BIN, PATIENCE_SECONDS, Response, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PROTOBUF = "application/x-protobuf"
COMMAND = BIN / "highlight-local"


class Local:
    """A server of one's own: in its folder are its database and its lock."""

    def __init__(self, folder: Path, *options: str, command: Iterable[str] = (str(COMMAND),)) -> None:
        self.folder = folder
        self.database = folder / "local.db"
        folder.mkdir(parents=True, exist_ok=True)
        self.output_path = folder / "output"
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--port", "0", "--db", str(self.database), *options],
                env=environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(lambda: "listening at" in self.output or self.process.poll() is not None, what="for the server")
            assert self.process.poll() is None, self.output
        except BaseException:
            self.kill()
            raise
        found = re.search(r"listening at (http://([^:]+):(\d+))", self.output)
        assert found, self.output
        self.url, self.host, self.port = found[1], found[2], int(found[3])

    @property
    def output(self) -> str:
        return self.output_path.read_text(errors="replace")

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Response:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Response(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def post(self, path: str, body: bytes, content_type: str = PROTOBUF, **headers: str) -> Response:
        """POST a body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", path, body, {"Content-Type": content_type, **named})

    def graphql(self, name: str, variables: dict[str, Any], **headers: str) -> Response:
        """An operation as the browser client sends it."""
        body = {"query": f"mutation {name} {{ it }}", "variables": variables, "operationName": name}
        return self.post("/public", json.dumps(body).encode(), "application/json", **headers)

    def push(self, session: str, payload_id: object, payload: dict[str, Any]) -> Response:
        """What the browser client recorded."""
        variables = {"session_secure_id": session, "payload_id": payload_id, "data": packed(payload)}
        return self.graphql("PushSessionEvents", variables)

    def api(self, path: str) -> Any:
        """What the JSON API answers."""
        answer = self.request("GET", f"/api/{path}")
        assert answer.status == 200, (answer.status, answer.text, self.output)
        return json.loads(answer.body)

    def stop(self) -> int:
        """End it as a user does, and say how it ended."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def check(self) -> None:
        """Nothing went wrong in it."""
        assert "Traceback" not in self.output, self.output
        assert "could not" not in self.output, self.output


def environment(folder: Path) -> dict[str, str]:
    """That of a server whose data are in a folder."""
    return {**os.environ, "XDG_DATA_HOME": str(folder), "PYTHONWARNINGS": "default"}


def packed(payload: Any) -> str:
    """A payload as the browser client packs it."""
    return base64.b64encode(gzip.compress(json.dumps(payload).encode())).decode()


def attributes(values: dict[str, Any]) -> list[KeyValue]:
    """Attributes in OTLP."""
    found = []
    for key, value in values.items():
        pair = KeyValue(key=key)
        if isinstance(value, bool):
            pair.value.bool_value = value
        elif isinstance(value, int):
            pair.value.int_value = value
        elif isinstance(value, float):
            pair.value.double_value = value
        elif isinstance(value, bytes):
            pair.value.bytes_value = value
        elif isinstance(value, list):
            for item in value:
                pair.value.array_value.values.add(string_value=item)
        else:
            pair.value.string_value = value
        found.append(pair)
    return found


def traces(*spans: dict[str, Any], service: str = "api") -> bytes:
    """An export of spans."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend(attributes({"service.name": service}))
    scope = group.scope_spans.add()
    for given in spans:
        span = scope.spans.add()
        span.trace_id = bytes.fromhex(given["trace"])
        span.span_id = bytes.fromhex(given["span"])
        span.parent_span_id = bytes.fromhex(given.get("parent", ""))
        span.name = given.get("name", "GET /")
        span.kind = given.get("kind", 2)
        span.start_time_unix_nano = given.get("start", time.time_ns())
        span.end_time_unix_nano = given.get("end", span.start_time_unix_nano + 1_000_000)
        span.status.code = given.get("status", 0)
        span.attributes.extend(attributes(given.get("attributes", {})))
        for name, values, *after in given.get("events", ()):  # nanoseconds after its start
            event = span.events.add(name=name, time_unix_nano=span.start_time_unix_nano + (*after, 1000)[0])
            event.attributes.extend(attributes(values))
    return request.SerializeToString()


def logs(*records: dict[str, Any], service: str = "api", resource: dict[str, Any] | None = None) -> bytes:
    """An export of log records; `resource`: more of its attributes."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.extend(attributes({"service.name": service, **(resource or {})}))
    scope = group.scope_logs.add()
    for given in records:
        record = scope.log_records.add()
        record.body.string_value = given["body"]
        record.severity_text = given.get("severity", "INFO")
        record.time_unix_nano = given.get("time", time.time_ns())
        record.trace_id = bytes.fromhex(given.get("trace", ""))
        record.span_id = bytes.fromhex(given.get("span", ""))
        record.attributes.extend(attributes(given.get("attributes", {})))
    return request.SerializeToString()


def traceback(type_: str, message: str, file: str = "/srv/shop/views.py", function: str = "checkout") -> dict[str, str]:
    """The attributes of an exception, raised in a library that the application called."""
    lines = [
        "Traceback (most recent call last):",
        '  File "/srv/shop/main.py", line 5, in main',
        "    serve()",
        f'  File "{file}", line 12, in {function}',
        "    pay()",
        '  File "/usr/lib/python3.11/site-packages/bank/api.py", line 99, in pay',
        "    raise Refused",
        f"{type_}: {message}",
        "",
    ]
    return {"exception.type": type_, "exception.message": message, "exception.stacktrace": "\n".join(lines)}


def program(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    return subprocess.run(
        [str(COMMAND), *arguments],
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def shared(folder: Path) -> Iterator[Local]:
    """A server for many tests; at its end it must have had nothing to complain about."""
    server = Local(folder)
    yield server
    server.stop()
    server.kill()
    server.check()
