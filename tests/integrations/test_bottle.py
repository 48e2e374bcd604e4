"""Bottle under its own server: routes, mounted applications, errors that become answers, streaming."""

from __future__ import annotations

import pytest

APP = """
import logging, os
import bottle
from bottle import Bottle, HTTPError, HTTPResponse, abort, response

app = Bottle()
log = logging.getLogger("shop")

@app.get("/items/<number:int>")
def item(number):
    log.warning("item %s", number)
    return f"item {number}"

@app.get("/boom/<rest:path>")
def boom(rest): raise ValueError(rest)

@app.get("/abort/<code:int>")
def aborting(code): abort(code, "on purpose")

@app.get("/raised/<code:int>")
def raising(code): raise HTTPResponse("raised", code)

@app.get("/returned")
def returned(): return HTTPError(503, "no exception")

@app.get("/logged")
def logged():
    try:
        raise KeyError("once")
    except KeyError:
        log.exception("caught")
        raise

@app.get("/first")
def first():
    raise LookupError("before the first chunk")
    yield "never"

@app.get("/stream/<fail:int>")
def stream(fail):
    log.warning("first chunk")
    yield "one "
    if fail: raise RuntimeError("half-way")
    yield "two"

@app.error(500)
def sorry(error): return "sorry"

@app.error(418)
def worse(error): raise OSError("in the error handler")

inner = Bottle()
@inner.get("/order/<name>")
def order(name): return f"order {name}"
app.mount("/shop/", inner)

wsgi = Bottle()
@wsgi.get("/order/<name>")
def wsgi_order(name): return f"wsgi order {name}"
app.mount("/wsgi/", lambda environ, start_response: wsgi(environ, start_response))

if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]), quiet=True)
"""
IN_PROCESS = """
import app
from wsgiref.util import setup_testing_defaults
environ = {"PATH_INFO": "/items/3", "HTTP_X_HIGHLIGHT_REQUEST": "s1/r1"}
setup_testing_defaults(environ)
print(b"".join(app.app(environ, lambda *_: None)))
"""
HEADERS = {"x-highlight-request": "s1/r1"}
PATHS = {
    "/items/7": 200,
    "/items/x": 404,
    "/boom/a/b": 500,
    "/abort/404": 404,
    "/abort/502": 502,
    "/abort/418": 500,
    "/raised/409": 409,
    "/raised/503": 503,
    "/returned": 503,
    "/logged": 500,
    "/first": 500,
    "/stream/0": 200,
    "/shop/order/a": 200,
    "/wsgi/order/b": 200,
}


def seen(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


def test_requests_are_named_by_their_routes_and_errors_reported_once(run_service, receiver):
    service = run_service("python app.py", files={"app.py": APP})
    bare = run_service("python app.py", files={"app.py": APP}, bare=True)

    answers = {path: service.get(path, HEADERS) for path in PATHS}
    assert {path: answer.status for path, answer in answers.items()} == PATHS
    assert {path: answer.text.replace(str(service.port), "") for path, answer in answers.items()} == {
        path: bare.get(path).text.replace(str(bare.port), "") for path in PATHS
    }
    assert service.get("/items/8").text == "item 8"
    assert service.request("PROPFIND", "/items/7", HEADERS).status == 405

    receiver.wait(spans=len(PATHS) + 2, logs=4, errors=6)
    assert seen(receiver) == [
        ("GET /items/<number:int>", "SERVER", "s1", "UNSET"),
        ("GET", "SERVER", "s1", "UNSET"),
        ("GET /boom/<rest:path>", "SERVER", "s1", "ERROR"),
        ("GET /abort/<code:int>", "SERVER", "s1", "UNSET"),
        ("GET /abort/<code:int>", "SERVER", "s1", "ERROR"),
        ("GET /abort/<code:int>", "SERVER", "s1", "ERROR"),
        ("GET /raised/<code:int>", "SERVER", "s1", "UNSET"),
        ("GET /raised/<code:int>", "SERVER", "s1", "ERROR"),
        ("GET /returned", "SERVER", "s1", "ERROR"),
        ("GET /logged", "SERVER", "s1", "ERROR"),
        ("GET /first", "SERVER", "s1", "ERROR"),
        ("GET /stream/<fail:int>", "SERVER", "s1", "UNSET"),
        ("GET /shop/order/<name>", "SERVER", "s1", "UNSET"),
        ("GET /wsgi/order/<name>", "SERVER", "s1", "UNSET"),
        ("GET /items/<number:int>", "SERVER", None, "UNSET"),
        ("PROPFIND", "SERVER", "s1", "UNSET"),
    ]
    assert errors(receiver) == [
        ("ValueError", "a/b", "s1"),
        ("bottle.HTTPError", "(502, 'on purpose')", "s1"),
        ("OSError", "in the error handler", "s1"),
        ("bottle.HTTPResponse", "('raised', 503)", "s1"),
        ("KeyError", "'once'", "s1"),
        ("LookupError", "before the first chunk", "s1"),
    ]
    assert [(log.body, log.session) for log in receiver.logs] == [
        ("item 7", "s1"),
        ("caught", "s1"),
        ("first chunk", "s1"),
        ("item 8", None),
    ]


@pytest.mark.parametrize("header", ["null", "\x00/\x01", "s/" + "x" * 300, ""])
def test_what_is_no_header_gives_no_session(run_service, receiver, header):
    service = run_service("gunicorn app:app -b 127.0.0.1:{port} --log-level critical", files={"app.py": APP})
    request = f"GET /stream/1 HTTP/1.0\r\nHost: x\r\nx-highlight-request: {header}\r\n\r\n"
    service.raw(request.encode("latin-1"))
    service.raw(b"GET /stream/1 HTTP/1.0\r\nHost: x\r\nx-highlight-request: s1/r1\r\n\r\n")

    served = 1 if "\x00" in header else 2  # gunicorn answers 400 itself
    receiver.wait(spans=served, errors=served)
    assert (
        seen(receiver)
        == [
            ("GET /stream/<fail:int>", "SERVER", None, "ERROR"),
            ("GET /stream/<fail:int>", "SERVER", "s1", "ERROR"),
        ][-served:]
    )
    assert errors(receiver) == [("RuntimeError", "half-way", None), ("RuntimeError", "half-way", "s1")][-served:]


def test_a_server_that_nobody_knows_serves_requests_all_the_same(run_python, receiver):
    program = run_python(IN_PROCESS, files={"app.py": APP})

    assert (program.stdout, program.returncode) == ("b'item 3'\n", 0), program.stderr
    receiver.wait(spans=1, logs=1)
    assert seen(receiver) == [("GET /items/<number:int>", "SERVER", "s1", "UNSET")]


OWN_ROUTER = """
import bottle
from wsgiref.util import setup_testing_defaults

app, own = bottle.Bottle(), bottle.Router()
own.add("/pages/<name>", "GET", "a page")

@app.get("/<kind>/<name>")
def page(kind, name):
    target, arguments = own.match(bottle.request.environ)
    return f"{target} {arguments['name']}"

for path in ("/pages/home", "/pages/about"):
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    print(b"".join(app(environ, lambda *_: None)).decode())
"""


def test_a_router_of_ones_own_may_lead_to_anything(run_python, receiver):
    result = run_python(OWN_ROUTER)

    # Python warns of 0.12's finder, of the old kind, at the first import after Bottle's.
    complaints = [line for line in result.stderr.splitlines() if "_ImportRedirect.find_spec() not found" not in line]
    assert (result.stdout.splitlines(), complaints) == (["a page home", "a page about"], [])
    receiver.wait(spans=2)
    assert [span.name for span in receiver.spans] == ["GET /<kind>/<name>"] * 2
