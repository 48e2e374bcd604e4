"""granian: what it has of its own, beside what every WSGI and ASGI server is tested for."""

from __future__ import annotations

import inspect
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from granian import Granian
from granian.constants import Interfaces
from h2.connection import H2Connection
from h2.events import StreamEnded

ASGI = """
import asyncio, logging

log = logging.getLogger("shop")
waiting, all_here = 0, asyncio.Event()

async def app(scope, receive, send):
    global waiting
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        await send({"type": "lifespan.shutdown.complete"})
        return
    name = scope["path"][1:]
    log.warning("%s before", name)
    waiting += 1
    if waiting == 6:
        all_here.set()
    await all_here.wait()
    await asyncio.sleep(0.01)
    log.warning("%s after", name)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": name.encode()})
"""
RSGI = """
import logging

log = logging.getLogger("shop")

async def app(scope, protocol):
    log.warning("at %s", scope.path)
    if scope.path == "/boom":
        raise ValueError("boom")
    protocol.response_str(200, [("content-type", "text/plain")], scope.headers.get("x-highlight-request") or "none")
"""
GRANIAN = "granian --host 127.0.0.1 --port {port} app:app "
# Granian 1 has other names, or nothing, for some of what the tests ask for.
OPTIONS = inspect.signature(Granian.__init__).parameters
TASKS = ("--task-impl asyncio", "--task-impl rust") if "task_impl" in OPTIONS else ("--no-opt", "--opt")
ACCESS_LOG = "--access-log" if "log_access" in OPTIONS else ""
NO_LIFESPAN = "asginl" if hasattr(Interfaces, "ASGINL") else "asgi"


@pytest.mark.parametrize("tasks", TASKS)
def test_requests_at_once_have_each_their_own_session(run_service, receiver, tasks):
    service = run_service(GRANIAN + f"--interface asgi {tasks} {ACCESS_LOG}", files={"app.py": ASGI})
    names = [f"n{number}" for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = pool.map(lambda name: service.get(f"/{name}", {"x-highlight-request": f"{name}/r"}).text, names)
        assert list(answers) == names
    assert service.get("/last").text == "last"

    receiver.wait(spans=7, logs=14)
    assert sorted(span.session or "" for span in receiver.spans) == ["", *names]
    assert {(span.name, span.kind, span.status) for span in receiver.spans} == {("GET", "SERVER", "UNSET")}
    logs = sorted((log.body, log.session) for log in receiver.logs if log.logger == "shop")
    expected = [(f"{name} {when}", name) for name in names for when in ("after", "before")]
    assert logs == [("last after", None), ("last before", None), *expected]
    assert receiver.errors == []


def get_by_http2(port, *headers):
    connection = H2Connection()
    connection.initiate_connection()
    pseudo = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "here")]
    connection.send_headers(1, [*pseudo, *headers], end_stream=True)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
        wire.sendall(connection.data_to_send())
        while not any(isinstance(event, StreamEnded) for event in connection.receive_data(wire.recv(65_536))):
            wire.sendall(connection.data_to_send())


@pytest.mark.parametrize(
    "lines",
    [
        [("cookie", "theme=dark"), ("cookie", "sessionSecureID=s1"), ("cookie", "lang=en")],
        [("baggage", "tenant=7"), ("baggage", "x-highlight-request=s1/r1")],
    ],
)
def test_cookies_and_baggage_in_several_lines_of_http2_are_read_whole(run_service, receiver, lines):
    service = run_service(GRANIAN + "--interface asgi", files={"app.py": ASGI.replace("waiting == 6", "True")})
    get_by_http2(service.port, *lines)

    receiver.wait(spans=1)
    assert [span.session for span in receiver.spans] == ["s1"]


def test_its_own_protocol_is_left_alone(run_service, receiver):
    requests = [
        b"GET /fine HTTP/1.1\r\nHost: here\r\nConnection: close\r\nX-Highlight-Request: s1/r1\r\n\r\n",
        b"GET /boom HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n",
    ]
    answers = []
    for bare in (False, True):
        service = run_service(GRANIAN + "--interface rsgi", files={"app.py": RSGI}, bare=bare)
        answers.append([re.sub(rb"(?i)\r\ndate: [^\r]*", b"", service.raw(request)) for request in requests])

    assert answers[0] == answers[1]
    assert answers[0][0].endswith(b"s1/r1")
    receiver.wait(logs=2)
    assert receiver.spans == []
    assert [(log.body, log.session) for log in receiver.logs if log.logger == "shop"] == [
        ("at /fine", None),
        ("at /boom", None),
    ]


def test_each_of_several_workers_reports_and_sends_at_its_end(run_service, receiver):
    service = run_service(
        GRANIAN + f"--interface {NO_LIFESPAN} --workers 2",
        files={"app.py": ASGI.replace("waiting == 6", "True")},
        env={"OTEL_BSP_SCHEDULE_DELAY": "60000"},
    )
    for number in range(8):
        assert service.get(f"/n{number}", {"x-highlight-request": f"s{number}/r"}).status == 200
    service.stop()

    receiver.wait(spans=8, logs=16)
    assert [span.session for span in receiver.spans] == [f"s{number}" for number in range(8)]
    assert receiver.errors == []
