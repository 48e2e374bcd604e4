"""Pyramid under waitress and wsgiref: routes, exception views, subrequests, attempts that are made again."""

from __future__ import annotations

import pytest

APP = """
import logging, os
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPConflict, HTTPServiceUnavailable
from pyramid.request import Request
from pyramid.response import Response
from pyramid.interfaces import IResponse
from zope.interface import implementer
from pyramid_retry import RetryableException, mark_error_retryable

log = logging.getLogger("shop")
attempts = []

class Handled(Exception): pass
class Odd(Exception): pass

@implementer(IResponse)
class Plain:
    def __call__(self, environ, start_response):
        start_response("418 odd", [("Content-Type", "text/plain")])
        return [b"plain"]

def item(request):
    log.warning("item %s", request.matchdict["number"])
    return Response("item")

def boom(request): raise ValueError("boom")
def odd(request): raise Odd
def handled(request): raise Handled(request.matchdict["status"])
def conflict(request): raise HTTPConflict("no")
def unavailable(request): raise HTTPServiceUnavailable("not now")
def returned(request): return HTTPServiceUnavailable("not raised")

def logged(request):
    try:
        raise KeyError("once")
    except KeyError:
        log.exception("caught")
        raise

def outer(request):
    answer = request.invoke_subrequest(Request.blank("/items/9"))
    assert answer.text == "item"
    return answer

def flaky(request):
    attempts.append(1)
    if len(attempts) < int(request.matchdict["number"]):
        error = Handled("503")
        mark_error_retryable(error)
        raise error
    return Response(f"attempt {len(attempts)}")

def stream(request):
    def chunks():
        log.warning("first chunk")
        yield b"one "
        raise RuntimeError("half-way")
    return Response(app_iter=chunks())

def answer_handled(error, request): return Response("handled", status=int(str(error)))

config = Configurator(settings={"retry.attempts": 3})
config.include("pyramid_retry")
for name, path, view in [
    ("item", "/items/{number:\\\\d+}", item), ("boom", "boom", boom), ("handled", "/handled/{status}", handled),
    ("conflict", "/conflict", conflict), ("unavailable", "/unavailable", unavailable),
    ("returned", "/returned", returned), ("logged", "/logged", logged),
    ("outer", "/outer", outer), ("flaky", "/flaky/{number}", flaky),
    ("stream", "/stream", stream), ("odd", "/odd", odd),
]:
    config.add_route(name, path)
    config.add_view(view, route_name=name)
config.add_view(lambda request: Response("traversed"), name="traversed")
config.add_exception_view(answer_handled, context=Handled)
config.add_exception_view(lambda error, request: Plain(), context=Odd)
app = config.make_wsgi_app()

if __name__ == "__main__":
    if os.environ["SERVER"] == "waitress":
        from waitress import serve
        serve(app, host="127.0.0.1", port=int(os.environ["PORT"]))
    else:
        from wsgiref.simple_server import make_server
        make_server("127.0.0.1", int(os.environ["PORT"]), app).serve_forever()
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
    "/boom": 500,
    "/handled/503": 503,
    "/handled/409": 409,
    "/conflict": 409,
    "/unavailable": 503,
    "/returned": 503,
    "/logged": 500,
    "/outer": 200,
    "/flaky/3": 200,
    "/flaky/99": 503,
    "/traversed": 200,
}


def seen(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


@pytest.mark.parametrize("server", ["waitress", "wsgiref"])
def test_requests_are_named_by_their_routes_and_errors_reported_once(run_service, receiver, server):
    service = run_service("python app.py", files={"app.py": APP}, env={"SERVER": server})

    assert {path: service.get(path, HEADERS).status for path in PATHS} == PATHS
    service.raw(b"GET /stream HTTP/1.0\r\nx-highlight-request: s1/r1\r\n\r\n")
    assert service.get("/items/8", {"x-highlight-request": "null"}).status == 200

    receiver.wait(spans=len(PATHS) + 2, logs=4, errors=6)
    assert seen(receiver) == [
        (r"GET /items/{number:\d+}", "SERVER", "s1", "UNSET"),
        ("GET", "SERVER", "s1", "UNSET"),
        ("GET /boom", "SERVER", "s1", "ERROR"),
        ("GET /handled/{status}", "SERVER", "s1", "ERROR"),
        ("GET /handled/{status}", "SERVER", "s1", "UNSET"),
        ("GET /conflict", "SERVER", "s1", "UNSET"),
        ("GET /unavailable", "SERVER", "s1", "ERROR"),
        ("GET /returned", "SERVER", "s1", "ERROR"),
        ("GET /logged", "SERVER", "s1", "ERROR"),
        ("GET /outer", "SERVER", "s1", "UNSET"),
        ("GET /flaky/{number}", "SERVER", "s1", "UNSET"),
        ("GET /flaky/{number}", "SERVER", "s1", "ERROR"),
        ("GET", "SERVER", "s1", "UNSET"),
        ("GET /stream", "SERVER", "s1", "ERROR"),
        (r"GET /items/{number:\d+}", "SERVER", None, "UNSET"),
    ]
    assert [(error.type, error.message, error.session) for error in receiver.errors] == [
        ("ValueError", "boom", "s1"),
        ("__main__.Handled", "503", "s1"),
        ("pyramid.httpexceptions.HTTPServiceUnavailable", "not now", "s1"),
        ("KeyError", "'once'", "s1"),
        ("__main__.Handled", "503", "s1"),
        ("RuntimeError", "half-way", "s1"),
    ]
    assert [(log.body, log.session) for log in receiver.logs if log.logger == "shop"] == [
        ("item 7", "s1"),
        ("caught", "s1"),
        ("item 9", "s1"),
        ("first chunk", "s1"),
        ("item 8", None),
    ]


def test_a_server_that_nobody_knows_serves_requests_all_the_same(run_python, receiver):
    program = run_python(IN_PROCESS, files={"app.py": APP})

    assert (program.stdout, program.returncode) == ("b'item'\n", 0), program.stderr
    receiver.wait(spans=1, logs=1)
    assert seen(receiver) == [("GET /items/{number:\\d+}", "SERVER", "s1", "UNSET")]


def test_an_exception_views_answer_may_be_any_wsgi_application(run_service, receiver):
    service = run_service("python app.py", files={"app.py": APP}, env={"SERVER": "waitress"})
    answer = service.get("/odd", HEADERS)

    assert (answer.status, answer.text) == (418, "plain")
    receiver.wait(spans=1)
    assert (seen(receiver), receiver.errors) == ([("GET /odd", "SERVER", "s1", "UNSET")], [])
