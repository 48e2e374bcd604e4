"""What is said twice, or not for us: warnings, standard output, and what servers log of an error that was seen."""

from __future__ import annotations

import pytest

from tests.servers.wsgi_applications import GUNICORN

PROGRAM = """
import logging, sys, warnings
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
logging.captureWarnings(True)
import highlight_autoinstrument as highlight

def work():
    print("to standard output")
    print("to standard error", file=sys.stderr)
    sys.stdout.write("written\\n")
    warnings.warn("old and gone", DeprecationWarning, stacklevel=2)
    warnings.warn(UserWarning("take care"), stacklevel=1)

with highlight.trace("job"):
    work()
logging.captureWarnings(False)
warnings.simplefilter("always")
warnings.warn("past logging", stacklevel=1)
print(type(sys.stdout).__name__, warnings.showwarning.__module__)
"""


def test_warnings_that_go_to_logging_arrive_and_what_is_printed_does_not(receiver, run_python):
    done = run_python(["program.py"], files={"program.py": PROGRAM})
    bare = run_python(["program.py"], files={"program.py": PROGRAM}, under_agent=False)

    assert (done.returncode, done.stdout, done.stderr) == (bare.returncode, bare.stdout, bare.stderr)
    receiver.wait(spans=1, logs=2)
    assert [(log.severity_text, log.logger) for log in receiver.logs] == [("WARN", "py.warnings")] * 2
    first, second = (log.body for log in receiver.logs)
    assert "program.py:15: DeprecationWarning: old and gone" in first
    assert "program.py:12: UserWarning: take care" in second
    assert {log.span_id for log in receiver.logs} == {receiver.spans[0].span_id}
    assert receiver.errors == []


WSGI = """
def app(environ, start_response):
    if environ["PATH_INFO"] == "/boom":
        raise ValueError("boom")
    start_response("200 OK", [("Content-Type", "text/plain")])
    def body():
        yield b"one"
        raise RuntimeError("half-way")
    return body()
"""
ASGI = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/boom":
        raise ValueError("boom")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"one", "more_body": True})
    raise RuntimeError("half-way")
"""
SERVERS = {
    "gunicorn": (GUNICORN + "app:app", WSGI, "gunicorn.error"),
    "gunicorn-gthread": (GUNICORN + "-k gthread app:app", WSGI, "gunicorn.error"),
    "uvicorn": ("uvicorn --port {port} app:app", ASGI, "uvicorn.error"),
    "uvicorn-lifespan": ("uvicorn --port {port} --lifespan off --http httptools app:app", ASGI, "uvicorn.error"),
    "gunicorn-uvicorn": (GUNICORN + "-k uvicorn_worker.UvicornWorker app:app", ASGI, "uvicorn.error"),
    "granian": ("granian --interface asginl --port {port} app:app", ASGI, "_granian.utils"),
    "hypercorn": ("hypercorn --bind 127.0.0.1:{port} app:app", ASGI, "hypercorn.error"),
}


@pytest.mark.parametrize("server", SERVERS)
def test_what_a_server_logs_of_an_error_is_no_second_one(run_service, receiver, server):
    command, app, logger = SERVERS[server]
    service = run_service(command, files={"app.py": app})
    service.raw(b"GET /boom HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Highlight-Request: s1/r1\r\n\r\n")
    service.raw(b"GET /half HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Highlight-Request: s2/r2\r\n\r\n")

    receiver.wait(spans=2, errors=2)
    assert [(error.type, error.message, error.session, error.source) for error in receiver.errors] == [
        ("ValueError", "boom", "s1", "span"),
        ("RuntimeError", "half-way", "s2", "span"),
    ]
    echoes = [log for log in receiver.logs if log.logger == logger and log.severity_text == "ERROR"]
    # granian's, written in Rust when the request is over, know nothing of the exception but its text.
    assert [log.session for log in echoes] == ([None, None] if server == "granian" else ["s1", "s2"])
