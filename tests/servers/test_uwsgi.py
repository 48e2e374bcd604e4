"""uWSGI: Python inside a server in C; the application is Flask's, or one that nobody has heard of."""

from __future__ import annotations

import signal
import sys
from importlib.metadata import version

import pytest

from tests.servers.wsgi_applications import FLASK, PLAIN
from tests.support.services import wait_until

# Before 2.0.27 no thread runs beside requests unless it is asked for.
OLD = tuple(map(int, version("uwsgi").split("."))) < (2, 0, 27)
UWSGI = f"uwsgi --http-socket 127.0.0.1:{{port}} --venv {sys.prefix} --need-app --die-on-term --module application:app "
UWSGI += "--enable-threads " * OLD
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

        command = options.pop("command", UWSGI)
        return run_service(command + MODES[mode], files={"application.py": FLASK}, wait=ready, **options)

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
    assert (
        seen(receiver)
        == [
            ("GET /one/hello/<name>", "SERVER", "s1", "UNSET"),
            ("GET /two/hello/<name>", "SERVER", "s2", "UNSET"),
        ][: 1 + single]
    )
    assert told(receiver) == [("hello ann", "s1"), ("hello bob", "s2")][: 1 + single]
    if not single:  # no threads there: the others could not be stopped
        service.expect("export is off in a sub-interpreter; under uWSGI set single-interpreter")


NOBODYS = {
    **WANTED,
    "late": b"GET /late HTTP/1.1\r\nHost: here\r\nConnection: close\r\nX-Highlight-Request: s4/r4\r\n\r\n",
    "half": b"GET /half HTTP/1.1\r\nHost: here\r\nConnection: close\r\nX-Highlight-Request: s5/r5\r\n\r\n",
    "file": b"GET /file HTTP/1.0\r\nX-Highlight-Request: s6/r6\r\n\r\n",
    "write": b"GET /write HTTP/1.0\r\n\r\n",
}


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ("--module application:app", {}),
        ("-w application --callable app --lazy-apps --master", {}),
        ("--wsgi wrapped", {"wrapped.py": "from application import app\ndef application(*args): return app(*args)\n"}),
        ("--manage-script-name --single-interpreter --mount /one=application:app --mount /=application:app", {}),
    ],
)
def test_an_application_that_nobody_has_heard_of(run_service, receiver, options, more):
    command = UWSGI.replace("--module application:app", options)
    files = {"application.py": PLAIN, "file.bin": "0123456789" * 10_000, **more}
    service = run_service(command, files=files)
    answers = {name: service.raw(request) for name, request in NOBODYS.items()}
    assert answers["file"].endswith(b"0123456789" * 10_000)

    receiver.wait(spans=9, logs=7, errors=3)
    assert seen(receiver) == [
        ("GET", "SERVER", "s1", "UNSET"),
        ("POST", "SERVER", None, "UNSET"),
        ("GET", "SERVER", "s2", "UNSET"),
        ("GET", "SERVER", "s3", "ERROR"),
        ("GET", "SERVER", None, "UNSET"),
        ("GET", "SERVER", "s4", "ERROR"),
        ("GET", "SERVER", "s5", "ERROR"),
        ("GET", "SERVER", "s6", "UNSET"),
        ("GET", "SERVER", None, "UNSET"),
    ]
    assert told(receiver) == [
        *[("hello ann", "s1"), ("first", "s2"), ("second", "s2"), ("hello bob", None)],
        *[("first", "s5"), ("second", "s5"), ("wrapper uwsgi_sendfile", "s6")],
    ]
    assert [(error.message, error.session, error.source) for error in receiver.errors] == [
        *[("boom", "s3", "span"), ("late", "s4", "span"), ("half-way", "s5", "span")]
    ]
    bare = run_service(command, files=files, bare=True)
    assert answers == {name: bare.raw(request) for name, request in NOBODYS.items()}


OWN = """
import sys

class App:
    name = "mine"

    def __call__(self, environ, start_response):
        start_response("200 OK", [])
        found = sys.modules["application"].app
        told = [isinstance(found, App), found.name, found == own, self is own, type(self).__call__ is call]
        return [repr(told).encode()]

call = App.__call__
own = app = App()
"""


def test_the_application_stays_what_it_was_for_others(run_service, receiver):
    answers = [run_service(UWSGI, files={"application.py": OWN}, bare=bare).get("/").text for bare in (False, True)]

    assert answers == ["[True, 'mine', True, True, True]"] * 2
    receiver.wait(spans=1)


def test_an_application_in_a_file_is_left_alone(run_service, receiver):
    """No public door shows it: uWSGI runs the file and takes the application out of it in C. Its logs arrive."""
    command = UWSGI.replace("--module application:app", "--wsgi-file application.py --callable app")
    service = run_service(command, files={"application.py": PLAIN}, env={"HIGHLIGHT_DEBUG": "true"})
    service.expect("")
    bare = run_service(command, files={"application.py": PLAIN}, bare=True)
    assert service.raw(WANTED["hello"]) == bare.raw(WANTED["hello"])

    receiver.wait(logs=1)
    assert (receiver.spans, told(receiver)) == ([], [("hello ann", None)])
    said = "highlight: uwsgi: application.py is run without an import: its requests are seen if a framework serves them"
    assert said in service.agent_lines


def test_it_says_so_where_no_thread_can_run(start):
    said = "uWSGI lets no thread run beside requests"
    service = start("single")
    assert said not in service.stderr
    if OLD:
        start("single", command=UWSGI.replace("--enable-threads", "")).expect(said)
