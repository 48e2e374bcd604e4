"""Tornado: handlers of every kind, errors and who logs them, websockets, WSGI inside, and both of its clients."""

from __future__ import annotations

import contextlib
import re
import socket

import pytest

from tests.support.target import Target

APP = r"""
import asyncio, logging, os
from tornado import gen, httpserver, ioloop, iostream, routing, web, websocket, wsgi
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

log = logging.getLogger("shop")
logging.getLogger("tornado.access").disabled = True
TARGET = os.environ.get("TARGET", "")
if "CURL" in os.environ:
    AsyncHTTPClient.configure("tornado.curl_httpclient.CurlAsyncHTTPClient", max_clients=1)
else:
    AsyncHTTPClient.configure(None, max_clients=1)
waiting = []

class Sync(web.RequestHandler):
    def get(self, number):
        log.warning("order %s", number)
        self.write(number)

class Async(web.RequestHandler):
    async def prepare(self):
        await asyncio.sleep(0.01)
    async def get(self, name):
        log.warning("user %s", name)
        ioloop.IOLoop.current().spawn_callback(self.later, name)
        self.write(await ioloop.IOLoop.current().run_in_executor(None, self.work, name))
    def work(self, name):
        log.warning("working for %s", name)
        return name
    async def later(self, name):
        await asyncio.sleep(0.05)
        log.warning("sent to %s", name)

class Generator(web.RequestHandler):
    @gen.coroutine
    def get(self):
        yield gen.sleep(0.01)
        log.warning("generated")
        raise gen.Return(self.finish("done"))

class Boom(web.RequestHandler):
    async def get(self, what):
        await asyncio.sleep(0)
        if what == "plain": raise ValueError(what)
        if what == "404": raise web.HTTPError(404, "not there")
        if what == "502": raise web.HTTPError(502, "too bad")
        if what == "finish": raise web.Finish("enough")
        if what == "handled":
            try: raise KeyError(what)
            except KeyError: self.set_status(503); self.write("sorry")
        if what == "after":
            self.finish("answered")
            raise LookupError(what)
        if what == "half":
            self.write("half"); await self.flush()
            raise RuntimeError(what)
        if what == "logged":
            try: raise OSError(what)
            except OSError: log.exception("caught"); raise

class Quiet(web.RequestHandler):
    def log_exception(self, kind, error, traceback): pass
    def write_error(self, code, exc_info=None, **_):
        if isinstance(exc_info[1], KeyError): self.set_status(404)
        self.finish("quiet")
    async def get(self, what):
        if what == "half":
            self.write("half"); await self.flush()
        raise {"key": KeyError}.get(what, ValueError)(what)

class Hold(web.RequestHandler):
    def get(self):
        self._auto_finish = False
        waiting.append(self)
        log.warning("held")

class Release(web.RequestHandler):
    def get(self):
        for handler in waiting: handler.finish("released")
        self.write("done")

class Slow(web.RequestHandler):
    async def get(self):
        log.warning("waiting")
        try:
            while True:
                self.write("x" * 1000); await self.flush(); await asyncio.sleep(0.01)
        finally: log.warning("gone")

class Room(websocket.WebSocketHandler):
    def open(self, name): log.warning("joined %s", name)
    async def on_message(self, message):
        log.warning("heard %s", message)
        if message == "boom": raise LookupError("in the room")
        await self.write_message("fine")

class QuietRoom(websocket.WebSocketHandler):
    def log_exception(self, *exc_info): pass
    def on_message(self, message): raise LookupError("quietly")

class Order(web.RequestHandler):
    def options(self):
        asked = self.request.headers.get("Access-Control-Request-Headers", "")
        self.set_header("Access-Control-Allow-Origin", "https://shop.example")
        self.set_header("Access-Control-Allow-Headers", "content-type")
        self.set_status(204 if asked in ("", "content-type") else 400)

class Call(web.RequestHandler):
    async def get(self, what):
        client = AsyncHTTPClient()
        given = {"x-mine": "1"}
        if what == "two":
            await asyncio.gather(client.fetch(TARGET + "/fine?a=b", headers=given), client.fetch(TARGET + "/fine"))
            self.write(str(given))
        elif what == "redirect":
            response = await client.fetch(HTTPRequest(TARGET + "/to?url=" + os.environ["OTHER"], headers=given))
            self.write(repr(sorted(dict(response.request.headers))))
        elif what == "404":
            self.write(str((await client.fetch(TARGET + "/status/404", raise_error=False)).code))
        elif what == "drop":
            try: await client.fetch(TARGET + "/drop")
            except Exception as error: self.write(type(error).__name__)
        elif what == "many":
            await client.fetch(TARGET + "/fine?session=" + self.get_argument("me"))

def wsgi_app(environ, start_response):
    log.warning("inside %s", environ["PATH_INFO"])
    if environ["PATH_INFO"].endswith("boom"): raise ArithmeticError("in WSGI")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi"]

container = wsgi.WSGIContainer(wsgi_app)
app = web.Application([
    (r"/orders/(\d+)", Sync), (r"/users/(?P<name>[^/]+)/?", Async), (r"/generator", Generator), (r"/boom/(.*)", Boom),
    (r"/quiet/(.*)", Quiet), (r"/hold", Hold), (r"/release", Release), (r"/slow", Slow), (r"/rooms/(.*)", Room),
    (r"/quiet-rooms", QuietRoom), (r"/order", Order), (r"/call/(.*)", Call),
    (r"/wsgi/.*", web.FallbackHandler, {"fallback": container}),
])
router = routing.RuleRouter([
    routing.Rule(routing.PathMatches("/outer/.*"), container), routing.Rule(routing.AnyMatches(), app)])

async def main():
    httpserver.HTTPServer(router).listen(int(os.environ["PORT"]), "127.0.0.1")
    await asyncio.Event().wait()

asyncio.run(main())
"""
HEADERS = {"x-highlight-request": "s1/r1"}
FILES = {"app.py": APP}


@pytest.fixture
def tornado(run_service):
    return run_service("python app.py", files=FILES)


def seen(receiver):
    return [(span.name, span.session, span.status, span.attributes.get("http.status_code")) for span in receiver.spans]


def errors(receiver):
    return [(error.type, error.message, error.session, error.source) for error in receiver.errors]


def said(receiver):
    return [(log.body.partition("\n")[0], log.session) for log in receiver.logs]


def test_each_request_is_a_span_named_by_its_route(tornado, receiver):
    connection = tornado.connect()
    for number in range(3):
        headers = {"x-highlight-request": f"s{number}/r"} if number else {}
        connection.request("GET", f"/orders/{number}?a=b", headers=headers)
        assert connection.getresponse().read() == str(number).encode()
    connection.close()
    assert tornado.get("/users/ann", HEADERS).text == "ann"
    receiver.wait(logs=6)  # the last of them is written after the answer
    assert tornado.get("/generator", HEADERS).text == "done"
    assert tornado.get("/nowhere", HEADERS).status == 404
    assert tornado.request("PUT", "/orders/1", HEADERS, b"").status == 405

    receiver.wait(spans=7, logs=7)
    assert seen(receiver) == [
        ("GET /orders/{1}", None, "UNSET", 200),
        ("GET /orders/{1}", "s1", "UNSET", 200),
        ("GET /orders/{1}", "s2", "UNSET", 200),
        ("GET /users/{name}/?", "s1", "UNSET", 200),
        ("GET /generator", "s1", "UNSET", 200),
        ("GET", "s1", "UNSET", 404),
        ("PUT /orders/{1}", "s1", "UNSET", 405),
    ]
    assert said(receiver) == [
        ("order 0", None),
        ("order 1", "s1"),
        ("order 2", "s2"),
        ("user ann", "s1"),
        ("working for ann", "s1"),
        ("sent to ann", "s1"),
        ("generated", "s1"),
    ]
    assert errors(receiver) == []
    assert {span.kind for span in receiver.spans} == {"SERVER"}
    assert receiver.spans[1].attributes["http.url"] == f"{tornado.url}/orders/1"
    assert receiver.spans[1].attributes["url.query"] == "a=b"


def test_what_becomes_a_5xx_is_one_error(tornado, receiver):
    for what in ("plain", "404", "502", "finish", "handled", "after", "logged"):
        tornado.get(f"/boom/{what}", HEADERS)
    assert tornado.get("/quiet/value", HEADERS).status == 500
    assert tornado.get("/quiet/key", HEADERS).status == 404
    for path in (b"/boom/half", b"/quiet/half"):
        tornado.raw(b"GET %s HTTP/1.1\r\nconnection: close\r\nx-highlight-request: s1/r1\r\nhost: x\r\n\r\n" % path, 2)

    receiver.wait(spans=11, errors=8)
    assert seen(receiver) == [
        ("GET /boom/{1}", "s1", "ERROR", 500),
        ("GET /boom/{1}", "s1", "UNSET", 404),
        ("GET /boom/{1}", "s1", "ERROR", 502),
        ("GET /boom/{1}", "s1", "UNSET", 200),
        ("GET /boom/{1}", "s1", "ERROR", 503),
        ("GET /boom/{1}", "s1", "ERROR", 200),
        ("GET /boom/{1}", "s1", "ERROR", 500),
        ("GET /quiet/{1}", "s1", "ERROR", 500),
        ("GET /quiet/{1}", "s1", "UNSET", 404),
        ("GET /boom/{1}", "s1", "ERROR", 200),
        ("GET /quiet/{1}", "s1", "ERROR", 200),
    ]
    assert errors(receiver) == [
        ("ValueError", "plain", "s1", "span"),
        ("tornado.web.HTTPError", "HTTP 502: Bad Gateway (too bad)", "s1", "span"),
        ("KeyError", "'handled'", "s1", "span"),
        ("LookupError", "after", "s1", "span"),
        ("OSError", "logged", "s1", "log"),
        ("ValueError", "value", "s1", "span"),
        ("RuntimeError", "half", "s1", "span"),
        ("ValueError", "half", "s1", "span"),
    ]
    assert [body for body, session in said(receiver) if session == "s1"] == [
        "Uncaught exception GET /boom/plain (127.0.0.1)",
        "404 GET /boom/404 (127.0.0.1): not there",
        "502 GET /boom/502 (127.0.0.1): too bad",
        "Uncaught exception GET /boom/after (127.0.0.1)",
        "caught",
        "Uncaught exception GET /boom/logged (127.0.0.1)",
        "Uncaught exception GET /boom/half (127.0.0.1)",
        *["Cannot send error response after headers written"] * 2,
    ]
    assert "detach" not in tornado.stderr


def test_a_request_that_another_one_finishes_keeps_its_own_session(tornado, receiver):
    with socket.create_connection(("127.0.0.1", tornado.port)) as held:
        held.sendall(b"GET /hold HTTP/1.1\r\nhost: x\r\nx-highlight-request: s1/r1\r\n\r\n")
        receiver.wait(logs=1)
        tornado.get("/release", {"x-highlight-request": "s2/r2"})
        assert b"released" in held.recv(1000)

    receiver.wait(spans=2)
    assert seen(receiver) == [("GET /hold", "s1", "UNSET", 200), ("GET /release", "s2", "UNSET", 200)]
    assert said(receiver) == [("held", "s1")]


def test_a_client_that_goes_away_is_no_error(tornado, receiver):
    with socket.create_connection(("127.0.0.1", tornado.port)) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nhost: x\r\nx-highlight-request: s1/r1\r\n\r\n")
        connection.recv(100)

    receiver.wait(spans=1, logs=2)
    assert seen(receiver) == [("GET /slow", "s1", "UNSET", 200)]
    assert said(receiver)[:2] == [("waiting", "s1"), ("gone", "s1")]
    assert errors(receiver) == []


def test_a_websocket_is_one_span(tornado, receiver):
    with tornado.websocket("/rooms/tea", HEADERS) as websocket:
        websocket.send("hello")
        assert websocket.recv() == "fine"
    for number, path in enumerate(("/rooms/tea", "/quiet-rooms"), 1):
        with tornado.websocket(path, HEADERS) as websocket:
            websocket.send("boom")
            receiver.wait(spans=1 + number, errors=number)
            with contextlib.suppress(OSError):  # it is closed; before 6.6 Tornado leaves it open
                websocket.socket.shutdown(socket.SHUT_RDWR)

    receiver.wait(spans=3, errors=2)
    assert seen(receiver) == [
        ("GET /rooms/{1}", "s1", "UNSET", 101),
        ("GET /rooms/{1}", "s1", "ERROR", 101),
        ("GET /quiet-rooms", "s1", "ERROR", 101),
    ]
    # Before 6.6 Tornado's loop logs it first, and the room then fails by the same exception.
    loops = [log for log in receiver.logs if log.body.startswith("Exception in callback")]
    room, quiet = errors(receiver)
    assert room == ("LookupError", "in the room", "s1", "log" if loops else "span")
    assert quiet == ("LookupError", "quietly", "s1", "span")
    assert {log.session for log in loops} <= {"s1"}
    assert receiver.spans[0].end_ns > receiver.logs[1].time_ns  # not with the handshake
    assert [line for line in said(receiver) if not line[0].startswith("Exception in callback")] == [
        ("joined tea", "s1"),
        ("heard hello", "s1"),
        ("joined tea", "s1"),
        ("heard boom", "s1"),
        ("Uncaught exception GET /rooms/tea (127.0.0.1)", "s1"),
    ]


def test_an_application_that_speaks_wsgi_is_served_once(tornado, receiver):
    assert tornado.get("/wsgi/x", HEADERS).text == "wsgi"
    assert tornado.get("/outer/x", HEADERS).text == "wsgi"
    tornado.raw(b"GET /outer/boom HTTP/1.0\r\nx-highlight-request: s1/r1\r\n\r\n", 1)

    receiver.wait(spans=3, logs=3, errors=1)
    assert seen(receiver) == [("GET", "s1", "UNSET", 200), ("GET", "s1", "UNSET", 200), ("GET", "s1", "ERROR", 500)]
    assert [line for line in said(receiver) if line[0].startswith("inside")] == [
        ("inside /wsgi/x", "s1"),
        ("inside /outer/x", "s1"),
        ("inside /outer/boom", "s1"),
    ]
    assert errors(receiver) == [("ArithmeticError", "in WSGI", "s1", "span")]


def test_a_preflight_lets_the_clients_headers_through(tornado, receiver):
    def preflight(asked):
        names = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
        answer = tornado.request("OPTIONS", "/order", {**names, "Access-Control-Request-Headers": asked})
        return answer.status, answer.header("Access-Control-Allow-Headers")

    assert preflight("content-type,traceparent,x-highlight-request") == (
        204,
        "content-type, traceparent, x-highlight-request",
    )
    assert preflight("x-highlight-request,x-secret") == (400, "content-type")
    receiver.wait(spans=2)


@pytest.fixture
def target():
    server = Target()
    yield server
    server.close()


@pytest.mark.parametrize("client", ["simple", "curl"])
def test_a_call_is_one_span_and_carries_the_headers(run_service, receiver, target, client):
    env = {
        "TARGET": target.url,
        "OTHER": target.at("localhost", "/fine"),
        **({"CURL": "1"} if client == "curl" else {}),
    }
    told = []
    for bare in (True, False):
        service = run_service("python app.py", files=FILES, env=env, bare=bare)
        target.clear()
        told.append([service.get(f"/call/{what}", HEADERS).text for what in ("two", "redirect", "404", "drop")])
    assert told[1] == told[0]

    receiver.wait(spans=9)
    call = [span for span in receiver.spans if span.kind == "CLIENT"]
    assert [(span.name, span.attributes["http.url"], span.attributes.get("http.status_code")) for span in call] == [
        ("GET", f"{target.url}/fine", 200),
        ("GET", f"{target.url}/fine", 200),
        ("GET", f"{target.url}/to", 200),
        ("GET", f"{target.url}/status/404", 404),
        ("GET", f"{target.url}/drop", None),
    ]
    assert [(span.session, span.status) for span in call] == [("s1", "UNSET")] * 3 + [("s1", "ERROR")] * 2
    assert errors(receiver) == []
    parents = [parent for seen in target.seen for parent in seen.ids[1]]
    assert [seen.ids[0] for seen in target.seen] == [["s1/r1"]] * len(target.seen)
    assert {parent.split("-")[2] for parent in parents} == {span.span_id for span in call}
    assert [seen.all("x-mine") for seen in target.seen][:2] == [["1"], []]


@pytest.mark.parametrize("client", ["simple", "curl"])
def test_a_call_that_waits_for_another_requests_call_keeps_its_own_ids(run_service, receiver, target, client):
    env = {"TARGET": target.url, **({"CURL": "1"} if client == "curl" else {})}
    service = run_service("python app.py", files=FILES, env=env)
    connections = []
    for number in range(6):
        connection = service.connect()
        headers = {"x-highlight-request": f"s{number}/r"} if number % 2 else {}
        connection.request("GET", f"/call/many?me={number}", headers=headers)
        connections.append(connection)
    for connection in connections:
        assert connection.getresponse().status == 200
        connection.close()

    receiver.wait(spans=12)
    for seen in target.seen:
        number = int(seen.path[-1])
        assert seen.ids[0] == ([f"s{number}/r"] if number % 2 else [])
    assert len(target.seen) == 6


@pytest.mark.parametrize(("client", "expected"), [("simple", [["s1/r1"], []]), ("curl", [[], []])])
def test_a_redirect_is_decided_anew_or_not_told(run_service, target, client, expected):
    env = {"TARGET": target.url, "OTHER": target.at("localhost", "/fine"), "HIGHLIGHT_TRACING_ORIGINS": "127.0.0.1"}
    service = run_service("python app.py", files=FILES, env={**env, **({"CURL": "1"} if client == "curl" else {})})
    service.get("/call/redirect", HEADERS)

    assert [seen.ids[0] for seen in target.seen] == expected


BAD = (b"", b"null", b"\xff\xfe/x", b"a" * 8000, b"/", b"s1/r1\r\nx-highlight-request: s2/r2")
END = b"\r\nConnection: close\r\n\r\n"
REQUESTS = [b"GET /orders/7 HTTP/1.1\r\nHost: x\r\nx-highlight-request: " + bad + END for bad in BAD]
BAD_HOST = b"GET /orders/7 HTTP/1.1\r\nHost: \xff\r\nUser-Agent: \xff\xe4 x\r\nCookie: \xff" + END
REQUESTS += [
    BAD_HOST,
    b"GET /boom/plain HTTP/1.1\r\nHost: x" + END,
    b"GET /boom/404 HTTP/1.1\r\nHost: [::bad" + END,
    b"GET /orders/7 HTTP/1.0\r\n\r\n",
    b"OPTIONS /order HTTP/1.1\r\nHost: x" + END,
]


def test_answers_are_byte_for_byte_those_without_the_agent(run_service, receiver):
    answers = []
    for bare in (True, False):
        service = run_service("python app.py", files=FILES, bare=bare)
        answers.append([re.sub(rb"(?i)\r\ndate: [^\r]*", b"", service.raw(request, 3)) for request in REQUESTS])
    assert answers[1] == answers[0]
    unanswered = [request for request, answer in zip(REQUESTS, answers[0], strict=True) if not answer]
    assert unanswered in ([], [BAD_HOST])  # Tornado 6.5.0 fails over it, and hangs up
    receiver.settle()
    assert {span.session for span in receiver.spans} == {None, "s1"}
