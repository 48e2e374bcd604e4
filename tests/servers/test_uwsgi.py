"""uWSGI: Python inside a server in C; the application is Flask's, or one that nobody has heard of."""

from __future__ import annotations

import re
import signal
import sys

import pytest

from tests.servers.wsgi_applications import FLASK, PLAIN
from tests.support.services import wait_until

UWSGI = f"uwsgi --http-socket 127.0.0.1:{{port}} --venv {sys.prefix} --need-app --die-on-term --module application:app "
MODES = {
    "single": "",
    "forked": "--master --processes 2",
    "lazy": "--master --processes 2 --lazy-apps",
    "threads": "--master --threads 3",
}
WANTED = {
    "hello": b"GET /hello/ann HTTP/1.1\r\nHost: here\r\nConnection: close\r\nX-Highlight-Request: s1/r1\r\n\r\n",
    "echo": b"POST /echo HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 5\r\n\r\n12345",
    "stream": b"GET /stream HTTP/1.1\r\nHost: here\r\nConnection: close\r\nX-Highlight-Request: s2/\r\n\r\n",
    "boom": b"GET /boom HTTP/1.1\r\nHost: here\r\nConnection: close\r\nX-Highlight-Request: s3/r3\r\n\r\n",
    "null": b"GET /hello/bob HTTP/1.1\r\nHost: here\r\nConnection: close\r\nX-Highlight-Request: null\r\n\r\n",
}


@pytest.fixture
def start(run_service):
    def start(mode, **options):
        workers = 2 if "--processes" in MODES[mode] else 1
        loaded = 1 if mode == "forked" else workers

        def ready(service):
            # A worker that is stopped while it loads the application has another status.
            lines = service.stderr
            return lines.count("WSGI app 0") == loaded and lines.count("spawned uWSGI worker") == workers

        return run_service(UWSGI + MODES[mode], files={"application.py": FLASK}, wait=ready, **options)

    return start


def seen(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def told(receiver):
    return [(log.body, log.session) for log in receiver.logs]


SPANS = [
    ("GET /hello/<name>", "SERVER", "s1", "UNSET"),
    ("POST /echo", "SERVER", None, "UNSET"),
    ("GET /stream", "SERVER", "s2", "UNSET"),
    ("GET /boom", "SERVER", "s3", "ERROR"),
    ("GET /hello/<name>", "SERVER", None, "UNSET"),
]
LOGS = [
    ("hello ann", "s1"),
    ("first", "s2"),
    ("second", "s2"),
    ("Exception on /boom [GET]", "s3"),
    ("hello bob", None),
]


@pytest.mark.parametrize("mode", MODES)
def test_a_frameworks_requests_are_spans_in_every_mode(start, receiver, mode):
    service = start(mode)
    answers = {name: service.raw(request) for name, request in WANTED.items()}

    receiver.wait(spans=5, errors=1, logs=5)  # while it runs: the thread that sends lives in the worker
    assert seen(receiver) == SPANS
    assert told(receiver) == LOGS
    assert [(error.type, error.session, error.source) for error in receiver.errors] == [("ValueError", "s3", "span")]
    status = service.stop()

    bare = start(mode, bare=True)
    assert answers == {name: bare.raw(request) for name, request in WANTED.items()}
    assert status == bare.stop()


@pytest.mark.parametrize("mode", MODES)
def test_what_is_not_sent_yet_is_sent_at_the_end(start, receiver, mode):
    service = start(mode, env={"OTEL_BSP_SCHEDULE_DELAY": "60000"})
    service.get("/hello/ann", {"x-highlight-request": "s1/r1"})
    wait_until(lambda: "generated 9 bytes" in service.stderr)  # a worker that is busy skips its exit functions
    assert receiver.exports == []
    service.stop(signal.SIGTERM)

    receiver.wait(spans=1, logs=1)
    assert seen(receiver) == SPANS[:1]
    assert told(receiver) == LOGS[:1]


def test_a_worker_that_is_reloaded_reports_as_before(run_service, receiver):
    service = run_service(UWSGI + "--master --lazy-apps", files={"application.py": FLASK})
    service.get("/hello/ann", {"x-highlight-request": "s1/r1"})
    receiver.wait(spans=1, logs=1)
    service.process.send_signal(signal.SIGHUP)
    service.get("/hello/bob", {"x-highlight-request": "s2/r2"})

    receiver.wait(spans=2, logs=2)
    assert seen(receiver) == [("GET /hello/<name>", "SERVER", session, "UNSET") for session in ("s1", "s2")]
    assert told(receiver) == [("hello ann", "s1"), ("hello bob", "s2")]


@pytest.mark.parametrize("single", [True, False])
def test_an_application_in_an_interpreter_of_its_own(run_service, receiver, single):
    command = UWSGI.replace("--module application:app", "--manage-script-name --mount /one=application:app")
    service = run_service(
        command + "--mount /two=second:app" + " --single-interpreter" * single,
        files={"application.py": FLASK, "second.py": FLASK},
    )
    assert service.get("/one/hello/ann", {"x-highlight-request": "s1/r1"}).text == "hello ann"
    assert service.get("/two/hello/bob", {"x-highlight-request": "s2/r2"}).text == "hello bob"

    receiver.wait(spans=1 + single, logs=1 + single)
    expected = [("s1", "hello ann"), ("s2", "hello bob")][: 1 + single]
    assert seen(receiver) == [("GET /hello/<name>", "SERVER", session, "UNSET") for session, _ in expected]
    assert told(receiver) == [(body, session) for session, body in expected]
    if not single:  # no threads there: the others could not be stopped
        service.expect("export is off in a sub-interpreter; under uWSGI set single-interpreter")


def test_an_application_that_nobody_has_heard_of_is_left_alone(run_service, receiver):
    """No public door shows it: uWSGI takes it out of its module in C. Its logs arrive, without a session."""
    requests = {**WANTED, "file": b"GET /file HTTP/1.0\r\n\r\n", "write": b"GET /write HTTP/1.0\r\n\r\n"}
    files = {"application.py": PLAIN, "file.bin": "0123456789" * 10_000}
    service = run_service(UWSGI, files=files)
    answers = {name: service.raw(request) for name, request in requests.items()}
    assert answers["file"].endswith(b"0123456789" * 10_000)

    receiver.wait(logs=5)
    assert receiver.spans == []
    bare = run_service(UWSGI, files=files, bare=True)
    assert answers == {name: bare.raw(request) for name, request in requests.items()}
    assert {log.session for log in receiver.logs} == {None}
    assert re.search("wrapper", " ".join(log.body for log in receiver.logs))
