"""Falcon under WSGI (gunicorn) and ASGI (uvicorn), and by its own test client."""

from __future__ import annotations

import json

import pytest

COMMON = """
import logging
import falcon

log = logging.getLogger("shop")
logging.getLogger("falcon").propagate = False

class Handled(Exception): pass
class Refused(Exception): pass

def fail(what):
    if what.isdigit(): raise falcon.HTTPError(int(what))
    raise {"handled": Handled, "refused": Refused}.get(what, ValueError)(what)

def chunks(fail):
    log.warning("first chunk")
    yield b"one"
    if fail: raise RuntimeError("half-way")
"""
WSGI = (
    COMMON
    + """
class Order:
    def on_get(self, req, resp, number):
        log.warning("order %s", number)
        resp.text = str(number)

class Boom:
    def on_get(self, req, resp, what): fail(what)

class Streamed:
    def on_get(self, req, resp, fail): resp.stream = chunks(fail)

def handled(req, resp, error, params): resp.status = 503
def refused(req, resp, error, params): resp.status = falcon.HTTP_409

app = falcon.App()
app.add_error_handler(Handled, handled)
app.add_error_handler(Refused, refused)
app.add_route("/orders/{number:int}", Order())
app.add_route("/boom/{what}", Boom())
app.add_route("/stream/{fail:int}", Streamed())
"""
)
ASGI = (
    COMMON
    + """
import falcon.asgi

class Order:
    async def on_get(self, req, resp, number):
        log.warning("order %s", number)
        resp.text = str(number)
        resp.schedule(self.later)
    async def later(self): log.warning("sent")

class Boom:
    async def on_get(self, req, resp, what): fail(what)

class Streamed:
    async def on_get(self, req, resp, fail):
        async def body():
            for chunk in chunks(fail): yield chunk
        resp.stream = body()

class Room:
    async def on_websocket(self, req, ws, name):
        await ws.accept()
        while True:
            heard = await ws.receive_text()
            log.warning("heard %s", heard)
            if heard == "boom": raise LookupError("in the room")
            await ws.send_text("fine")

async def handled(req, resp, error, params, **_): resp.status = 503
async def refused(req, resp, error, params, **_): resp.status = falcon.HTTP_409

app = falcon.asgi.App()
app.add_error_handler(Handled, handled)
app.add_error_handler(Refused, refused)
app.add_route("/orders/{number:int}", Order())
app.add_route("/boom/{what}", Boom())
app.add_route("/stream/{fail:int}", Streamed())
app.add_route("/rooms/{name}", Room())
"""
)
SERVERS = {
    "wsgi": (WSGI, "gunicorn app:app -b 127.0.0.1:{port} --log-level critical"),
    "asgi": (ASGI, "uvicorn app:app --port {port} --log-level critical"),
}
HEADERS = {"x-highlight-request": "s1/r1"}


@pytest.fixture(params=SERVERS)
def falcon(request, run_service):
    source, command = SERVERS[request.param]
    service = run_service(command, files={"app.py": source})
    service.protocol = request.param
    return service


def seen(receiver):
    return [(span.name, span.session, span.status, span.attributes.get("http.status_code")) for span in receiver.spans]


def errors(receiver):
    return [(error.type, error.message, error.session, error.source) for error in receiver.errors]


def said(receiver):
    return [(log.body, log.session) for log in receiver.logs if log.logger == "shop"]


def test_a_request_is_one_span_and_what_becomes_a_5xx_one_error(falcon, receiver):
    assert falcon.get("/orders/7", HEADERS).text == "7"
    assert falcon.get("/orders/8").text == "8"
    statuses = [falcon.get(f"/boom/{what}", HEADERS).status for what in ("plain", "handled", "refused", "502", "403")]
    assert statuses == [500, 503, 409, 502, 403]
    assert falcon.get("/nowhere", HEADERS).status == 404
    assert falcon.request("PUT", "/orders/7", HEADERS, b"").status == 405
    assert falcon.get("/stream/0", HEADERS).text == "one"
    falcon.raw(b"GET /stream/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-highlight-request: s1/r1\r\n\r\n", 1)

    receiver.wait(spans=11, errors=4)
    assert seen(receiver) == [
        ("GET /orders/{number:int}", "s1", "UNSET", 200),
        ("GET /orders/{number:int}", None, "UNSET", 200),
        ("GET /boom/{what}", "s1", "ERROR", 500),
        ("GET /boom/{what}", "s1", "ERROR", 503),
        ("GET /boom/{what}", "s1", "UNSET", 409),
        ("GET /boom/{what}", "s1", "ERROR", 502),
        ("GET /boom/{what}", "s1", "UNSET", 403),
        ("GET", "s1", "UNSET", 404),
        ("PUT /orders/{number:int}", "s1", "UNSET", 405),
        ("GET /stream/{fail:int}", "s1", "UNSET", 200),
        ("GET /stream/{fail:int}", "s1", "ERROR", 200),
    ]
    assert [error[:1] + error[2:] for error in errors(receiver)] == [
        ("ValueError", "s1", "span"),
        ("app.Handled", "s1", "span"),
        ("falcon.http_error.HTTPError", "s1", "span"),
        ("RuntimeError", "s1", "span"),
    ]
    lines = [("order 7", "s1"), ("order 8", None), ("first chunk", "s1"), ("first chunk", "s1")]
    if falcon.protocol == "asgi":
        lines = [("order 7", "s1"), ("sent", "s1"), ("order 8", None), ("sent", None), *lines[2:]]
    assert said(receiver) == lines


def test_a_websocket_is_one_span(run_service, receiver):
    source, command = SERVERS["asgi"]
    falcon = run_service(command, files={"app.py": source})
    with falcon.websocket("/rooms/tea", HEADERS) as websocket:
        websocket.send("hello")
        assert websocket.recv() == "fine"
    with falcon.websocket("/rooms/tea", HEADERS) as websocket:
        websocket.send("boom")
        with pytest.raises(Exception, match=r"close|received"):
            websocket.recv()

    receiver.wait(spans=2, errors=1)
    assert [span[:3] for span in seen(receiver)] == [
        ("GET /rooms/{name}", "s1", "UNSET"),
        ("GET /rooms/{name}", "s1", "ERROR"),
    ]
    assert errors(receiver) == [("LookupError", "in the room", "s1", "span")]
    assert said(receiver) == [("heard hello", "s1"), ("heard boom", "s1")]


@pytest.mark.parametrize("protocol", SERVERS)
def test_without_a_server_the_framework_makes_the_unit_of_work(run_python, receiver, protocol):
    program = (
        SERVERS[protocol][0]
        + """
import json
from falcon import testing
answers = [testing.TestClient(app).simulate_get(path, headers={"x-highlight-request": "s1/r1"})
           for path in ("/orders/7", "/boom/plain", "/boom/403")]
print(json.dumps([answer.status_code for answer in answers]))
"""
    )
    assert json.loads(run_python(program).stdout) == [200, 500, 403]

    receiver.wait(spans=3, errors=1)
    assert seen(receiver) == [
        ("GET /orders/{number:int}", "s1", "UNSET", 200),
        ("GET /boom/{what}", "s1", "ERROR", 500),
        ("GET /boom/{what}", "s1", "UNSET", 403),
    ]
    assert errors(receiver) == [("ValueError", "plain", "s1", "span")]


IN_PROCESS = """
import falcon.asgi
from falcon import testing

class Item:
    async def on_post(self, request, response, number):
        seen = request.get_header("x-highlight-request"), request.host, request.remote_addr
        response.media = {"read": await request.media, "number": number, "seen": seen}

app = falcon.asgi.App()
app.add_route("/items/{number}", Item())
# Its scope has iterators wherever the protocol asks for no more than an iterable.
result = testing.simulate_post(
    app, "/items/7", json={"a": 1}, headers={"x-highlight-request": "s1/r1"}, remote_addr="10.0.0.1"
)
print(result.status_code, result.text)
"""


def test_a_scope_that_can_be_gone_through_but_once_is_left_to_the_application(run_python, receiver):
    bare = run_python(IN_PROCESS, under_agent=False)
    result = run_python(IN_PROCESS)

    assert bare.stdout.startswith('200 {"read": {"a": 1}'), bare.stderr
    assert (result.stdout, result.stderr) == (bare.stdout, bare.stderr)
    receiver.wait(spans=1)
    assert [(span.name, span.session, span.status) for span in receiver.spans] == [
        ("POST /items/{number}", "s1", "UNSET")
    ]
