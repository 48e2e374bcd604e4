"""What a handler of signals raises in the midst of the agent goes on to the application, and nothing is left behind."""

from __future__ import annotations

import pytest

# The same request again and again, with a signal at the begin of another call of the agent's each time, where Python
# runs its handlers, until there are no more.
EACH_CALL = """
import gc, logging, signal, sys
from opentelemetry import context

class Late(Exception): pass

def late(*_): raise Late

signal.signal(signal.SIGALRM, late)
log = logging.getLogger("shop")
log.propagate = False
log.addHandler(logging.NullHandler())

def calls(frame, event, argument):
    global left
    # What is raised in a finalizer ends there, whoever's it is: Python prints it.
    if left and "highlight_autoinstrument" in frame.f_code.co_filename and frame.f_code.co_name != "__del__":
        left -= 1
        if not left:
            sys.settrace(None)
            signal.raise_signal(signal.SIGALRM)

def sweep(one, other):
    global left
    for number in range(1, 10_000):
        left = number
        sys.settrace(calls)
        try:
            one()
        except Late:
            pass
        finally:
            sys.settrace(None)
        over, left = left > 0, 0
        assert not context.get_current(), number
        other()
        if over:
            return number - 1
"""
WSGI = """
from flask import Flask
from werkzeug.test import create_environ

app = Flask(__name__)
app.logger.disabled = True
app.config["PROPAGATE_EXCEPTIONS"] = True

def serve(environ, start_response):
    log.warning("in %s", environ["HTTP_X_HIGHLIGHT_REQUEST"][:2])
    if environ["QUERY_STRING"]: raise KeyError("failed")
    start_response("200 OK", [])
    return iter([b"fine"])

app.wsgi_app = serve

def ask(session, query=""):
    environ = create_environ("/?" + query, headers={"x-highlight-request": session + "/" + session[1] * 32})
    try:
        body = app(environ, lambda status, headers, *_: None)
        try:
            b"".join(body)
        finally:
            body.close()
    except KeyError:
        pass

for query in ("", "failing"):
    print(sweep(lambda: ask("s1", query), lambda: ask("s2")) > 10)
"""
ASGI = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def view(request):
    log.warning("in %s", request.headers["x-highlight-request"][:2])
    if request.url.query: raise KeyError("failed")
    return PlainTextResponse("fine")

app = Starlette(routes=[Route("/", view)])

async def receive(): return {"type": "http.request", "body": b"", "more_body": False}
async def send(message): pass

def ask(session, query=b""):
    headers = [(b"x-highlight-request", (session + "/" + session[1] * 32).encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "root_path": "", "query_string": query, "headers": headers}
    try:
        app(scope, receive, send).send(None)
    except (StopIteration, KeyError):
        pass

ask("s2")
for query in (b"", b"failing"):
    print(sweep(lambda: ask("s1", query), lambda: ask("s2")) > 10)
"""


@pytest.mark.parametrize("sampler", ["always_on", "always_off"])
@pytest.mark.parametrize("program", [WSGI, ASGI], ids=["wsgi", "asgi"])
def test_wherever_it_comes_the_next_request_is_another(run_python, receiver, program, sampler):
    env = {"OTEL_TRACES_SAMPLER": sampler, "HIGHLIGHT_RAISE_ERRORS": "false", "OTEL_BSP_MAX_QUEUE_SIZE": "100000"}
    done = run_python(EACH_CALL + program, env=env)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "True\n" * 2)
    receiver.settle()
    told = [(log.body, log.session) for log in receiver.logs if log.logger == "shop"]
    assert {session for body, session in told if body == "in s1"} <= {"s1"}
    assert {session for body, session in told if body == "in s2"} == {"s2"}


ABANDONED = """
import asyncio, gc, weakref
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

class Connection:
    async def receive(self):
        if not self.__dict__.setdefault("asked", False):
            self.asked = True
            return {"type": "websocket.connect"}
        await asyncio.Event().wait()

    async def send(self, message): pass

async def view(websocket):
    await websocket.accept()
    await websocket.receive_text()

app = Starlette(routes=[WebSocketRoute("/", view)])

def abandon():
    connection = Connection()
    scope = {"type": "websocket", "path": "/", "root_path": "", "query_string": b"", "headers": [], "subprotocols": []}
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    connection.task = loop.create_task(app(scope, connection.receive, connection.send))
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    connection.task._log_destroy_pending = False
    return weakref.ref(connection)

left = [abandon() for _ in range(3)]
gc.collect()
gc.collect()
print([each() for each in left])
"""


def test_a_request_that_nobody_ends_goes_with_its_task(run_python, receiver):
    assert run_python(ABANDONED, env={"PYTHONWARNINGS": "ignore"}).stdout == "[None, None, None]\n"
