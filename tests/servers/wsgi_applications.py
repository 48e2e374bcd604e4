"""The same application three times: plain WSGI that nobody has heard of, Flask and Django; and what serves it."""

PLAIN = '''
import logging

log = logging.getLogger("app")


class App:
    """Not a function, to be found out only by calling it."""

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        if path.startswith("/hello/"):
            log.warning("hello %s", path[7:])
            body = [f"hello {path[7:]}".encode()]
            if environ["REQUEST_METHOD"] == "HEAD":
                body = []
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(path) - 1))])
            return body
        if path == "/echo":
            length = int(environ["CONTENT_LENGTH"])
            start_response("201 Made", [("Content-Type", "text/plain"), ("Content-Length", str(length))])
            return [environ["wsgi.input"].read(length)]
        if path == "/boom":
            raise ValueError("boom")
        if path == "/late":
            start_response("200 OK", [("Content-Type", "text/plain")])
            raise ValueError("late")
        if path == "/stream":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return chunks()
        if path == "/half":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return chunks(fail=True)
        if path == "/endless":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return endless()
        if path == "/sized":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return Sized()
        if path == "/file":
            file = open("file.bin", "rb")
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "100000")])
            wrapper = environ.get("wsgi.file_wrapper")
            log.warning("wrapper %s", getattr(wrapper, "__name__", None))
            return wrapper(file) if wrapper else iter(lambda: file.read(8192), b"")
        if path == "/write":
            write = start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
            write(b"wr")
            return [b"ite"]
        start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "7")])
        return [b"nowhere"]


class Sized:
    def __len__(self):
        return 1

    def __iter__(self):
        return iter([b"sized"])


def chunks(fail=False):
    log.warning("first")
    yield b"one "
    log.warning("second")
    if fail:
        raise RuntimeError("half-way")
    yield b"two"


def endless():
    try:
        while True:
            yield b"x" * 65536
    finally:
        log.warning("left")


app = App()
'''

FLASK = """
import logging
from flask import Flask, Response, request

app = Flask(__name__)
log = logging.getLogger("app")

@app.get("/hello/<name>")
def hello(name):
    log.warning("hello %s", name)
    return Response(f"hello {name}", mimetype="text/plain")

@app.post("/echo")
def echo():
    return Response(request.get_data(), 201, mimetype="text/plain")

@app.get("/boom")
def boom():
    raise ValueError("boom")

@app.get("/stream")
def stream():
    def chunks():
        log.warning("first")
        yield "one "
        log.warning("second")
        yield "two"
    return Response(chunks(), mimetype="text/plain")
"""

DJANGO = """
import logging
import sys
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x", DEBUG=False, LOGGING_CONFIG=None)
log = logging.getLogger("app")

def hello(request, name):
    log.warning("hello %s", name)
    return HttpResponse(f"hello {name}", content_type="text/plain")

def echo(request):
    return HttpResponse(request.body, status=201, content_type="text/plain")

def boom(request):
    raise ValueError("boom")

def stream(request):
    def chunks():
        log.warning("first")
        yield "one "
        log.warning("second")
        yield "two"
    return StreamingHttpResponse(chunks(), content_type="text/plain")

urlpatterns = [
    path("hello/<str:name>", hello), path("echo", echo), path("boom", boom), path("stream", stream),
]

from django.core.wsgi import get_wsgi_application
app = get_wsgi_application()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"""

APPLICATIONS = {"plain": PLAIN, "flask": FLASK, "django": DJANGO}
ROUTES = {
    "plain": {},
    "flask": {"hello": " /hello/<name>", "echo": " /echo", "boom": " /boom", "stream": " /stream"},
    "django": {"hello": " /hello/<str:name>", "echo": " /echo", "boom": " /boom", "stream": " /stream"},
}

WSGIREF = """
import os
from wsgiref.simple_server import make_server
from application import app

make_server("127.0.0.1", int(os.environ["PORT"]), app).serve_forever()
"""

WERKZEUG = """
import os
from werkzeug.serving import run_simple
from application import app

run_simple("127.0.0.1", int(os.environ["PORT"]), app, threaded=True)
"""

CHEROOT = """
import os
from cheroot.wsgi import Server
from application import app

Server(("127.0.0.1", int(os.environ["PORT"])), app).safe_start()
"""

PYWSGI = """
from gevent import monkey; monkey.patch_all()
import os
from gevent.pywsgi import WSGIServer
from application import app

WSGIServer(("127.0.0.1", int(os.environ["PORT"])), app).serve_forever()
"""

EVENTLET = """
import warnings; warnings.filterwarnings("ignore", "(?s).*Eventlet is deprecated")
import eventlet; eventlet.monkey_patch()
import os
from eventlet import wsgi
from application import app

wsgi.server(eventlet.listen(("127.0.0.1", int(os.environ["PORT"]))), app)
"""

try:
    from gunicorn import config
except ImportError:  # in a row of the matrix that is about another server
    config = None
# Older ones have no control socket, and refuse the option.
CONTROL = " --no-control-socket" if hasattr(config, "ControlSocketDisable") else ""
GUNICORN = f"gunicorn{CONTROL} -b 127.0.0.1:{{port}} "
SERVERS = {
    "gunicorn-sync": GUNICORN + "application:app",
    "gunicorn-gthread": GUNICORN + "-k gthread --threads 4 application:app",
    "gunicorn-gevent": GUNICORN + "-k gevent application:app",
    "gunicorn-pywsgi": GUNICORN + "-k gevent_pywsgi application:app",
    "waitress": "waitress-serve --listen=127.0.0.1:{port} application:app",
    "cheroot": "python serve.py",
    "wsgiref": "python serve.py",
    "werkzeug": "python serve.py",
    "pywsgi": "python serve.py",
    "eventlet": "python serve.py",
    "granian": "granian --host 127.0.0.1 --port {port} --interface wsgi --no-ws application:app",
}
PROGRAMS = {"cheroot": CHEROOT, "wsgiref": WSGIREF, "werkzeug": WERKZEUG, "pywsgi": PYWSGI, "eventlet": EVENTLET}


def files(server, application="plain"):
    """What a service needs beside its command."""
    found = {"application.py": APPLICATIONS[application], "file.bin": "0123456789" * 10_000}
    return {**found, "serve.py": PROGRAMS[server]} if server in PROGRAMS else found
