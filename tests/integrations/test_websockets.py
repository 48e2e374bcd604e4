"""websockets: its clients inside a service's requests, and its servers."""

from __future__ import annotations

import json

import pytest
import websockets.asyncio.client
import websockets.sync.client

from tests.support.services import free_port

CALLS = """
import asyncio, inspect, json, sys
from urllib.parse import quote
import websockets.asyncio.client, websockets.sync.client

HEADERS = {"X-Own": "1"}
# Before 15 there are no proxies.
DIRECT = {"proxy": None} if "proxy" in inspect.signature(websockets.sync.client.connect).parameters else {}

def blocking(url, headers):
    with websockets.sync.client.connect(url, additional_headers=headers, open_timeout=5, **DIRECT) as websocket:
        websocket.send("hi")
        return [websocket.recv(), websocket.request.headers.get("x-highlight-request")]

async def asynchronous(url, headers):
    async with websockets.asyncio.client.connect(
        url, additional_headers=headers, open_timeout=5, **DIRECT
    ) as websocket:
        await websocket.send("hi")
        return [await websocket.recv(), websocket.request.headers.get("x-highlight-request")]

def call(kind, url, headers):
    given = dict(headers)
    try:
        result = blocking(url, headers) if kind == "sync" else asyncio.run(asynchronous(url, headers))
    except Exception as error:
        result = [type(error).__name__, str(error)]
    assert headers == given
    return result

if __name__ == "__main__":
    print(json.dumps([call(*arguments) for arguments in json.loads(sys.argv[1])]))
"""
APP = """
import json, logging, os
import calls
from flask import Flask, request

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True

@app.post("/call")
def call():
    return json.dumps(calls.call(**json.loads(request.data)))

app.run(port=int(os.environ["PORT"]))
"""
# It echoes what came, and tells the headers that it came with.
ASYNC_SERVER = """
import asyncio, http, logging, os
from websockets.asyncio.server import serve

log = logging.getLogger("shop")
logging.getLogger("websockets").setLevel(os.environ.get("LEVEL", "CRITICAL"))

async def handler(websocket):
    if websocket.request.path == "/boom":
        log.warning("failing")
        raise ValueError("boom")
    headers = websocket.request.headers
    names = ("x-highlight-request", "traceparent", "x-own", "authorization")
    told = [headers.get_all(name) for name in names]
    async for message in websocket:
        log.warning("got %s", message)
        await websocket.send(f"{message} {told}")

def process_request(connection, request):
    if request.path.startswith("/to?"):
        response = connection.respond(http.HTTPStatus.FOUND, "")
        response.headers["Location"] = request.path[4:]
        return response
    if request.path == "/forbidden":
        return connection.respond(http.HTTPStatus.FORBIDDEN, "no")

async def main():
    async with serve(handler, "127.0.0.1", int(os.environ["PORT"]), process_request=process_request) as server:
        print("listening", flush=True)
        await server.serve_forever()

asyncio.run(main())
"""
SYNC_SERVER = (
    ASYNC_SERVER.replace("asyncio.server", "sync.server")
    .replace("async def main", "def main")
    .replace("async ", "")
    .replace("await ", "")
    .replace("asyncio.run(main())", "main()")
)
SESSION = {"x-highlight-request": "s1/r1"}


@pytest.fixture
def calling(run_service):
    def start(**env):
        return run_service("python app.py", files={"app.py": APP, "calls.py": CALLS}, env=env, name="caller")

    return start


@pytest.fixture
def server(run_service):
    """A server without the agent, which tells what came."""
    return run_service("python server.py", files={"server.py": ASYNC_SERVER}, bare=True, name="server")


def call(service, kind, url, headers=None, incoming=SESSION):
    body = json.dumps({"kind": kind, "url": url, "headers": {"X-Own": "1", **(headers or {})}}).encode()
    response = service.request("POST", "/call", incoming, body)
    assert response.status == 200, service.output
    return json.loads(response.text)


def carried(span, session="s1/r1"):
    ids = [session] if session else []
    return f"hi {[ids, [f'00-{span.trace_id}-{span.span_id}-01'], ['1'], []]}"


def seen(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def told(receiver):
    return [(log.body, log.session) for log in receiver.logs if log.logger == "shop"]


@pytest.mark.parametrize("kind", ["asyncio", "sync"])
def test_opening_a_connection_is_one_span_and_carries_the_ids(calling, server, receiver, kind):
    service = calling()
    url = f"ws://127.0.0.1:{server.port}"
    answers = [call(service, kind, f"{url}/room?secret=1"), call(service, kind, f"{url}/room", incoming={})]
    own = {"X-Highlight-Request": "mine/1", "Traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-00"}
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=x"}
    kept = call(service, kind, f"{url}/room", own)
    left = call(service, kind, f"{url}/room", signed)
    refused = call(service, kind, f"ws://127.0.0.1:{free_port()}/gone")
    forbidden = call(service, kind, f"{url}/forbidden")

    receiver.wait(spans=12)
    spans = receiver.spans[1::2]
    assert seen(receiver)[::2] == [("POST /call", "SERVER", s, "UNSET") for s in ("s1", None, "s1", "s1", "s1", "s1")]
    assert seen(receiver)[1::2] == [
        ("GET", "CLIENT", "s1", "UNSET"),
        ("GET", "CLIENT", None, "UNSET"),
        ("GET", "CLIENT", "s1", "UNSET"),
        ("GET", "CLIENT", "s1", "UNSET"),
        ("GET", "CLIENT", "s1", "ERROR"),
        ("GET", "CLIENT", "s1", "ERROR"),
    ]
    # The connection shows the headers that the application gave.
    assert answers == [[carried(spans[0]), None], [carried(spans[1], None), None]]
    assert kept == [f"hi {[['mine/1'], [own['Traceparent']], ['1'], []]}", "mine/1"]
    assert left == [f"hi {[[], [], ['1'], ['AWS4-HMAC-SHA256 Credential=x']]}", None]
    assert refused[0] == "ConnectionRefusedError"
    assert forbidden[0] == "InvalidStatus"
    assert spans[0].attributes["url.full"] == f"{url}/room"
    assert [span.attributes.get("http.status_code") for span in spans] == [101, 101, 101, 101, None, 403]
    assert receiver.errors == receiver.logs == []


@pytest.mark.parametrize("kind", ["asyncio", "sync"])
def test_each_hop_of_a_redirect_is_decided_anew(calling, run_service, server, receiver, kind):
    service = calling(HIGHLIGHT_TRACING_ORIGINS="localhost")
    away = f"ws://127.0.0.1:{server.port}/room"
    first = call(service, kind, f"ws://localhost:{server.port}/to?{away}")
    second = call(service, kind, f"ws://127.0.0.1:{server.port}/to?{away.replace('127.0.0.1', 'localhost')}")

    receiver.wait(spans=4)
    follows = {  # since 13.1 and 17.0
        "asyncio": hasattr(websockets.asyncio.client.connect, "process_redirect"),
        "sync": hasattr(websockets.sync.client, "reconnect"),
    }
    if not follows[kind]:
        assert seen(receiver) == [("POST /call", "SERVER", "s1", "UNSET"), ("GET", "CLIENT", "s1", "ERROR")] * 2
        assert first == second == ["InvalidStatus", "server rejected WebSocket connection: HTTP 302"]
        return
    assert seen(receiver) == [("POST /call", "SERVER", "s1", "UNSET"), ("GET", "CLIENT", "s1", "UNSET")] * 2
    assert first == [f"hi {[[], [], ['1'], []]}", None]
    assert second == [carried(receiver.spans[3]), None]


def test_outside_a_unit_of_work_nothing_is_added(run_python, server, receiver):
    url = f"ws://127.0.0.1:{server.port}"
    wanted = [[kind, url + path, {"X-Own": "1"}] for kind in ("asyncio", "sync") for path in ("/room", "/forbidden")]
    runs = [
        run_python(["calls.py", json.dumps(wanted)], under_agent=under_agent, files={"calls.py": CALLS})
        for under_agent in (False, True)
    ]

    assert runs[0].returncode == runs[1].returncode == 0, runs[1].stderr
    assert (runs[0].stdout, runs[0].stderr) == (runs[1].stdout, runs[1].stderr)
    assert json.loads(runs[1].stdout)[0] == [f"hi {[[], [], ['1'], []]}", None]
    assert receiver.exports == []


@pytest.mark.parametrize("source", [ASYNC_SERVER, SYNC_SERVER], ids=["asyncio", "sync"])
def test_a_served_connection_is_a_unit_of_work(run_service, receiver, source):
    # Not by a look at the port: some versions log a connection that asks for nothing as an error.
    files, env = {"server.py": source}, {"LEVEL": "ERROR"}
    service = run_service("python server.py", files=files, env=env, wait=lambda service: "listening" in service.stdout)
    for number, headers in enumerate((SESSION, {}, {"x-highlight-request": "null"}, {"x-highlight-request": "/r4"})):
        with service.websocket(f"/room?n={number}", headers) as websocket:
            websocket.send(f"message {number}")
            assert websocket.recv().startswith(f"message {number} ")
    with service.websocket("/boom", SESSION) as websocket, pytest.raises(Exception, match="1011"):
        websocket.recv()
    assert service.get("/forbidden").status == 403  # it never becomes one

    receiver.wait(spans=5, logs=6, errors=1)
    assert seen(receiver) == [
        ("GET", "SERVER", "s1", "UNSET"),
        ("GET", "SERVER", None, "UNSET"),
        ("GET", "SERVER", None, "UNSET"),
        ("GET", "SERVER", None, "UNSET"),
        ("GET", "SERVER", "s1", "ERROR"),
    ]
    assert told(receiver) == [
        ("got message 0", "s1"),
        ("got message 1", None),
        ("got message 2", None),
        ("got message 3", None),
        ("failing", "s1"),
    ]
    assert receiver.spans[0].attributes["url.path"] == "/room"
    assert receiver.spans[3].attributes["highlight.request_id"] == "r4"
    assert [(error.type, error.message, error.session, error.source) for error in receiver.errors] == [
        ("ValueError", "boom", "s1", "span")
    ]
