"""What a unit of work leaves is gone when it is over: nothing of it waits for the garbage collector."""

from __future__ import annotations

import pytest

# Garbage is looked for as a whole run of each would have it: the second time, when all that is needed is loaded.
LOOK = """
import gc

def left_by(run):
    run()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    run()
    gc.collect()
    gc.set_debug(0)
    return sorted({f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage})

"""
PROGRAMS = {
    "flask": """
import logging
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    logging.getLogger("shop").warning("seen")
    return "fine"

def run():
    def start(status, headers, exc_info=None): pass
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SERVER_NAME": "shop", "SERVER_PORT": "80",
               "wsgi.url_scheme": "http", "HTTP_X_HIGHLIGHT_REQUEST": "s1/r1"}
    body = app(environ, start)
    b"".join(body)
    body.close()
""",
    "falcon": """
import logging, wsgiref.util
from falcon import App

class Index:
    def on_get(self, request, answer):
        logging.getLogger("shop").warning("seen")
        answer.stream = iter([b"fine"])

app = App()
app.add_route("/", Index())

def run():
    environ = {"HTTP_X_HIGHLIGHT_REQUEST": "s1/r1"}
    wsgiref.util.setup_testing_defaults(environ)
    body = app(environ, lambda status, headers, exc_info=None: None)
    b"".join(body)
    getattr(body, "close", int)()
""",
    "starlette": """
import asyncio, logging
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def index(request):
    logging.getLogger("shop").warning("seen")
    return PlainTextResponse("fine")

app = Starlette(routes=[Route("/", index)])
loop = asyncio.new_event_loop()

async def ask():
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"",
             "headers": [(b"x-highlight-request", b"s1/r1")]}
    async def receive(): return {"type": "http.request"}
    async def send(message): pass
    await app(scope, receive, send)

def run(): loop.run_until_complete(ask())
""",
    "trace": """
import logging
import highlight_autoinstrument
from opentelemetry import trace

def run():
    with highlight_autoinstrument.trace("work"), trace.get_tracer("shop").start_as_current_span("part"):
        logging.getLogger("shop").warning("seen")
""",
    "error": """
import logging
import highlight_autoinstrument

def fail(): raise ValueError("no such thing")

def run():
    try:
        with highlight_autoinstrument.trace("work"):
            fail()
    except ValueError:
        logging.getLogger("shop").exception("seen")
""",
    "call": """
import http.server, threading, urllib.request
import highlight_autoinstrument

class Fine(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
    def log_message(self, *words): pass

server = http.server.HTTPServer(("127.0.0.1", 0), Fine)
threading.Thread(target=server.serve_forever, daemon=True).start()

def run():
    with highlight_autoinstrument.trace("work"):
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}") as answer:
            answer.read()
""",
}


@pytest.mark.parametrize("sampler", ["always_on", "always_off"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_is_left_to_the_garbage_collector(run_python, program, sampler):
    code = LOOK + PROGRAMS[program] + "\nprint(left_by(run))"
    done = run_python(code, env={"OTEL_TRACES_SAMPLER": sampler})
    assert done.returncode == 0, done.stderr
    if "highlight_autoinstrument" in code:
        assert done.stdout == "[]\n"
    else:  # what the framework itself leaves
        assert done.stdout == run_python(code, under_agent=False).stdout
