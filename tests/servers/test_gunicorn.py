"""gunicorn: its workers, signals and reloads lose no record and end as without us, and threads keep sessions apart."""

from __future__ import annotations

import http.client
import importlib.util
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tests.servers.wsgi_applications import GUNICORN
from tests.support.services import wait_until

APP = """
import logging, os, time

log = logging.getLogger("app")

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(0.2)
    if path == "/hang":
        time.sleep(60)
    log.warning(path)
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
LATE = {"OTEL_BSP_SCHEDULE_DELAY": "60000"}  # only what flushes at the end gets out
SESSION = {"x-highlight-request": "s1/r1"}


@pytest.fixture
def gunicorn(run_service):
    def run(options="", app=APP, **more):
        return run_service(f"{GUNICORN} {options} app:app", files={"app.py": app}, **more)

    return run


def sessions(receiver):
    return sorted((span.name, str(span.session)) for span in receiver.spans)


def told(receiver):
    return sorted((log.body, str(log.session)) for log in receiver.logs if log.logger == "app")


def ask_all_workers(service, workers=2):
    """Send requests with different sessions until each worker has answered one; return the sessions.

    Each is waited for until gunicorn has closed the connection: a gthread worker that gets SIGQUIT while its main
    thread hands a connection to its pool (a client's closing one is such) waits for its own lock for good, bare too.
    """
    pids, sent = set(), []
    numbers = count()

    def ask(number):
        sent.append(f"s{number}")
        answer = service.raw(f"GET /slow HTTP/1.0\r\nx-highlight-request: s{number}/r\r\n\r\n".encode())
        return answer.split(b"\r\n\r\n")[1]

    with ThreadPoolExecutor(workers) as clients:
        while len(pids) < workers:
            pids |= set(clients.map(ask, [next(numbers) for _ in range(workers)]))
    return sorted(sent)


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
@pytest.mark.parametrize("options", ["--workers 2", "--workers 2 --preload"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_the_end_loses_nothing(gunicorn, receiver, worker, options, number):
    service = gunicorn(f"-k {worker} {options}", env=LATE)
    sent = ask_all_workers(service)
    assert service.stop(number) == 0

    receiver.wait(spans=len(sent), logs=len(sent))
    assert sessions(receiver) == [("GET", session) for session in sent]
    assert told(receiver) == [("/slow", session) for session in sent]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_the_exit_status_is_the_one_without_us(gunicorn, number):
    bare, service = gunicorn(bare=True), gunicorn()
    assert bare.get("/").status == service.get("/").status == 200
    assert bare.stop(number) == service.stop(number)


def test_hanging_up_starts_new_workers_and_loses_nothing(gunicorn, receiver):
    service = gunicorn(env=LATE)
    before = service.get("/before", SESSION).text
    service.process.send_signal(signal.SIGHUP)
    wait_until(lambda: service.get("/").text != before)

    wait_until(lambda: ("/before", "s1") in told(receiver))  # while the master goes on
    assert service.get("/after", {"x-highlight-request": "s2/r2"}).text != before
    assert service.stop() == 0
    receiver.wait(spans=3)
    assert [span.session for span in receiver.spans if span.session] == ["s1", "s2"]
    assert [entry for entry in told(receiver) if entry[0] != "/"] == [("/after", "s2"), ("/before", "s1")]


def test_a_worker_that_has_served_its_number_of_requests_loses_nothing(gunicorn, receiver):
    service = gunicorn("--max-requests 1", env=LATE)
    pids = {service.get(f"/{number}", {"x-highlight-request": f"s{number}/r"}).text for number in range(3)}
    assert len(pids) == 3

    receiver.wait(spans=3)
    assert sessions(receiver) == [("GET", "s0"), ("GET", "s1"), ("GET", "s2")]


def test_a_request_that_the_master_ends_is_still_told_of(gunicorn, receiver):
    service = gunicorn("--timeout 1", env=LATE)
    answer = service.raw(b"GET /hang HTTP/1.0\r\nx-highlight-request: s1/r1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ") or answer == b""  # gunicorn 20 hangs up

    receiver.wait(spans=1)
    assert sessions(receiver) == [("GET", "s1")]
    assert receiver.errors == []


def test_the_reloader(gunicorn, receiver):
    service = gunicorn("--reload")
    before = service.get("/before", SESSION).text
    file = service.folder / "app.py"
    file.write_text(APP.replace("log.warning(path)", 'log.warning("changed %s", path)'))

    def is_changed():
        try:
            if service.get("/now", {"x-highlight-request": "s2/r2"}).text != before:
                return True
        except (http.client.HTTPException, OSError):
            return False
        file.touch()  # it may not have looked at the file yet when that was changed
        return False

    wait_until(is_changed)
    wait_until(lambda: ("changed /now", "s2") in told(receiver))
    receiver.wait(spans=2)
    assert ("/before", "s1") in told(receiver)
    assert {(span.name, span.session) for span in receiver.spans} == {("GET", "s1"), ("GET", "s2")}


ASGI = """
import logging, os

log = logging.getLogger("app")
began = []

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        began.append(await receive())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    log.warning("lifespan %d", len(began))
    if scope["path"] == "/boom":
        raise ValueError("boom")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def test_its_own_asgi_worker(gunicorn, receiver):
    if not importlib.util.find_spec("gunicorn.asgi"):  # older ones have none, and say so as without us
        for bare in (True, False):
            with pytest.raises(AssertionError, match="class uri 'asgi' invalid or not found"):
                gunicorn("-k asgi", ASGI, bare=bare)
        return
    service = gunicorn("-k asgi", ASGI)
    connection = service.connect()
    for headers in (SESSION, {}):
        connection.request("GET", "/", headers=headers)
        assert connection.getresponse().read() == b"ok"
    connection.close()
    assert service.get("/boom", {"x-highlight-request": "s2/r2"}).status == 500

    receiver.wait(spans=3, errors=1, logs=3)
    assert [(span.name, span.session, span.status) for span in receiver.spans] == [
        ("GET", "s1", "UNSET"),
        ("GET", None, "UNSET"),
        ("GET", "s2", "ERROR"),
    ]
    assert [(error.message, error.session, error.source) for error in receiver.errors] == [("boom", "s2", "span")]
    assert told(receiver) == [("lifespan 1", "None"), ("lifespan 1", "s1"), ("lifespan 1", "s2")]
    assert service.stop() == 0


CROWD = """
import logging
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger("app")
executor = ThreadPoolExecutor(4)

def job(name, number):
    log.warning("%s job %d", name, number)

def app(environ, start_response):
    name = environ["PATH_INFO"][1:]
    log.warning("%s begins", name)
    list(executor.map(job, [name] * 3, range(3)))
    if name.endswith("5"):
        raise ValueError(name)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return chunks(name)

def chunks(name):
    yield b"o"
    executor.submit(job, name, 3).result()
    yield b"k"
"""


@pytest.mark.parametrize("worker", ["gthread --threads 16", "gevent"])
def test_a_crowd_of_requests_keep_their_sessions_apart(gunicorn, receiver, worker):
    service = gunicorn(f"-k {worker}", CROWD)
    names = [f"n{number:03}" for number in range(200)]
    session_of = {name: None if name.endswith("9") else f"s-{name}" for name in names}

    def ask(name):
        headers = {"x-highlight-request": f"{session_of[name]}/r-{name}"} if session_of[name] else {}
        return service.get(f"/{name}", headers).status

    with ThreadPoolExecutor(32) as clients:
        assert list(clients.map(ask, names)) == [500 if name.endswith("5") else 200 for name in names]

    failing = [name for name in names if name.endswith("5")]
    receiver.wait(spans=200, logs=980, errors=20)
    spans = {span.attributes["url.path"][1:]: span for span in receiver.spans}
    assert len(receiver.spans) == 200
    assert {name: span.session for name, span in spans.items()} == session_of
    assert len({span.trace_id for span in receiver.spans}) == 200
    assert sorted((e.message, e.session) for e in receiver.errors) == [(name, session_of[name]) for name in failing]
    logs = [log for log in receiver.logs if log.logger == "app"]
    assert sorted(log.body for log in logs) == sorted(
        f"{name} {words}"
        for name in names
        for words in ("begins", *(f"job {number}" for number in range(3 if name in failing else 4)))
    )
    for log in logs:
        span = spans[log.body.split()[0]]
        assert (log.session, log.trace_id) == (span.session, span.trace_id), log.body
