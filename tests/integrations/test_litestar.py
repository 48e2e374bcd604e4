"""Litestar under uvicorn and hypercorn."""

from __future__ import annotations

import sys

import pytest

APP = """
import dataclasses, logging
from litestar import Litestar, Response, Router, WebSocket, get, websocket
from litestar.background_tasks import BackgroundTask
from litestar.exceptions import HTTPException, NotAuthorizedException, WebSocketDisconnect
from litestar.logging import LoggingConfig
from litestar.response import Stream

log = logging.getLogger("shop")

class Handled(Exception): pass
class Refused(Exception): pass

def later(number): log.warning("sent %s", number)

@get("/orders/{number:int}")
async def order(number: int) -> Response[str]:
    log.warning("order %s", number)
    return Response(str(number), media_type="text/plain", background=BackgroundTask(later, number))

@get("/sync/{name:str}", sync_to_thread=True, media_type="text/plain")
def sync(name: str) -> str:
    log.warning("in a thread")
    return name

@get("/boom/{what:str}")
async def boom(what: str) -> str:
    if what.isdigit(): raise HTTPException(status_code=int(what), detail="said so")
    raise {"handled": Handled, "refused": Refused}.get(what, ValueError)(what)

@get("/stream/{fail:int}")
async def stream(fail: int) -> Stream:
    async def body():
        log.warning("first chunk")
        yield b"one"
        if fail: raise RuntimeError("half-way")
    return Stream(body())

@websocket("/rooms/{name:str}")
async def room(socket: WebSocket, name: str) -> None:
    await socket.accept()
    while True:
        heard = await socket.receive_text()
        log.warning("heard %s", heard)
        if heard == "boom": raise LookupError("in the room")
        if heard == "no": raise NotAuthorizedException()
        await socket.send_text("fine")

quiet = {"configure_root_logger": False}  # since 2.5; before, what is logged below WARNING is looked at as well
if "configure_root_logger" not in {field.name for field in dataclasses.fields(LoggingConfig)}: quiet = {}
app = Litestar(
    [order, sync, boom, stream, Router("/api", route_handlers=[order]), room],
    exception_handlers={Handled: lambda request, error: Response("sorry", status_code=503),
                        Refused: lambda request, error: Response("refused", status_code=409)},
    logging_config=LoggingConfig(log_exceptions=LOGGED, **quiet),
)
"""
SERVERS = {
    "uvicorn": "uvicorn app:app --port {port} --log-level critical",
    "hypercorn": "hypercorn app:app --bind 127.0.0.1:{port} --log-level critical",
}
HEADERS = {"x-highlight-request": "s1/r1"}
GROUP = "ExceptionGroup" if sys.version_info >= (3, 11) else "exceptiongroup.ExceptionGroup"


@pytest.fixture(params=SERVERS)
def litestar(request, run_service):
    logged = {"uvicorn": "'debug'", "hypercorn": "'always'"}[request.param]
    service = run_service(SERVERS[request.param], files={"app.py": APP.replace("LOGGED", logged)})
    service.command = SERVERS[request.param]
    return service


def seen(receiver):
    return [(span.name, span.session, span.status, span.attributes.get("http.status_code")) for span in receiver.spans]


def errors(receiver):
    return [(error.type, error.message.partition("\n")[0], error.session) for error in receiver.errors]


def said(receiver):
    return [(log.body, log.session) for log in receiver.logs if log.logger == "shop"]


def test_a_request_is_one_span_and_what_becomes_a_5xx_one_error(litestar, receiver):
    assert litestar.get("/orders/7", HEADERS).text == "7"
    receiver.wait(logs=2)  # the second is written after the answer
    assert litestar.get("/api/orders/8").text == "8"
    receiver.wait(logs=4)
    assert litestar.get("/sync/ann", HEADERS).text == "ann"
    statuses = [litestar.get(f"/boom/{what}", HEADERS).status for what in ("plain", "handled", "refused", "502", "403")]
    assert statuses == [500, 503, 409, 502, 403]
    assert litestar.get("/nowhere", HEADERS).status == 404
    assert litestar.get("/orders/none", HEADERS).status == 404
    assert litestar.get("/stream/0", HEADERS).text == "one"
    litestar.raw(b"GET /stream/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-highlight-request: s1/r1\r\n\r\n", 1)

    receiver.wait(spans=12, errors=4)
    assert seen(receiver) == [
        ("GET /orders/{number}", "s1", "UNSET", 200),
        ("GET /api/orders/{number}", None, "UNSET", 200),
        ("GET /sync/{name}", "s1", "UNSET", 200),
        ("GET /boom/{what}", "s1", "ERROR", 500),
        ("GET /boom/{what}", "s1", "ERROR", 503),
        ("GET /boom/{what}", "s1", "UNSET", 409),
        ("GET /boom/{what}", "s1", "ERROR", 502),
        ("GET /boom/{what}", "s1", "UNSET", 403),
        ("GET", "s1", "UNSET", 404),
        ("GET", "s1", "UNSET", 404),
        ("GET /stream/{fail}", "s1", "UNSET", 200),
        ("GET /stream/{fail}", "s1", "ERROR", 200),
    ]
    assert errors(receiver) == [
        ("ValueError", "plain", "s1"),
        ("app.Handled", "handled", "s1"),
        *([("app.Refused", "refused", "s1")] if "hypercorn" in litestar.command else []),  # it has been logged
        ("litestar.exceptions.http_exceptions.HTTPException", "502: said so", "s1"),
        (GROUP, "unhandled errors in a TaskGroup (1 sub-exception)", "s1"),
    ]
    assert receiver.errors[-1].stacktrace.count("\nRuntimeError: half-way\n") == 1
    assert said(receiver) == [
        ("order 7", "s1"),
        ("sent 7", "s1"),
        ("order 8", None),
        ("sent 8", None),
        ("in a thread", "s1"),
        ("first chunk", "s1"),
        ("first chunk", "s1"),
    ]


def test_a_websocket_is_one_span(litestar, receiver):
    with litestar.websocket("/rooms/tea", HEADERS) as websocket:
        websocket.send("hello")
        assert websocket.recv() == "fine"
    for word in ("boom", "no"):
        with litestar.websocket("/rooms/tea", HEADERS) as websocket:
            websocket.send(word)
            with pytest.raises(Exception, match=r"close|received"):
                websocket.recv()

    receiver.wait(spans=3, logs=3, errors=1)
    assert [span[:3] for span in seen(receiver)] == [
        ("GET /rooms/{name}", "s1", "UNSET"),
        ("GET /rooms/{name}", "s1", "ERROR"),
        ("GET /rooms/{name}", "s1", "UNSET"),
    ]
    assert errors(receiver) == [("LookupError", "in the room", "s1")]
    assert said(receiver) == [("heard hello", "s1"), ("heard boom", "s1"), ("heard no", "s1")]
