"""CherryPy under its own server: handlers by their places, errors that become answers, streaming."""

from __future__ import annotations

APP = """
import os
import cherrypy

class Albums:
    @cherrypy.expose
    def index(self, artist): return f"albums of {artist}"

@cherrypy.popargs("artist")
class Artists:
    albums = Albums()

@cherrypy.expose
class Orders:
    def GET(self, number): return f"order {number}"

def into(status):
    def answer(): cherrypy.response.status = status
    return cherrypy.config(**{"request.error_response": answer, "tools.log_tracebacks.on": False})

class Root:
    artists = Artists()
    orders = Orders()

    @cherrypy.expose
    def index(self): return "root"

    @cherrypy.expose
    def items(self, number, *more):
        cherrypy.log(f"item {number}", severity=30)
        return f"item {number}"

    @cherrypy.expose
    def boom(self): raise ValueError("boom")

    @cherrypy.expose
    @into(409)
    def refused(self): raise ValueError("of the client's")

    @cherrypy.expose
    @into(503)
    def handled(self): raise ValueError("of ours")

    @cherrypy.expose
    def status(self, code): raise cherrypy.HTTPError(int(code), "on purpose")

    @cherrypy.expose
    def moved(self): raise cherrypy.HTTPRedirect("/")

    @cherrypy.expose
    def inside(self): raise cherrypy.InternalRedirect("/items/5")

    @cherrypy.expose
    @cherrypy.config(**{"error_page.500": lambda **_: 1 / 0})
    def worse(self): raise OSError("with a page that fails")

    @cherrypy.expose
    @cherrypy.config(**{"response.stream": True})
    def stream(self):
        def chunks():
            yield "one "
            raise RuntimeError("half-way")
        return chunks()

cherrypy.config.update({
    "server.socket_host": "127.0.0.1", "server.socket_port": int(os.environ["PORT"]), "log.screen": False,
    "engine.autoreload.on": False, "log.access_file": "", "environment": "production",
})
cherrypy.log.access_log.disabled = True
by_method = {"/orders": {"request.dispatch": cherrypy.dispatch.MethodDispatcher()}}
cherrypy.tree.mount(Root(), "/shop")
if __name__ == "__main__":
    cherrypy.quickstart(Root(), config=by_method)
"""
IN_PROCESS = """
import app, cherrypy
from wsgiref.util import setup_testing_defaults
environ = {"PATH_INFO": "/shop/items/3", "HTTP_X_HIGHLIGHT_REQUEST": "s1/r1"}
setup_testing_defaults(environ)
print(b"".join(cherrypy.tree(environ, lambda *_: None)))
"""
HEADERS = {"x-highlight-request": "s1/r1"}
PATHS = {
    "/": 200,
    "/items/7": 200,
    "/items/7/and/more": 200,
    "/shop/items/8": 200,
    "/artists/someone/albums/": 200,
    "/orders/9": 200,
    "/nowhere/7": 404,
    "/boom": 500,
    "/refused": 409,
    "/handled": 503,
    "/status/404": 404,
    "/status/503": 503,
    "/moved": 303,
    "/inside": 200,
    "/worse": 500,
}


def seen(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def test_requests_are_named_by_their_handlers_and_errors_reported_once(run_service, receiver):
    service = run_service("python app.py", files={"app.py": APP})

    assert {path: service.get(path, HEADERS).status for path in PATHS} == PATHS
    service.raw(b"GET /stream HTTP/1.0\r\nx-highlight-request: s1/r1\r\n\r\n")
    assert service.get("/items/8", {"x-highlight-request": "null"}).text == "item 8"

    receiver.wait(spans=len(PATHS) + 2, logs=7, errors=5)
    assert seen(receiver) == [
        ("GET /", "SERVER", "s1", "UNSET"),
        ("GET /items/{number}", "SERVER", "s1", "UNSET"),
        ("GET /items/{number}/*/*", "SERVER", "s1", "UNSET"),
        ("GET /shop/items/{number}", "SERVER", "s1", "UNSET"),
        ("GET /artists/*/albums", "SERVER", "s1", "UNSET"),
        ("GET /orders/{number}", "SERVER", "s1", "UNSET"),
        ("GET", "SERVER", "s1", "UNSET"),
        ("GET /boom", "SERVER", "s1", "ERROR"),
        ("GET /refused", "SERVER", "s1", "UNSET"),
        ("GET /handled", "SERVER", "s1", "ERROR"),
        ("GET /status/{code}", "SERVER", "s1", "UNSET"),
        ("GET /status/{code}", "SERVER", "s1", "ERROR"),
        ("GET /moved", "SERVER", "s1", "UNSET"),
        ("GET /items/{number}", "SERVER", "s1", "UNSET"),
        ("GET /worse", "SERVER", "s1", "ERROR"),
        ("GET /stream", "SERVER", "s1", "ERROR"),
        ("GET /items/{number}", "SERVER", None, "UNSET"),
    ]
    assert [(error.type, error.message, error.session, error.source) for error in receiver.errors] == [
        ("ValueError", "boom", "s1", "span"),
        ("ValueError", "of ours", "s1", "span"),
        ("cherrypy._cperror.HTTPError", "(503, 'on purpose')", "s1", "span"),
        ("OSError", "with a page that fails", "s1", "span"),
        ("RuntimeError", "half-way", "s1", "span"),
    ]
    bodies = [(log.body.partition("] ")[2].split("\n")[0].strip(), log.session) for log in receiver.logs]
    assert [body for body in bodies if body[0].startswith("item")] == [
        ("item 7", "s1"),
        ("item 7", "s1"),
        ("item 8", "s1"),
        ("item 5", "s1"),
        ("item 8", None),
    ]


def test_a_server_that_nobody_knows_serves_requests_all_the_same(run_python, receiver):
    program = run_python(IN_PROCESS, files={"app.py": APP}, env={"PORT": "0"})

    assert (program.stdout, program.returncode) == ("b'item 3'\n", 0), program.stderr
    receiver.wait(spans=1, logs=1)
    assert seen(receiver) == [("GET /shop/items/{number}", "SERVER", "s1", "UNSET")]
