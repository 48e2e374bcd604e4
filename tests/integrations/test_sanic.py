"""Sanic with its own server, in one process and in workers, and under uvicorn."""

from __future__ import annotations

import re
import socket

import pytest
import sanic as library

from tests.support.services import wait_until

# What a worker says last before it serves.
LAST_WORD = "Starting worker" if library.__version__.startswith(("23.", "24.", "25.3")) else "Worker ready"

APP = """
import asyncio, logging, os
from sanic import Blueprint, Sanic
from sanic.exceptions import BadRequest, SanicException, ServiceUnavailable
from sanic.response import empty, text

app = Sanic("shop")
app.config.RESPONSE_TIMEOUT = 2
app.config.ACCESS_LOG = False
log = logging.getLogger("shop.log")
log.propagate = False

class Handled(Exception): pass
class Refused(Exception): pass

@app.exception(Handled)
async def handled(request, error): return text("sorry", status=503)

@app.exception(Refused)
async def refused(request, error): return text("refused", status=409)

@app.get("/orders/<number:int>")
async def order(request, number):
    log.warning("order %s", number)
    request.app.add_task(later(number))
    return text(str(number))

async def later(number):
    await asyncio.sleep(0.05)
    log.warning("sent %s", number)

@app.get("/sync/<name>")
def sync(request, name): return text(name)

@app.get("/boom/<what>")
async def boom(request, what):
    if what.isdigit(): raise SanicException("said so", status_code=int(what))
    if what == "quiet": raise ServiceUnavailable("later")
    if what == "logged":
        try: raise OSError(what)
        except OSError: log.exception("caught"); raise
    raise {"handled": Handled, "refused": Refused}.get(what, ValueError)(what)

@app.get("/stream/<fail:int>")
async def stream(request, fail):
    response = await request.respond()
    await response.send("one")
    log.warning("first chunk")
    if fail: raise RuntimeError("half-way")
    await response.eof()

@app.get("/slow")
async def slow(request):
    log.warning("waiting")
    await asyncio.sleep(30)

@app.get("/long")
async def long(request):
    response = await request.respond()
    log.warning("waiting")
    try:
        while True:
            await response.send("x" * 1000)
            await asyncio.sleep(0.01)
    finally: log.warning("gone")

@app.websocket("/rooms/<name>")
async def room(request, ws, name):
    while heard := await ws.recv():
        log.warning("heard %s", heard)
        if heard == "boom": raise LookupError("in the room")
        await ws.send("fine")

@app.options("/order")
async def preflight(request):
    asked = request.headers.get("access-control-request-headers", "")
    answer = {"Access-Control-Allow-Origin": "https://shop.example", "Access-Control-Allow-Headers": "content-type"}
    return empty(status=204 if asked in ("", "content-type") else 400, headers=answer)

api = Blueprint("api", url_prefix="/api")

@api.get("/users/<name>")
async def user(request, name): return text(name)

app.blueprint(api)

if __name__ == "__main__":
    workers = os.environ.get("WORKERS")
    options = {"workers": int(workers)} if workers else {"single_process": True}
    app.run(host="127.0.0.1", port=int(os.environ["PORT"]), motd=False, access_log=False, **options)
"""
SERVERS = {"run": "python app.py", "uvicorn": "uvicorn app:app --port {port} --log-level critical"}
FILES = {"app.py": APP}
HEADERS = {"x-highlight-request": "s1/r1"}
NO_ANSWER = "Invalid response type None (need HTTPResponse)"


@pytest.fixture(params=SERVERS)
def sanic(request, run_service):
    return run_service(SERVERS[request.param], files=FILES)


@pytest.fixture
def own(run_service):
    return run_service(SERVERS["run"], files=FILES)


def seen(receiver):
    return [(span.name, span.session, span.status, span.attributes.get("http.status_code")) for span in receiver.spans]


def errors(receiver):
    return [
        (re.sub("^(__main__|app)[.]", "", error.type), error.message, error.session, error.source)
        for error in receiver.errors
    ]


def said(receiver):
    return [(log.body, log.session) for log in receiver.logs if log.logger == "shop.log"]


def echoed(receiver):
    """What Sanic itself says of errors."""
    return [(log.body, log.session) for log in receiver.logs if log.logger == "sanic.error"]


def test_a_request_is_one_span_and_what_becomes_a_5xx_one_error(sanic, receiver):
    connection = sanic.connect()
    for number in range(3):
        headers = {"x-highlight-request": f"s{number}/r"} if number else {}
        connection.request("GET", f"/orders/{number}?a=b", headers=headers)
        assert connection.getresponse().read() == str(number).encode()
    connection.close()
    assert sanic.get("/sync/ann", HEADERS).text == "ann"
    assert sanic.get("/api/users/ann", HEADERS).text == "ann"
    words = ("plain", "handled", "refused", "502", "403", "quiet", "logged")
    assert [sanic.get(f"/boom/{word}", HEADERS).status for word in words] == [500, 503, 409, 502, 403, 503, 500]
    assert sanic.get("/nowhere", HEADERS).status == 404
    assert sanic.request("PUT", "/orders/7", HEADERS, b"").status == 405
    assert sanic.get("/stream/0", HEADERS).text == "one"
    sanic.raw(b"GET /stream/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-highlight-request: s1/r1\r\n\r\n", 1)

    receiver.wait(spans=16, errors=6)
    # Sanic 23.12.0 under ASGI takes a stream for no answer, and says so once it has been sent.
    refused = [("sanic.exceptions.ServerError", NO_ANSWER, "s1", "span")] * ((NO_ANSWER, "s1") in echoed(receiver))
    assert seen(receiver) == [
        ("GET /orders/<number:int>", None, "UNSET", 200),
        ("GET /orders/<number:int>", "s1", "UNSET", 200),
        ("GET /orders/<number:int>", "s2", "UNSET", 200),
        ("GET /sync/<name:str>", "s1", "UNSET", 200),
        ("GET /api/users/<name:str>", "s1", "UNSET", 200),
        ("GET /boom/<what:str>", "s1", "ERROR", 500),
        ("GET /boom/<what:str>", "s1", "ERROR", 503),
        ("GET /boom/<what:str>", "s1", "UNSET", 409),
        ("GET /boom/<what:str>", "s1", "ERROR", 502),
        ("GET /boom/<what:str>", "s1", "UNSET", 403),
        ("GET /boom/<what:str>", "s1", "ERROR", 503),
        ("GET /boom/<what:str>", "s1", "ERROR", 500),
        ("GET", "s1", "UNSET", 404),
        ("PUT", "s1", "UNSET", 405),
        ("GET /stream/<fail:int>", "s1", "ERROR" if refused else "UNSET", 200),
        ("GET /stream/<fail:int>", "s1", "ERROR", 200),
    ]
    assert errors(receiver) == [
        ("ValueError", "plain", "s1", "span"),
        ("Handled", "handled", "s1", "span"),
        ("sanic.exceptions.SanicException", "said so", "s1", "span"),
        ("sanic.exceptions.ServiceUnavailable", "later", "s1", "span"),
        ("OSError", "logged", "s1", "log"),
        *refused,
        ("RuntimeError", "half-way", "s1", errors(receiver)[-1][3]),
    ]
    assert sorted(said(receiver), key=str) == sorted(
        [
            ("order 0", None),
            ("order 1", "s1"),
            ("order 2", "s2"),
            ("sent 0", None),
            ("sent 1", "s1"),
            ("sent 2", "s2"),
            ("caught", "s1"),
            ("first chunk", "s1"),
            ("first chunk", "s1"),
        ],
        key=str,
    )
    assert {session for _, session in echoed(receiver)} == {"s1"}
    assert {span.kind for span in receiver.spans} == {"SERVER"}
    assert receiver.spans[1].attributes["http.url"] == f"{sanic.url}/orders/1"
    assert receiver.spans[1].attributes["url.query"] == "a=b"
    assert receiver.spans[1].attributes["client.address"] == "127.0.0.1"


def test_a_websocket_is_one_span(sanic, receiver):
    with sanic.websocket("/rooms/tea", HEADERS) as websocket:
        websocket.send("hello")
        assert websocket.recv() == "fine"
    with sanic.websocket("/rooms/tea", HEADERS) as websocket:
        websocket.send("boom")
        with pytest.raises(Exception, match=r"close|received"):
            websocket.recv()

    receiver.wait(spans=2, logs=2, errors=1)
    assert [span[:3] for span in seen(receiver)] == [
        ("GET /rooms/<name:str>", "s1", "UNSET"),
        ("GET /rooms/<name:str>", "s1", "ERROR"),
    ]
    assert errors(receiver) == [("LookupError", "in the room", "s1", "span")]
    assert said(receiver) == [("heard hello", "s1"), ("heard boom", "s1")]


def test_a_timeout_is_an_error_and_a_client_that_goes_away_is_none(own, receiver):
    with socket.create_connection(("127.0.0.1", own.port)) as connection:
        connection.sendall(b"GET /long HTTP/1.1\r\nhost: x\r\nx-highlight-request: s1/r1\r\n\r\n")
        connection.recv(100)
    receiver.wait(spans=1, logs=2)
    assert own.get("/slow", {"x-highlight-request": "s2/r2"}).status == 503

    receiver.wait(spans=2, logs=3, errors=1)
    assert seen(receiver) == [("GET /long", "s1", "UNSET", 200), ("GET /slow", "s2", "ERROR", 503)]
    assert errors(receiver) == [("sanic.exceptions.ServiceUnavailable", "Response Timeout", "s2", "span")]
    assert said(receiver) == [("waiting", "s1"), ("gone", "s1"), ("waiting", "s2")]


def test_a_preflight_lets_the_clients_headers_through(sanic, receiver):
    def preflight(asked):
        names = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
        answer = sanic.request("OPTIONS", "/order", {**names, "Access-Control-Request-Headers": asked})
        return answer.status, answer.header("Access-Control-Allow-Headers")

    assert preflight("content-type,traceparent,x-highlight-request") == (
        204,
        "content-type, traceparent, x-highlight-request",
    )
    assert preflight("x-highlight-request,x-secret") == (400, "content-type")
    receiver.wait(spans=2)


def test_workers_serve_as_well_and_nothing_is_lost_at_their_end(run_service, receiver):
    env = {"WORKERS": "2", "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    service = run_service("python app.py", files=FILES, env=env)
    wait_until(lambda: service.stdout.count(LAST_WORD) == 2)
    for _ in range(4):
        assert service.get("/orders/7", HEADERS).text == "7"
    assert service.get("/boom/plain", HEADERS).status == 500
    receiver.settle()  # a signal before the main process has heard that both are ready would be lost on Sanic
    service.stop()

    receiver.wait(spans=5, errors=1)
    assert seen(receiver) == [("GET /orders/<number:int>", "s1", "UNSET", 200)] * 4 + [
        ("GET /boom/<what:str>", "s1", "ERROR", 500)
    ]
    assert errors(receiver) == [("ValueError", "plain", "s1", "span")]


END = b"\r\nConnection: close\r\n\r\n"
BAD = (b"", b"null", b"\xff\xfe/x", b"a" * 4000, b"/", b"s1/r1\r\nx-highlight-request: s2/r2")
REQUESTS = [b"GET /orders/7 HTTP/1.1\r\nHost: x\r\nx-highlight-request: " + bad + END for bad in BAD]
REQUESTS += [
    b"GET /orders/7 HTTP/1.1\r\nHost: \xff\r\nUser-Agent: \xff\xe4 x\r\nCookie: \xff" + END,
    b"GET /boom/403 HTTP/1.1\r\nHost: x" + END,
    b"GET /\xff%ff HTTP/1.1\r\nHost: [::bad" + END,
    b"nonsense\r\n\r\n",
    b"GET /orders/7 HTTP/1.0\r\n\r\n",
    b"OPTIONS /order HTTP/1.1\r\nHost: x" + END,
]


def test_answers_are_byte_for_byte_those_without_the_agent(run_service, receiver):
    answers = []
    for bare in (True, False):
        service = run_service("python app.py", files=FILES, bare=bare)
        answers.append([re.sub(rb"(?i)\r\ndate: [^\r]*", b"", service.raw(request, 3)) for request in REQUESTS])
    assert answers[1] == answers[0]
    receiver.settle()
    assert {span.session for span in receiver.spans} == {None, "s1"}
    assert "\xff\xe4 x" in [span.attributes.get("user_agent.original") for span in receiver.spans]
