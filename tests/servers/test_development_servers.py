"""Development servers: reloaders, the debugger, and their end by SIGTERM itself."""

from __future__ import annotations

import http.client
import signal
import sys

import pytest

from tests import environment
from tests.servers.wsgi_applications import DJANGO, FLASK, SERVERS, files
from tests.support.services import wait_until

SESSION = {"x-highlight-request": "s1/r1"}


def seen(receiver):
    return [(span.name, span.session, span.status) for span in receiver.spans]


def errors(receiver):
    return [(error.type, error.message, error.session, error.source) for error in receiver.errors]


def is_answer(service, path, body):
    """Whether that is the answer already; the server may be starting anew."""
    try:
        return service.get(path).body == body
    except (OSError, http.client.HTTPException):
        return False


def change(service, source, path, body):
    """Write a file anew until the server answers by it: its watcher may not have been looking yet."""
    asked = 0

    def is_changed():
        nonlocal asked
        if asked % 100 == 0:
            (service.folder / "application.py").write_text(f"{source}\n# {asked}\n")
        asked += 1
        return is_answer(service, path, body)

    wait_until(is_changed, 60)


@pytest.mark.parametrize("server", sorted(name for name in SERVERS if not name.startswith("gunicorn")))
def test_sigterm_ends_a_server_as_without_us_and_loses_nothing(run_service, receiver, server):
    bare = run_service(SERVERS[server], files=files(server), bare=True)
    service = run_service(SERVERS[server], files=files(server), env={"OTEL_BSP_SCHEDULE_DELAY": "60000"})
    assert service.get("/hello/ann", SESSION).text == "hello ann"

    assert service.stop() == bare.stop()
    assert bare.process.returncode == (0 if server == "granian" else -signal.SIGTERM)
    receiver.wait(spans=1, logs=1)
    assert seen(receiver) == [("GET", "s1", "UNSET")]


def test_flask_run_with_its_reloader(run_service, receiver):
    # In an environment of its own: with watchdog installed it would watch all that the others need, for a minute.
    python = environment.beside("flask", ["flask"])
    command = [python, "-m", "flask", "--app", "application", "run", "--debug", "--port", "{port}"]
    service = run_service(command, files={"application.py": FLASK})
    assert service.get("/hello/ann", SESSION).text == "hello ann"
    receiver.wait(spans=1)
    assert seen(receiver) == [("GET /hello/<name>", "s1", "UNSET")]

    change(service, FLASK.replace('f"hello {name}"', 'f"changed {name}"'), "/hello/ann", b"changed ann")
    receiver.clear()
    assert service.get("/hello/ann", {"x-highlight-request": "s2/r2"}).text == "changed ann"
    receiver.wait(spans=1)
    assert [entry for entry in seen(receiver) if entry[1]] == [("GET /hello/<name>", "s2", "UNSET")]


def test_the_debugger_shows_the_error_and_we_report_it(run_service, receiver):
    service = run_service(
        "flask --app application run --debug --no-reload --port {port}", files={"application.py": FLASK}
    )
    answer = service.get("/boom", SESSION)
    assert answer.status == 500
    assert "ValueError: boom" in answer.text
    # Python 3.10 puts our frames back into a traceback that is raised on.
    assert ("highlight_autoinstrument" in answer.text) is (sys.version_info < (3, 11))

    receiver.wait(spans=1, errors=1)
    assert seen(receiver) == [("GET /boom", "s1", "ERROR")]
    assert errors(receiver) == [("ValueError", "boom", "s1", "span")]


def test_djangos_runserver_and_its_reloader(run_service, receiver):
    service = run_service("python application.py runserver {port}", files={"application.py": DJANGO})
    assert service.get("/hello/ann", SESSION).text == "hello ann"
    assert service.get("/boom", {"x-highlight-request": "s2/r2"}).status == 500
    receiver.wait(spans=2, errors=1, logs=1)
    assert seen(receiver) == [("GET /hello/<str:name>", "s1", "UNSET"), ("GET /boom", "s2", "ERROR")]
    assert errors(receiver) == [("ValueError", "boom", "s2", "span")]

    receiver.clear()
    source = service.folder / "application.py"
    source.write_text(source.read_text().replace('"hello {name}"', '"changed {name}"'))
    wait_until(lambda: is_answer(service, "/hello/ann", b"changed ann"))
    receiver.wait(spans=1)
    assert {span.name for span in receiver.spans} == {"GET /hello/<str:name>"}
