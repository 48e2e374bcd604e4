"""gevent and eventlet: what a request spawns works under it, exports go out, and the program ends as without us."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.servers.wsgi_applications import GUNICORN
from tests.support.receiver import Misbehaviour
from tests.support.services import wait_until
from tests.test_export import authority, tls, tls_receiver  # noqa: F401 - fixtures

WORK = """
import logging

log = logging.getLogger("app")

def fail():
    raise ValueError("in a greenlet")

def say(words):
    log.warning(words)
"""

GEVENT = (
    """
from gevent import monkey; monkey.patch_all()
import os, threading, gevent
from concurrent.futures import ThreadPoolExecutor
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer
from gevent.threadpool import ThreadPool
"""
    + WORK
    + """
pool, threads, executor = Pool(2), ThreadPool(1), ThreadPoolExecutor(1)
threads.apply(say, ["native thread, before"])

def app(environ, start_response):
    if environ["PATH_INFO"] == "/fail":
        gevent.spawn(fail).join()
    else:
        gevent.joinall([gevent.spawn(say, "spawn"), gevent.spawn_later(0.01, say, "later"), pool.spawn(say, "pool")])
        threads.apply(say, ["native thread"])
        executor.submit(say, "executor").result()
        thread = threading.Thread(target=say, args=["thread"])
        thread.start()
        thread.join()
        gevent.sleep(0.01)
        say("request")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

if __name__ == "__main__":
    WSGIServer(("127.0.0.1", int(os.environ["PORT"])), app, log=None).serve_forever()
"""
)

EVENTLET = (
    """
import warnings; warnings.filterwarnings("ignore", "(?s).*Eventlet is deprecated")
import eventlet; eventlet.monkey_patch()
import os, threading
from concurrent.futures import ThreadPoolExecutor
from eventlet import tpool, wsgi
"""
    + WORK
    + """
pool, executor = eventlet.GreenPool(2), ThreadPoolExecutor(1)
tpool.execute(say, "native thread, before")

def app(environ, start_response):
    if environ["PATH_INFO"] == "/fail":
        thread = eventlet.spawn(fail)
        while not thread.dead:
            eventlet.sleep(0.01)
    else:
        eventlet.spawn(say, "spawn").wait()
        eventlet.spawn_n(say, "later")
        eventlet.sleep(0.01)
        pool.spawn(say, "pool").wait()
        tpool.execute(say, "native thread")
        executor.submit(say, "executor").result()
        thread = threading.Thread(target=say, args=["thread"])
        thread.start()
        thread.join()
        say("request")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

if __name__ == "__main__":
    wsgi.server(eventlet.listen(("127.0.0.1", int(os.environ["PORT"]))), app, log_output=False)
"""
)
PROGRAMS = {"gevent": GEVENT, "eventlet": EVENTLET}
WORDS = {"spawn", "later", "pool", "native thread", "executor", "thread", "request"}


@pytest.fixture(params=PROGRAMS)
def library(request):
    return request.param


@pytest.fixture
def serve(run_service, library):
    def serve(**options):
        return run_service("python serve.py", files={"serve.py": PROGRAMS[library]}, **options)

    return serve


def told(receiver):
    return sorted((log.body, str(log.session)) for log in receiver.logs if log.logger == "app")


def test_what_a_request_spawns_has_its_session_and_leaves_it_nowhere(serve, receiver):
    service = serve()
    for session in ("s1", None, "s2"):
        headers = {"x-highlight-request": f"{session}/r1"} if session else {}
        assert service.get("/", headers).text == "ok"

    receiver.wait(spans=3, logs=22)
    assert [(span.name, span.session) for span in receiver.spans] == [("GET", "s1"), ("GET", None), ("GET", "s2")]
    expected = [(words, session) for words in WORDS for session in ("s1", "None", "s2")]
    assert told(receiver) == sorted([*expected, ("native thread, before", "None")])
    assert receiver.errors == []


def test_an_exception_that_ends_a_greenlet_is_an_error_with_the_session(serve, receiver):
    service = serve()
    assert service.get("/fail", {"x-highlight-request": "s1/r1"}).text == "ok"

    receiver.wait(spans=1, errors=1)
    assert [(span.name, span.session, span.status) for span in receiver.spans] == [("GET", "s1", "UNSET")]
    assert [(error.type, error.message, error.session, error.source) for error in receiver.errors] == [
        ("ValueError", "in a greenlet", "s1", "log")
    ]


def at_rest(pid, seconds=0.3):
    """A condition: the process has done nothing for so long."""
    last = [None, 0.0]

    def condition():
        used = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]  # by it, in user mode and kernel
        if used != last[0]:
            last[:] = used, time.monotonic()
        return time.monotonic() - last[1] > seconds

    return condition


def stop(service, number):
    """Stop a server as people do: gevent's loop, also without us, may miss a SIGINT that comes as it goes to sleep.

    What it raises in the greenlet of a connection that is being closed ends eventlet's with another status.
    """
    wait_until(at_rest(service.process.pid))
    for _ in range(5):
        if service.process.poll() is None:
            service.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                service.process.wait(15)  # far longer than an end takes, which a second signal would cut short
    return service.stop(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_loses_nothing_and_is_the_one_without_us(serve, receiver, number):
    bare = serve(bare=True)
    assert bare.get("/").text == "ok"
    service = serve(env={"OTEL_BSP_SCHEDULE_DELAY": "60000"})
    assert service.get("/", {"x-highlight-request": "s1/r1"}).text == "ok"

    assert receiver.spans == []
    assert stop(service, number) == stop(bare, number)
    receiver.wait(spans=1, logs=8)
    assert [(span.name, span.session) for span in receiver.spans] == [("GET", "s1")]
    assert warnings_of(service) == warnings_of(bare)


def test_the_end_does_not_wait_for_a_receiver_that_says_nothing(serve, receiver):
    receiver.misbehave += [Misbehaviour(hang=True)] * 9
    service = serve(env={"OTEL_BSP_SCHEDULE_DELAY": "60000"})
    service.expect("records are lost")
    assert service.get("/", {"x-highlight-request": "s1/r1"}).text == "ok"
    assert service.stop(signal.SIGTERM, timeout=10) == -signal.SIGTERM


def test_a_greenlet_that_computes_does_not_hold_up_the_exports(receiver, run_service, library):
    spin = PROGRAMS[library].replace("def say(words):", "def say(words):\n    if words == 'executor': spin()")
    spin = spin.replace("def fail():", "def spin():\n    import time\n    end = time.monotonic() + 3\n"
                        "    while time.monotonic() < end: pass\n\ndef fail():")  # fmt: skip
    service = run_service("python serve.py", files={"serve.py": spin})
    connection = service.connect()
    connection.request("GET", "/", headers={"x-highlight-request": "s1/r1"})
    receiver.wait(logs=3)
    assert "executor" not in {words for words, _ in told(receiver)}
    assert connection.getresponse().read() == b"ok"
    connection.close()


def test_exports_over_tls(serve, tls_receiver, authority):  # noqa: F811
    certificate = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority / "ca.pem")}
    service = serve(endpoint=tls_receiver.url, env=certificate)
    assert service.get("/", {"x-highlight-request": "s1/r1"}).text == "ok"
    tls_receiver.wait(spans=1, logs=8)
    assert [(span.name, span.session) for span in tls_receiver.spans] == [("GET", "s1")]


@pytest.mark.parametrize("worker", ["gevent", "gevent_pywsgi"])
def test_gunicorns_workers_patch_as_without_us(run_service, receiver, worker):
    files = {"serve.py": GEVENT.replace("from gevent import monkey; monkey.patch_all()", "")}
    command = f"{GUNICORN} -k {worker} --workers 2 serve:app"
    # A worker that gets the signal while it is starting may never notice, with or without us.
    booted = {"wait": lambda service: service.stderr.count("native thread, before") == 2}
    bare = run_service(command, files=files, bare=True, **booted)
    assert bare.get("/").text == "ok"
    assert bare.stop() == 0

    service = run_service(command, files=files, env={"OTEL_BSP_SCHEDULE_DELAY": "60000"}, **booted)
    assert service.get("/", {"x-highlight-request": "s1/r1"}).text == "ok"
    assert service.stop() == 0
    receiver.wait(spans=1, logs=9)
    assert [(span.name, span.session) for span in receiver.spans] == [("GET", "s1")]
    expected = [*((words, "s1") for words in WORDS), *[("native thread, before", "None")] * 2]
    assert told(receiver) == sorted(expected)
    assert warnings_of(service) == warnings_of(bare)


def warnings_of(service):
    # Python 3.12 warns of a fork beside any thread, such as the one that sends what the master logs.
    lines = [line for line in service.stderr.splitlines() if "Warning: " in line and "use of fork()" not in line]
    return [line.split(": ", 1)[-1] for line in lines]
