"""aiohttp's server: routes, errors and who makes answers of them, streams, websockets, preflights."""

from __future__ import annotations

import inspect
import re
import socket
import sys

import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

APP = """
import asyncio, logging, os
from aiohttp import web

log = logging.getLogger("shop")
routes = web.RouteTableDef()
gone = asyncio.Event()

@web.middleware
async def apologise(request, handler):
    try:
        return await handler(request)
    except Handled:
        return web.json_response({"error": "sorry"}, status=503)
    except Refused:
        return web.json_response({"error": "no"}, status=409)
    except Renamed as error:
        raise web.HTTPInternalServerError() from error

class Handled(Exception): pass
class Refused(Exception): pass
class Renamed(Exception): pass

@routes.get(r"/orders/{number:\\d+}")
async def order(request):
    log.warning("order %s", request.match_info["number"])
    asyncio.get_running_loop().create_task(later(request.match_info["number"]))
    return web.Response(text=request.match_info["number"])

async def later(number):
    await asyncio.sleep(0.05)
    log.warning("sent %s", number)

@routes.get("/boom/{what}")
async def boom(request):
    raise {"handled": Handled, "refused": Refused, "renamed": Renamed, "late": asyncio.TimeoutError}.get(
        request.match_info["what"], ValueError)("boom")

@routes.get("/status/{code}")
async def status(request):
    kind = {404: web.HTTPNotFound, 502: web.HTTPBadGateway}[int(request.match_info["code"])]
    raise kind()

@routes.get("/logged")
async def logged(request):
    try:
        raise KeyError("once")
    except KeyError:
        log.exception("caught")
        raise

@routes.get("/nothing")
async def nothing(request): pass

@routes.get("/stream/{fail}")
async def stream(request):
    response = web.StreamResponse()
    await response.prepare(request)
    log.warning("first chunk")
    await response.write(b"one")
    if request.match_info["fail"] == "1": raise RuntimeError("half-way")
    await response.write(b"two")
    return response

@routes.get("/slow")
async def slow(request):
    response = web.StreamResponse()
    await response.prepare(request)
    log.warning("waiting")
    try:
        while True:
            await response.write(b"x" * 1000)
            await asyncio.sleep(0.01)
    finally:
        log.warning("gone")

@routes.view("/things/{id}")
class Things(web.View):
    async def post(self):
        log.warning("thing %s", (await self.request.read()).decode())
        return web.Response(text="made")

@routes.get("/rooms/{name}")
async def room(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        log.warning("heard %s", message.data)
        if message.data == "boom": raise LookupError("in the room")
        await socket.send_str("fine")
    return socket

@routes.route("OPTIONS", "/order")
async def preflight(request):
    asked = request.headers.get("Access-Control-Request-Headers", "")
    answer = {"Access-Control-Allow-Origin": "https://shop.example", "Access-Control-Allow-Headers": "content-type"}
    return web.Response(headers=answer, status=200 if asked in ("", "content-type") else 400)

async def users(request): return web.Response(text="user")

def make():
    app = web.Application(middlewares=[apologise])
    app.add_routes(routes)
    admin = web.Application()
    admin.add_routes([web.get("/users/{id}", users)])
    app.add_subapp("/admin", admin)
    return app

if __name__ == "__main__":
    cancel = {"handler_cancellation": True} if "CANCEL" in os.environ else {}
    web.run_app(make(), host="127.0.0.1", port=int(os.environ["PORT"]), print=None, **cancel)
"""
HEADERS = {"x-highlight-request": "s1/r1"}
CAN_CANCEL = "handler_cancellation" in inspect.signature(web.run_app).parameters  # since 3.9
FAILED = "Error handling request"
if "from %s" in inspect.getsource(RequestHandler.handle_error):  # younger versions say that as well
    FAILED += " from 127.0.0.1"
END = b"\r\nConnection: close\r\n\r\n"
TIMEOUT = "TimeoutError" if sys.version_info >= (3, 11) else "asyncio.exceptions.TimeoutError"


@pytest.fixture
def aiohttp(run_service):
    return run_service("python app.py", files={"app.py": APP})


def seen(receiver):
    return [
        (span.name, span.kind, span.session, span.status, span.attributes.get("http.status_code"))
        for span in receiver.spans
    ]


def errors(receiver):
    return [(error.type, error.message, error.session, error.source) for error in receiver.errors]


def said(receiver):
    return [(log.logger, log.body, log.session) for log in receiver.logs if log.logger != "aiohttp.access"]


def test_each_request_is_a_span_named_by_its_route(aiohttp, receiver):
    connection = aiohttp.connect()
    for number in range(3):
        connection.request(
            "GET", f"/orders/{number}?a=b", headers={"x-highlight-request": f"s{number}/r"} if number else {}
        )
        assert connection.getresponse().read() == str(number).encode()
    connection.close()
    assert aiohttp.request("POST", "/things/7", HEADERS, b"hat").text == "made"
    assert aiohttp.get("/admin/users/7", HEADERS).text == "user"
    assert aiohttp.get("/nowhere", HEADERS).status == 404
    assert aiohttp.request("PUT", "/orders/7", HEADERS).status == 405
    assert aiohttp.get("/status/404", HEADERS).status == 404
    assert aiohttp.raw(b"GET / HTTP/1.1\r\nno header\r\n\r\n").startswith(b"HTTP/1.0 400 ")

    receiver.wait(spans=8, logs=8)
    assert seen(receiver) == [
        ("GET /orders/{number}", "SERVER", None, "UNSET", 200),
        ("GET /orders/{number}", "SERVER", "s1", "UNSET", 200),
        ("GET /orders/{number}", "SERVER", "s2", "UNSET", 200),
        ("POST /things/{id}", "SERVER", "s1", "UNSET", 200),
        ("GET /admin/users/{id}", "SERVER", "s1", "UNSET", 200),
        ("GET", "SERVER", "s1", "UNSET", 404),
        ("PUT", "SERVER", "s1", "UNSET", 405),
        ("GET /status/{code}", "SERVER", "s1", "UNSET", 404),
    ]
    assert sorted(said(receiver), key=str) == sorted(
        [
            ("shop", "order 0", None),
            ("shop", "order 1", "s1"),
            ("shop", "order 2", "s2"),
            ("shop", "sent 0", None),
            ("shop", "sent 1", "s1"),
            ("shop", "sent 2", "s2"),
            ("shop", "thing hat", "s1"),
            ("aiohttp.server", FAILED, None),
        ],
        key=str,
    )
    assert errors(receiver) == []
    first = receiver.spans[1]
    assert first.attributes["http.url"] == f"{aiohttp.url}/orders/1"
    assert first.attributes["url.query"] == "a=b"
    assert first.attributes["client.address"] == "127.0.0.1"
    assert first.attributes["highlight.request_id"] == "r"


def test_what_becomes_a_5xx_is_one_error(aiohttp, receiver):
    for path in ("/boom/plain", "/boom/handled", "/boom/refused", "/boom/renamed", "/boom/late", "/status/502"):
        aiohttp.get(path, HEADERS)
    aiohttp.get("/logged", HEADERS)

    receiver.wait(spans=7, errors=6)
    assert seen(receiver) == [
        ("GET /boom/{what}", "SERVER", "s1", "ERROR", 500),
        ("GET /boom/{what}", "SERVER", "s1", "ERROR", 503),
        ("GET /boom/{what}", "SERVER", "s1", "UNSET", 409),
        ("GET /boom/{what}", "SERVER", "s1", "ERROR", 500),
        ("GET /boom/{what}", "SERVER", "s1", "ERROR", 504),
        ("GET /status/{code}", "SERVER", "s1", "ERROR", 502),
        ("GET /logged", "SERVER", "s1", "ERROR", 500),
    ]
    assert errors(receiver) == [
        ("ValueError", "boom", "s1", "span"),
        ("__main__.Handled", "boom", "s1", "span"),
        ("aiohttp.web_exceptions.HTTPInternalServerError", "Internal Server Error", "s1", "span"),
        (TIMEOUT, "boom", "s1", "span"),
        ("aiohttp.web_exceptions.HTTPBadGateway", "Bad Gateway", "s1", "span"),
        ("KeyError", "'once'", "s1", "log"),
    ]
    assert "__main__.Renamed: boom" in receiver.errors[2].stacktrace
    assert said(receiver) == [
        ("aiohttp.server", FAILED, "s1"),
        ("aiohttp.server", FAILED, "s1"),
        ("shop", "caught", "s1"),
        ("aiohttp.server", FAILED, "s1"),
    ]


def test_a_handler_that_returns_nothing_is_one_error(aiohttp, receiver):
    answer = aiohttp.raw(b"GET /nothing HTTP/1.1\r\nhost: x\r\nx-highlight-request: s1/r1" + END)

    receiver.wait(spans=1, errors=1)
    missing = "Missing return statement on request handler"
    if answer:
        assert seen(receiver) == [("GET /nothing", "SERVER", "s1", "ERROR", 500)]
        assert errors(receiver) == [("AttributeError", "'NoneType' object has no attribute 'prepare'", "s1", "log")]
        assert said(receiver) == [("aiohttp.server", missing, "s1")]
    else:  # before 3.11 aiohttp hangs up, and says nothing
        assert seen(receiver) == [("GET /nothing", "SERVER", "s1", "ERROR", None)]
        assert errors(receiver) == [("RuntimeError", missing, "s1", "span")]
        assert said(receiver) == []


def test_a_stream_is_part_of_its_request_and_may_fail_half_way(aiohttp, receiver):
    assert aiohttp.get("/stream/0", HEADERS).text == "onetwo"
    assert b"one" in aiohttp.raw(b"GET /stream/1 HTTP/1.1\r\nhost: x\r\nx-highlight-request: s1/r1\r\n\r\n")

    receiver.wait(spans=2, logs=3, errors=1)
    assert seen(receiver) == [
        ("GET /stream/{fail}", "SERVER", "s1", "UNSET", 200),
        ("GET /stream/{fail}", "SERVER", "s1", "ERROR", 200),
    ]
    assert errors(receiver) == [("RuntimeError", "half-way", "s1", "span")]
    assert said(receiver) == [
        ("shop", "first chunk", "s1"),
        ("shop", "first chunk", "s1"),
        ("aiohttp.server", FAILED, "s1"),
    ]


@pytest.mark.parametrize("cancel", [False, True] if CAN_CANCEL else [False])
def test_a_client_that_goes_away_is_no_error(run_service, receiver, cancel):
    files = {"app.py": APP}
    service = run_service("python app.py", files=files, env={"CANCEL": "1"} if cancel else {})
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nhost: x\r\nx-highlight-request: s1/r1\r\n\r\n")
        connection.recv(100)

    receiver.wait(spans=1, logs=2)
    assert seen(receiver) == [("GET /slow", "SERVER", "s1", "UNSET", 200)]
    assert [line for line in said(receiver) if line[0] == "shop"] == [("shop", "waiting", "s1"), ("shop", "gone", "s1")]
    assert errors(receiver) == []


def test_a_websocket_is_one_span(aiohttp, receiver):
    with aiohttp.websocket("/rooms/tea", HEADERS) as websocket:
        websocket.send("hello")
        assert websocket.recv() == "fine"
    with aiohttp.websocket("/rooms/tea", HEADERS) as websocket:
        websocket.send("boom")
        with pytest.raises(Exception, match="close"):
            websocket.recv()

    receiver.wait(spans=2, logs=3, errors=1)
    assert seen(receiver) == [
        ("GET /rooms/{name}", "SERVER", "s1", "UNSET", 101),
        ("GET /rooms/{name}", "SERVER", "s1", "ERROR", 101),
    ]
    assert errors(receiver) == [("LookupError", "in the room", "s1", "span")]
    assert [line for line in said(receiver) if line[0] == "shop"] == [
        ("shop", "heard hello", "s1"),
        ("shop", "heard boom", "s1"),
    ]


def preflight(service, asked):
    return service.request(
        "OPTIONS",
        "/order",
        {
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": asked,
        },
    )


def test_a_preflight_lets_the_clients_headers_through(aiohttp, receiver):
    answer = preflight(aiohttp, "content-type,traceparent,x-highlight-request")
    assert (answer.status, answer.header("Access-Control-Allow-Headers")) == (
        200,
        "content-type, traceparent, x-highlight-request",
    )
    answer = preflight(aiohttp, "x-highlight-request,x-secret")
    assert (answer.status, answer.header("Access-Control-Allow-Headers")) == (400, "content-type")

    receiver.wait(spans=2)
    assert seen(receiver) == [
        ("OPTIONS /order", "SERVER", None, "UNSET", 200),
        ("OPTIONS /order", "SERVER", None, "UNSET", 400),
    ]


def test_gunicorns_worker_serves_as_well(run_service, receiver):
    source = APP.replace('if __name__ == "__main__":', "app = make()\nif False:")
    command = "gunicorn app:app -k aiohttp.GunicornWebWorker -b 127.0.0.1:{port} --log-level critical"
    service = run_service(command, files={"app.py": source})
    assert service.get("/orders/7", HEADERS).text == "7"
    assert service.get("/boom/plain", HEADERS).status == 500

    receiver.wait(spans=2, errors=1)
    assert seen(receiver) == [
        ("GET /orders/{number}", "SERVER", "s1", "UNSET", 200),
        ("GET /boom/{what}", "SERVER", "s1", "ERROR", 500),
    ]
    assert errors(receiver) == [("ValueError", "boom", "s1", "span")]


BAD = (b"", b"null", b"\xff\xfe/\x01", b"a" * 8000, b"/", b"s1/r1\r\nx-highlight-request: s2/r2")
REQUESTS = [
    b"GET /orders/7 HTTP/1.1\r\nHost: x\r\nx-highlight-request: " + bad + b"\r\nConnection: close\r\n\r\n"
    for bad in BAD
]
REQUESTS += [
    b"GET /orders/7 HTTP/1.1\r\nHost: \xff\r\nUser-Agent: \xff\xe4 x\r\nCookie: \xff" + END,
    b"GET /boom/plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /orders/7 HTTP/1.1\r\nHost: [::bad\r\nConnection: close\r\n\r\n",
    b"HEAD /orders/7 HTTP/1.0\r\n\r\n",
    b"OPTIONS /order HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
]


def test_answers_are_byte_for_byte_those_without_the_agent(run_service, receiver):
    answers = []
    for bare in (True, False):
        service = run_service("python app.py", files={"app.py": APP}, bare=bare)
        answers.append([re.sub(rb"(?i)\r\ndate: [^\r]*", b"", service.raw(request, 3)) for request in REQUESTS])
    assert answers[1] == answers[0]
    assert all(answers[0])
    receiver.settle()
    assert [span.session for span in receiver.spans] == [*[None] * 4, "s1", *[None] * 5]
