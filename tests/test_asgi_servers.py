"""Every ASGI server with an application of no framework, with Starlette and with FastAPI."""

from __future__ import annotations

import re
import signal
import sys
from importlib.metadata import version

import pytest
from uvicorn.config import WS_PROTOCOLS

from tests.support.services import wait_until

PLAIN = """
import logging

log = logging.getLogger("shop")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown": return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        log.warning("joined")
        await send({"type": "websocket.close", "code": 4001})
        return
    path = scope["path"]
    if path == "/boom": raise ValueError("plain")
    status = 200 if path.startswith("/items/") else 404
    if status == 200: log.warning("item %s", path[7:])
    body = path.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
STARLETTE = """
import logging
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

log = logging.getLogger("shop")

async def item(request):
    log.warning("item %s", request.path_params["number"])
    return PlainTextResponse(request.url.path)

def boom(request): raise ValueError("starlette")

async def room(websocket):
    await websocket.accept()
    log.warning("joined")
    await websocket.close(4001)

app = Starlette(routes=[
    Route("/items/{number:int}", item), Route("/boom", boom), WebSocketRoute("/rooms/{name}", room),
])
"""
FASTAPI = """
import logging
from fastapi import FastAPI, WebSocket
from fastapi.responses import PlainTextResponse

log = logging.getLogger("shop")
app = FastAPI()

@app.get("/items/{number}", response_class=PlainTextResponse)
async def item(number: int):
    log.warning("item %s", number)
    return f"/items/{number}"

@app.get("/boom")
def boom(): raise ValueError("fastapi")

@app.websocket("/rooms/{name}")
async def room(websocket: WebSocket, name: str):
    await websocket.accept()
    log.warning("joined")
    await websocket.close(4001)
"""
APPS = {"plain": PLAIN, "starlette": STARLETTE, "fastapi": FASTAPI}
UVICORN = "uvicorn app:app --port {port}"
WEBSOCKETS = "websockets-sansio" if "websockets-sansio" in WS_PROTOCOLS else "websockets"  # which older ones have
SERVERS = {
    "uvicorn": f"{UVICORN} --loop asyncio --http h11 --ws wsproto --log-level critical",
    "uvicorn-uvloop": f"{UVICORN} --loop uvloop --http httptools --ws {WEBSOCKETS} --log-level critical",
    "granian": "granian --interface asgi --host 127.0.0.1 --port {port} --log-level critical app:app",
    "hypercorn": "hypercorn app:app --bind 127.0.0.1:{port} --log-level critical",
    "hypercorn-uvloop": "hypercorn app:app --bind 127.0.0.1:{port} -k uvloop --log-level critical",
    "hypercorn-trio": "hypercorn app:app --bind 127.0.0.1:{port} -k trio --log-level critical",
    "daphne": "daphne app:app -p {port} --verbosity 0",
    "gunicorn": "gunicorn app:app -k uvicorn_worker.UvicornWorker -b 127.0.0.1:{port} --log-level critical",
}
HEADERS = {"x-highlight-request": "s1/r1"}


def seen(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def said(receiver, logger="shop"):
    return [(log.body, log.session) for log in receiver.logs if log.logger == logger]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("server", SERVERS)
def test_each_request_is_a_span_of_its_own_session(run_service, receiver, server, app):
    service = run_service(SERVERS[server], files={"app.py": APPS[app]})
    connection = service.connect()
    for number in range(4):
        connection.request("GET", f"/items/{number}", headers=HEADERS if number % 2 else {})
        assert connection.getresponse().read() == b"/items/%d" % number
    connection.close()
    assert service.get("/boom", HEADERS).status == 500
    assert service.get("/nowhere", HEADERS).status == 404

    receiver.wait(spans=6, logs=4, errors=1)
    item = "GET" if app == "plain" else "GET /items/{number}"
    assert seen(receiver) == [
        (item, "SERVER", None, "UNSET"),
        (item, "SERVER", "s1", "UNSET"),
        (item, "SERVER", None, "UNSET"),
        (item, "SERVER", "s1", "UNSET"),
        ("GET" if app == "plain" else "GET /boom", "SERVER", "s1", "ERROR"),
        ("GET", "SERVER", "s1", "UNSET"),
    ]
    assert said(receiver) == [("item 0", None), ("item 1", "s1"), ("item 2", None), ("item 3", "s1")]
    assert errors(receiver) == [("ValueError", app, "s1")]
    assert receiver.errors[0].source == "span"


def websocket(service, path):
    """Join, and read until the server closes."""
    received = service.raw(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "x-highlight-request: s1/r1\r\n\r\n".encode(),
        timeout=2,
    )
    assert received.startswith(b"HTTP/1.1 101 "), received
    return received


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("server", SERVERS)
def test_a_websocket_is_one_span(run_service, receiver, server, app):
    service = run_service(SERVERS[server], files={"app.py": APPS[app]})
    without_code = server == "granian" and tuple(map(int, version("granian").split(".")[:2])) < (2, 5)
    assert websocket(service, "/rooms/tea").endswith(b"\x88\x00" if without_code else b"\x88\x02\x0f\xa1")

    receiver.wait(spans=1, logs=1)
    assert seen(receiver) == [("GET" if app == "plain" else "GET /rooms/{name}", "SERVER", "s1", "UNSET")]
    assert said(receiver) == [("joined", "s1")]
    assert errors(receiver) == []


REQUESTS = (
    b"GET /items/7?a=b HTTP/1.1\r\nHost: x\r\nx-highlight-request: s1/r1\r\nConnection: close\r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"POST /items/7 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
    b"HEAD /items/7 HTTP/1.0\r\n\r\n",
    b"GET /boom HTTP/1.1\r\nHost: x\r\nx-highlight-request: s1/r1\r\nConnection: close\r\n\r\n",
)


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("server", ["uvicorn", "uvicorn-uvloop", "granian", "hypercorn", "daphne"])
def test_answers_are_byte_for_byte_those_without_the_agent(run_service, server, app):
    answers = []
    for bare in (True, False):
        # Starlette puts the methods that it allows into a set, whose order is another one in each process.
        env = {"PYTHONHASHSEED": "0"}
        service = run_service(SERVERS[server], files={"app.py": APPS[app]}, bare=bare, env=env)
        answers.append([re.sub(rb"(?i)\r\ndate: [^\r]*", b"", service.raw(request, 3)) for request in REQUESTS])
    assert answers[1] == answers[0]
    assert all(answers[0])


SHOWING = f"""
{PLAIN}
import copy, json, pickle

plain = app

def written(value):
    return value.decode() if isinstance(value, bytes) else type(value).__name__

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await plain(scope, receive, send)
    shown = {{name: value for name, value in copy.deepcopy(scope).items() if name not in ("client", "server")}}
    kind = type(scope["type"]).__name__ + type(pickle.loads(pickle.dumps(scope["type"]))).__name__
    body = json.dumps([kind, repr(sorted(shown)), shown], default=written).encode()
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}})
    await send({{"type": "http.response.body", "body": body}})
"""


@pytest.mark.parametrize("server", ["uvicorn", "uvicorn-uvloop", "granian", "hypercorn", "daphne"])
def test_the_scope_is_what_it_is_without_the_agent_however_it_is_looked_at(run_service, receiver, server):
    answers = []
    for bare in (True, False):
        service = run_service(SERVERS[server], files={"app.py": SHOWING}, bare=bare)
        answers.append(re.sub(rb"(?i)\r\ndate: [^\r]*", b"", service.raw(REQUESTS[0], 3)))
    assert answers[1] == answers[0]
    assert b'"http_version": "1.1"' in answers[0]

    receiver.wait(spans=1)
    assert seen(receiver) == [("GET", "SERVER", "s1", "UNSET")]


@pytest.mark.parametrize("copying", ["copy.deepcopy(scope)", "dict(scope)", "scope"])
def test_what_is_given_a_copy_of_the_scope_serves_the_same_request(run_service, receiver, copying):
    middleware = f"""
import copy
inner = app
async def app(scope, receive, send):
    await inner({copying} if scope["type"] == "http" else scope, receive, send)
"""
    service = run_service(SERVERS["uvicorn"], files={"app.py": STARLETTE + middleware})
    assert service.get("/items/7", HEADERS).text == "/items/7"
    assert service.get("/boom", HEADERS).status == 500

    receiver.wait(spans=2, logs=1, errors=1)
    assert seen(receiver) == [
        ("GET /items/{number}", "SERVER", "s1", "UNSET"),
        ("GET /boom", "SERVER", "s1", "ERROR"),
    ]
    assert said(receiver) == [("item 7", "s1")]
    assert errors(receiver) == [("ValueError", "starlette", "s1")]


@pytest.mark.parametrize("server", SERVERS)
def test_a_lifespan_is_no_request(run_service, receiver, server):
    service = run_service(SERVERS[server], files={"app.py": PLAIN})
    service.get("/nothing")  # it has begun then: granian may hang, bare as well, if it is stopped before
    service.stop()
    receiver.wait(spans=1)
    assert ([span.name for span in receiver.spans], said(receiver), receiver.errors) == (["GET"], [], [])


@pytest.mark.parametrize(
    ("server", "number"),
    # gunicorn does not end by SIGINT while it has a worker of uvicorn's, with or without the agent.
    [(server, number) for server in SERVERS for number in (signal.SIGTERM, signal.SIGINT) if server != "gunicorn"]
    + [("gunicorn", signal.SIGTERM)],
)
def test_a_signal_ends_the_server_as_without_the_agent_and_nothing_is_lost(run_service, receiver, server, number):
    service = run_service(SERVERS[server], files={"app.py": FASTAPI}, env={"OTEL_BSP_SCHEDULE_DELAY": "60000"})
    service.get("/items/7", HEADERS)
    status = service.stop(number)

    receiver.wait(spans=1, logs=1)
    assert seen(receiver) == [("GET /items/{number}", "SERVER", "s1", "UNSET")]
    assert said(receiver) == [("item 7", "s1")]
    bare = run_service(SERVERS[server], files={"app.py": FASTAPI}, bare=True)
    bare.get("/items/7", HEADERS)
    assert status == bare.stop(number)


@pytest.mark.parametrize(
    "command",
    [
        f"{UVICORN} --workers 2 --log-level critical",
        f"{UVICORN} --reload --log-level critical",
        "hypercorn app:app --bind 127.0.0.1:{port} --workers 2 --log-level critical",
        "gunicorn app:app -k uvicorn_worker.UvicornWorker -w 2 --preload -b 127.0.0.1:{port} --log-level critical",
        "python run.py",
    ],
)
def test_workers_reloaders_and_programs_serve_as_well(run_service, receiver, command):
    run = (
        "import os, uvicorn\n"
        "if __name__ == '__main__': uvicorn.run('app:app', port=int(os.environ['PORT']), log_level=50)"
    )
    service = run_service(command, files={"app.py": FASTAPI, "run.py": run})
    wait_until(lambda: answers(service))
    receiver.wait(spans=1)
    receiver.clear()
    for _ in range(10):
        service.get("/items/7", HEADERS)
    service.get("/boom", HEADERS)

    receiver.wait(spans=11, logs=10, errors=1)
    assert seen(receiver) == [("GET /items/{number}", "SERVER", "s1", "UNSET")] * 10 + [
        ("GET /boom", "SERVER", "s1", "ERROR")
    ]
    assert said(receiver) == [("item 7", "s1")] * 10
    assert errors(receiver) == [("ValueError", "fastapi", "s1")]


def answers(service):
    try:
        return service.get("/nowhere").status == 404
    except OSError:
        return False


def test_a_reloaded_application_is_served_as_well(run_service, receiver):
    service = run_service(f"{UVICORN} --reload --log-level critical", files={"app.py": PLAIN})
    wait_until(lambda: answers(service))
    asked = 0

    def reloaded():
        nonlocal asked
        if asked % 100 == 0:  # its watcher may not yet have been looking
            (service.folder / "app.py").write_text(PLAIN.replace("item %s", "reloaded %s") + f"# {asked}\n")
        asked += 1
        try:
            service.get("/items/1", HEADERS)
        except OSError:  # just now it is neither the old nor the new one
            return False
        return ("reloaded 1", "s1") in said(receiver)

    wait_until(reloaded, 60)


FACTORY = "def make():\n    from plain import app\n    return app\n"
ASGI2 = """
class app:
    def __init__(self, scope): self.scope = scope
    async def __call__(self, receive, send):
        from plain import app
        await app(self.scope, receive, send)
"""
WSGI = """
import logging
def app(environ, start_response):
    logging.getLogger("shop").warning("item %s", environ["PATH_INFO"][7:])
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield environ["PATH_INFO"].encode()
"""
FLASK = """
import logging
from flask import Flask
app = Flask(__name__)
@app.get("/items/<number>")
def item(number):
    logging.getLogger("shop").warning("item %s", number)
    return f"/items/{number}"
"""


@pytest.mark.parametrize(
    ("command", "source", "name"),
    [
        ("uvicorn app:make --factory", FACTORY, "GET"),
        ("uvicorn app:app --interface asgi2", ASGI2, "GET"),
        ("uvicorn app:app --interface asgi2 --no-proxy-headers", ASGI2, "GET"),
        ("uvicorn app:app --interface wsgi", WSGI, "GET"),
        ("uvicorn app:app --interface wsgi", FLASK, "GET /items/<number>"),
        ("hypercorn wsgi:app:app --bind 127.0.0.1:{port}", WSGI, "GET"),
        ("hypercorn wsgi:app:app --bind 127.0.0.1:{port}", FLASK, "GET /items/<number>"),
    ],
)
def test_whatever_the_application_is_made_with_a_request_is_one_span(run_service, receiver, command, source, name):
    more = "--port {port} --log-level critical" if command.startswith("uvicorn") else "--log-level critical"
    if command.startswith("hypercorn") and source is WSGI and version("hypercorn") == "0.16.0":
        # Bare as well it wants the answer to have begun when the application returns.
        source = source.replace("yield ", "return [").replace(".encode()\n", ".encode()]\n")
    service = run_service(f"{command} {more}", files={"app.py": source, "plain.py": PLAIN})
    assert service.get("/items/7", HEADERS).text == "/items/7"
    assert service.get("/items/8").text == "/items/8"

    receiver.wait(spans=2, logs=2)
    assert seen(receiver) == [(name, "SERVER", "s1", "UNSET"), (name, "SERVER", None, "UNSET")]
    assert said(receiver) == [("item 7", "s1"), ("item 8", None)]


def test_what_uvicorn_logs_itself_has_the_session(run_service, receiver):
    service = run_service(UVICORN, files={"app.py": FASTAPI})
    service.get("/boom", HEADERS)

    receiver.wait(spans=1, errors=1)
    assert [(log.body.split(" ", 1)[1].strip(), log.session) for log in receiver.logs if log.session] == [
        ('- "GET /boom HTTP/1.1" 500', "s1"),
        ("in ASGI application", "s1"),
    ]
    assert errors(receiver) == [("ValueError", "fastapi", "s1")]


CONCURRENT = """
import asyncio, logging
from concurrent.futures import ThreadPoolExecutor
from fastapi import BackgroundTasks, FastAPI

log = logging.getLogger("shop")
app = FastAPI()
pool = ThreadPoolExecutor(3)

def work(place, number): log.warning("%s %s", place, number)

@app.get("/async/{number}")
async def in_tasks(number: int, background: BackgroundTasks):
    loop = asyncio.get_running_loop()
    background.add_task(work, "background", number)
    await asyncio.gather(
        asyncio.create_task(asyncio.to_thread(work, "thread", number)),
        loop.run_in_executor(None, work, "executor", number),
        loop.run_in_executor(pool, work, "pool", number),
    )
    await asyncio.sleep(0)
    log.warning("task %s", number)
    if number % 5 == 0: raise LookupError(number)

@app.get("/sync/{number}")
def in_thread(number: int):
    work("sync", number)
    pool.submit(work, "pool", number).result()
    if number % 5 == 0: raise LookupError(number)
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_concurrent_requests_keep_to_their_own_sessions(run_service, receiver, loop):
    from concurrent.futures import ThreadPoolExecutor

    service = run_service(f"{UVICORN} --loop {loop} --log-level critical", files={"app.py": CONCURRENT})

    def ask(number):
        headers = {"x-highlight-request": f"s{number}/r{number}"} if number % 10 else {}
        return service.get(f"/{'sync' if number % 2 else 'async'}/{number}", headers).status

    with ThreadPoolExecutor(40) as clients:
        statuses = list(clients.map(ask, range(200)))
    assert statuses == [500 if number % 5 == 0 else 200 for number in range(200)]

    # 100 synchronous: 2 records each; 100 asynchronous: 4 each, and a background task where they did not fail
    receiver.wait(spans=200, logs=680, errors=40)

    def session(number):
        return f"s{number}" if number % 10 else None

    spans = {int(span.attributes["url.path"].rpartition("/")[2]): span for span in receiver.spans}
    assert {number: span.session for number, span in spans.items()} == {n: session(n) for n in range(200)}
    for log in receiver.logs:
        if log.logger == "shop":
            number = int(log.body.rpartition(" ")[2])
            assert (log.session, log.trace_id, log.span_id) == (
                session(number),
                spans[number].trace_id,
                spans[number].span_id,
            ), log.body
    assert len(said(receiver)) == 680
    assert sorted((int(error.message), error.session) for error in receiver.errors) == [
        (number, session(number)) for number in range(0, 200, 5)
    ]


UNUSUAL = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": "200" if scope["path"] == "/text" else 503, "headers": []})
        await send({"type": "http.response.body", "body": b"answer"})
"""


def test_a_status_that_is_no_number_does_not_end_the_observing_of_others(run_service, receiver):
    service = run_service("hypercorn --bind 127.0.0.1:{port} app:app", files={"app.py": UNUSUAL})
    assert service.get("/text").status == 200
    assert service.get("/number").status == 503

    receiver.wait(spans=2)
    assert [span.attributes.get("http.status_code") for span in receiver.spans] == [None, 503]


LEAVING = """
import asyncio, traceback
from starlette.applications import Starlette
from starlette.routing import Route

async def endpoint(request):
    raise request.app.state.error

app = Starlette(routes=[Route("/", endpoint)])

async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}

async def send(message):
    pass

async def ask(error):
    app.state.error = error
    scope = {"type": "http", "method": "GET", "path": "/", "root_path": "", "query_string": b"", "headers": []}
    try:
        await app(scope, receive, send)
    except BaseException as raised:
        print(type(raised).__name__, [frame.name for frame in traceback.extract_tb(raised.__traceback__)])

for error in (ValueError("left"), asyncio.CancelledError("left"), SystemExit("left")):
    asyncio.run(ask(error))
"""


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 puts frames back")
def test_what_leaves_an_endpoint_has_no_frame_of_ours(run_python, receiver):
    agent, bare = (run_python(LEAVING, under_agent=on).stdout for on in (True, False))
    assert agent == bare
    assert bare.count("endpoint") == 3
    receiver.wait(spans=3)
