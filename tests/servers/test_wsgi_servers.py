"""Every WSGI server with applications that it knows nothing of: one span a request, and the answers as without us."""

from __future__ import annotations

import http.client
import re
import socket
import sys

import pytest

from tests.servers.wsgi_applications import APPLICATIONS, ROUTES, SERVERS, files

SESSION = {"x-highlight-request": "s1/r1"}
KEEPS_ALIVE = sorted(set(SERVERS) - {"gunicorn-sync", "wsgiref", "werkzeug"})


@pytest.fixture
def serve(run_service, tmp_path):
    def serve(server, application="plain", **options):
        command = options.pop("command", None) or SERVERS[server]
        # One folder for all: its name may be in an answer.
        return run_service(command, files=files(server, application), folder=tmp_path, **options)

    return serve


def seen(receiver):
    return [(span.name, span.session, span.status, span.attributes["http.status_code"]) for span in receiver.spans]


def errors(receiver):
    return [(error.type, error.message, error.session, error.source) for error in receiver.errors]


def told(receiver):
    """What the application logged; servers have loggers of their own."""
    return [(log.body, log.session) for log in receiver.logs if log.logger == "app"]


def without_date(answer):
    return re.sub(rb"\r\nDate: [^\r]*", b"", answer, flags=re.IGNORECASE)


REQUESTS = {
    "hello": b"GET /hello/ann?q=1 HTTP/1.1\r\nHost: here\r\nConnection: close\r\nX-Highlight-Request: s1/r1\r\n\r\n",
    "head": b"HEAD /hello/bob HTTP/1.1\r\nHost: here\r\nConnection: close\r\nX-Highlight-Request: s2/r2\r\n\r\n",
    "echo": b"POST /echo HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 5\r\n"
    b"X-Highlight-Request: s3/r3\r\n\r\n12345",
    "missing": b"GET /nowhere HTTP/1.1\r\nHost: here\r\nConnection: close\r\nX-Highlight-Request: s4/r4\r\n\r\n",
    "stream": b"GET /stream HTTP/1.1\r\nHost: here\r\nConnection: close\r\nX-Highlight-Request: s5/r5\r\n\r\n",
    "old": b"GET /stream HTTP/1.0\r\nHost: here\r\n\r\n",
    "boom": b"GET /boom HTTP/1.1\r\nHost: here\r\nConnection: close\r\nX-Highlight-Request: s6/r6\r\n\r\n",
}


@pytest.mark.parametrize("application", APPLICATIONS)
@pytest.mark.parametrize("server", SERVERS)
def test_each_request_is_one_span_and_is_answered_as_without_us(serve, receiver, server, application):
    service = serve(server, application)
    answers = {name: without_date(service.raw(request)) for name, request in REQUESTS.items()}

    receiver.wait(spans=7, errors=1, logs=6)
    route = ROUTES[application]
    assert seen(receiver) == [
        (f"GET{route.get('hello', '')}", "s1", "UNSET", 200),
        (f"HEAD{route.get('hello', '')}", "s2", "UNSET", 200),
        (f"POST{route.get('echo', '')}", "s3", "UNSET", 201),
        ("GET", "s4", "UNSET", 404),
        (f"GET{route.get('stream', '')}", "s5", "UNSET", 200),
        (f"GET{route.get('stream', '')}", None, "UNSET", 200),
        (f"GET{route.get('boom', '')}", "s6", "ERROR", 500),
    ]
    assert [(span.kind, span.parent_id) for span in receiver.spans] == [("SERVER", "")] * 7
    assert errors(receiver) == [("ValueError", "boom", "s6", "span")]
    assert told(receiver) == [
        ("hello ann", "s1"),
        ("hello bob", "s2"),
        ("first", "s5"),
        ("second", "s5"),
        ("first", None),
        ("second", None),
    ]

    service.kill()
    bare = serve(server, application, bare=True)
    if server == "eventlet" and sys.version_info < (3, 11):
        del answers["boom"]  # it shows the traceback, into which Python 3.10 puts our frames back
    assert answers == {name: without_date(bare.raw(request)) for name, request in REQUESTS.items() if name in answers}


@pytest.mark.parametrize("server", SERVERS)
def test_a_path_beyond_ascii_is_told_as_the_browser_shows_it(serve, receiver, server):
    serve(server).get("/caf%C3%A9")

    receiver.wait(spans=1)
    assert [span.attributes["url.path"] for span in receiver.spans] == ["/caf\u00e9"]


@pytest.mark.parametrize("server", SERVERS)
def test_a_body_that_fails_half_way_is_its_requests_error(serve, receiver, server):
    service = serve(server)
    answer = service.raw(b"GET /half HTTP/1.1\r\nHost: here\r\nX-Highlight-Request: s1/r1\r\n\r\n")
    # eventlet gathers small chunks; granian may drop the answer before it has sent one, and does so more often bare.
    assert (b"one " in answer) or server in ("eventlet", "granian")

    receiver.wait(spans=1, errors=1, logs=2)
    assert seen(receiver) == [("GET", "s1", "ERROR", 200)]
    assert errors(receiver) == [("RuntimeError", "half-way", "s1", "span")]
    assert told(receiver) == [("first", "s1"), ("second", "s1")]
    first, second = (log.time_ns for log in receiver.logs if log.logger == "app")
    assert receiver.spans[0].start_ns <= first <= second <= receiver.spans[0].end_ns


@pytest.mark.parametrize("server", SERVERS)
def test_an_answer_that_is_never_begun_is_a_500(serve, receiver, server):
    service = serve(server)
    assert service.get("/late", SESSION).status == 500

    receiver.wait(spans=1, errors=1)
    assert seen(receiver) == [("GET", "s1", "ERROR", 500)]
    assert errors(receiver) == [("ValueError", "late", "s1", "span")]


@pytest.mark.parametrize("server", SERVERS)
def test_a_client_that_goes_away_is_no_error(serve, receiver, server):
    service = serve(server)
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nHost: here\r\nX-Highlight-Request: s1/r1\r\n\r\n")
        assert connection.recv(1000)

    receiver.wait(spans=1, logs=1)
    assert seen(receiver) == [("GET", "s1", "UNSET", 200)]
    assert errors(receiver) == []
    assert told(receiver) == [("left", "s1")]


@pytest.mark.parametrize("server", SERVERS)
def test_other_kinds_of_body_are_sent_as_without_us(serve, receiver, server):
    requests = {
        path: f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nX-Highlight-Request: s1/r1\r\n\r\n".encode()
        for path in ("/file", "/sized", "/write")
        if (server, path) != ("granian", "/write")  # its start_response returns nothing to write with
    }
    service = serve(server)
    answers = {path: without_date(service.raw(request)) for path, request in requests.items()}
    assert answers["/file"].endswith(b"0123456789" * 10_000)

    receiver.wait(spans=len(requests), logs=1)
    assert seen(receiver) == [("GET", "s1", "UNSET", 200)] * len(requests)
    assert errors(receiver) == []
    wrapped = told(receiver)

    service.kill()
    bare = serve(server, bare=True)
    assert answers == {path: without_date(bare.raw(request)) for path, request in requests.items()}
    assert f"{wrapped[0][0]}\n" in bare.stderr  # the server's own wrapper, or none


@pytest.mark.parametrize("server", KEEPS_ALIVE)
def test_a_request_without_the_header_has_no_session_on_a_connection_that_had_one(serve, receiver, server):
    service = serve(server)
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    ports = set()
    for headers in (SESSION, {}, {"x-highlight-request": "s2/r2"}, {}):
        connection.request("GET", "/hello/ann", headers=headers)
        assert connection.getresponse().read() == b"hello ann"
        ports.add(connection.sock.getsockname())
    connection.close()
    assert len(ports) == 1

    receiver.wait(spans=4, logs=4)
    assert [span.session for span in receiver.spans] == ["s1", None, "s2", None]
    assert told(receiver) == [("hello ann", session) for session in ("s1", None, "s2", None)]


def test_the_applications_own_object_is_what_others_find(run_python):
    program = """
from werkzeug.serving import make_server
from waitress.server import create_server
from cheroot.wsgi import Server
from gunicorn.workers.sync import SyncWorker
app = lambda environ, start_response: []
werkzeug, cheroot = make_server("127.0.0.1", 0, app), Server(("127.0.0.1", 0), app)
assert werkzeug.app is cheroot.wsgi_app is app
werkzeug.server_close()
waitress = create_server(app, port=0, clear_untrusted_proxy_headers=False)
assert waitress.application is app
waitress.close()
worker = SyncWorker.__new__(SyncWorker)
worker.wsgi = app
assert worker.wsgi is app
"""
    done = run_python(program)
    assert (done.returncode, done.stderr) == (0, "")
