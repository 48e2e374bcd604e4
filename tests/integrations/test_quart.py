"""Quart, under its own server (hypercorn) and uvicorn."""

from __future__ import annotations

import pytest

APP = """
import asyncio, logging, os
from quart import Quart, abort, websocket

app = Quart(__name__)
log = logging.getLogger("shop")

class Handled(Exception): pass
class Refused(Exception): pass

@app.errorhandler(Handled)
async def handled(error): return "sorry", 503

@app.errorhandler(Refused)
async def refused(error): return "refused", 409

@app.get("/orders/<int:number>")
async def order(number):
    log.warning("order %s", number)
    app.add_background_task(later, number)
    return str(number)

async def later(number):
    log.warning("sent %s", number)
    if number == 9: raise ArithmeticError("afterwards")

@app.get("/sync/<name>")
def sync(name):
    log.warning("in a thread")
    return name

@app.get("/boom/<what>")
async def boom(what):
    if what == "502": abort(502)
    if what == "403": abort(403)
    raise {"handled": Handled, "refused": Refused}.get(what, ValueError)(what)

@app.get("/stream/<int:fail>")
async def stream(fail):
    async def body():
        log.warning("first chunk")
        yield b"one"
        if fail: raise RuntimeError("half-way")
    return body()

@app.websocket("/rooms/<name>")
async def room(name):
    while True:
        heard = await websocket.receive()
        log.warning("heard %s", heard)
        if heard == "boom": raise LookupError("in the room")
        await websocket.send("fine")

if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
"""
SERVERS = {"run": "python app.py", "uvicorn": "uvicorn app:app --port {port} --log-level critical"}
HEADERS = {"x-highlight-request": "s1/r1"}
# From 0.23 on, Quart sends an answer in a task group.
HALF_WAY = [
    ("RuntimeError", "half-way", "s1"),
    ("ExceptionGroup", "unhandled errors in a TaskGroup (1 sub-exception)", "s1"),
]


@pytest.fixture(params=SERVERS)
def quart(request, run_service):
    return run_service(SERVERS[request.param], files={"app.py": APP})


def seen(receiver):
    return [(span.name, span.session, span.status, span.attributes.get("http.status_code")) for span in receiver.spans]


def errors(receiver):
    return [
        (error.type.removeprefix("__main__.").removeprefix("app."), error.message, error.session, error.source)
        for error in receiver.errors
    ]


def said(receiver):
    return [(log.body, log.session) for log in receiver.logs if log.logger == "shop"]


def test_a_request_is_one_span_and_what_becomes_a_5xx_one_error(quart, receiver):
    assert quart.get("/orders/7", HEADERS).text == "7"
    receiver.wait(logs=2)  # the second is written after the answer
    assert quart.get("/orders/8").text == "8"
    receiver.wait(logs=4)
    assert quart.get("/sync/ann", HEADERS).text == "ann"
    statuses = [quart.get(f"/boom/{what}", HEADERS).status for what in ("plain", "handled", "refused", "502", "403")]
    assert statuses == [500, 503, 409, 502, 403]
    assert quart.get("/nowhere", HEADERS).status == 404
    assert quart.get("/stream/0", HEADERS).text == "one"
    quart.raw(b"GET /stream/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-highlight-request: s1/r1\r\n\r\n", 1)
    assert quart.get("/orders/9", HEADERS).text == "9"

    receiver.wait(spans=12, errors=5)
    assert seen(receiver) == [
        ("GET /orders/<int:number>", "s1", "UNSET", 200),
        ("GET /orders/<int:number>", None, "UNSET", 200),
        ("GET /sync/<name>", "s1", "UNSET", 200),
        ("GET /boom/<what>", "s1", "ERROR", 500),
        ("GET /boom/<what>", "s1", "ERROR", 503),
        ("GET /boom/<what>", "s1", "UNSET", 409),
        ("GET /boom/<what>", "s1", "ERROR", 502),
        ("GET /boom/<what>", "s1", "UNSET", 403),
        ("GET", "s1", "UNSET", 404),
        ("GET /stream/<int:fail>", "s1", "UNSET", 200),
        ("GET /stream/<int:fail>", "s1", "ERROR", 200),
        ("GET /orders/<int:number>", "s1", "UNSET", 200),
    ]
    assert [error[:3] for error in errors(receiver)] == [
        ("ValueError", "plain", "s1"),
        ("Handled", "handled", "s1"),
        ("werkzeug.exceptions.BadGateway", errors(receiver)[2][1], "s1"),
        next(error for error in HALF_WAY if error == errors(receiver)[3][:3]),
        ("ArithmeticError", "afterwards", "s1"),
    ]
    assert "RuntimeError: half-way" in receiver.errors[3].stacktrace
    assert [error[3] for error in errors(receiver)][:4] == ["span"] * 4
    assert said(receiver) == [
        ("order 7", "s1"),
        ("sent 7", "s1"),
        ("order 8", None),
        ("sent 8", None),
        ("in a thread", "s1"),
        ("first chunk", "s1"),
        ("first chunk", "s1"),
        ("order 9", "s1"),
        ("sent 9", "s1"),
    ]


def test_a_websocket_is_one_span(quart, receiver):
    with quart.websocket("/rooms/tea", HEADERS) as websocket:
        websocket.send("hello")
        assert websocket.recv() == "fine"
    with quart.websocket("/rooms/tea", HEADERS) as websocket:
        websocket.send("boom")
        with pytest.raises(Exception, match=r"close|received"):
            websocket.recv()

    receiver.wait(spans=2, logs=2, errors=1)
    assert [span[:3] for span in seen(receiver)] == [
        ("GET /rooms/<name>", "s1", "UNSET"),
        ("GET /rooms/<name>", "s1", "ERROR"),
    ]
    assert errors(receiver) == [("LookupError", "in the room", "s1", "span")]
    assert said(receiver) == [("heard hello", "s1"), ("heard boom", "s1")]
