"""mod_wsgi: Python inside Apache, with the drop-in on its PYTHONPATH; a reload and the end lose nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal

import pytest

from highlight_autoinstrument.cli import template_folder
from tests import environment
from tests.servers.wsgi_applications import FLASK, PLAIN
from tests.support.services import wait_until

APACHE = shutil.which("apache2") or "/usr/sbin/apache2"
# Apache serves nothing as root: an ordinary user may read what is root's, such as the folders of a test.
AS_A_USER = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
AS_A_USER += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
CONFIGURATION = """
ServerRoot {folder}
ServerName localhost
PidFile pid
DefaultRuntimeDir {folder}
ErrorLog /dev/stderr
StartServers 1
MaxRequestWorkers 25
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule wsgi_module /usr/lib/apache2/modules/mod_wsgi.so
WSGISocketPrefix {folder}/wsgi
WSGIScriptAlias /flask {folder}/flask.wsgi
WSGIScriptAlias / {folder}/plain.wsgi
<Directory />
  Require all granted
</Directory>
"""
GLOBAL = "WSGIApplicationGroup %{{GLOBAL}}\n"
# Without the restriction Apache's own processes start Python as well, outside of the environment.
DAEMON = "WSGIRestrictEmbedded On\nWSGIProcessGroup app\n"
DAEMON += "WSGIDaemonProcess app threads=3 home={folder} python-home={home}\n"
EMBEDDED = "WSGIPythonHome {home}\n"
SCRIPTS = {
    "flask.wsgi": FLASK + "application = app\n",
    "plain.wsgi": PLAIN.replace('"file.bin"', '__file__.replace("plain.wsgi", "file.bin")') + "application = app\n",
    "file.bin": "0123456789" * 10_000,
}
NUMBERED = """
import logging, os

log = logging.getLogger("app")

def application(environ, start_response):
    log.warning(environ["PATH_INFO"])
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""
LATE = {"OTEL_BSP_SCHEDULE_DELAY": "60000"}  # only what is sent at the end gets out


@pytest.fixture(scope="module")
def home():
    """An environment for the Python that Debian's module has in it, whichever the tests run with."""
    python = environment.beside("mod_wsgi", ["flask"], python="/usr/bin/python3")
    return os.path.dirname(os.path.dirname(python))


@pytest.fixture
def apache(run_service, tmp_path, home):
    def start(mode, *, name="apache", dropped_in=True, files=None, **env):
        folder = tmp_path / name
        configuration = (CONFIGURATION + mode).format(folder=folder, home=home)
        command = [*(AS_A_USER if os.geteuid() == 0 else []), APACHE, "-D", "FOREGROUND"]
        return run_service(
            [*command, "-f", str(folder / "apache.conf"), "-c", "Listen 127.0.0.1:{port}"],
            files={**SCRIPTS, "apache.conf": configuration, **(files or {})},
            env={**({"PYTHONPATH": template_folder()} if dropped_in else {}), **env},
            folder=folder,
            name=name,
            bare=True,  # it is no command of Python's
        )

    return start


def request(path, session=None, method="GET", body=""):
    lines = [f"{method} {path} HTTP/1.1", "Host: here", "Connection: close"]
    lines += [f"Content-Length: {len(body)}"] if body else []
    lines += [f"X-Highlight-Request: {session}/r1"] if session else []
    return ("\r\n".join([*lines, "", ""]) + body).encode()


WANTED = {
    "flask": request("/flask/hello/ann", "s1"),
    "flask fails": request("/flask/boom", "s2"),
    "plain": request("/hello/ann", "s3"),
    "echo": request("/echo", None, "POST", "12345"),
    "stream": request("/stream", "s4"),
    "boom": request("/boom", "s5"),
    "late": request("/late", "s6"),
    "half": request("/half", "s7"),
    "file": request("/file", "s8"),
    "write": request("/write", "null"),
}


def ask(service):
    answers = {}
    for name, wanted in WANTED.items():
        head, _, body = service.raw(wanted).partition(b"\r\n\r\n")
        if b"chunked" in head:  # where Apache cuts is a matter of time
            body = re.sub(rb"(^|\r\n)[0-9a-f]+\r\n", b"", body)
        answers[name] = re.sub(rb"\r\nDate: [^\r]*", b"", head), body
    return answers


def seen(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def told(receiver):
    return [(log.body, log.session) for log in receiver.logs]


@pytest.mark.parametrize("mode", [DAEMON + GLOBAL, EMBEDDED + GLOBAL], ids=["daemon", "embedded"])
def test_requests_are_spans_and_are_answered_as_without_us(apache, receiver, mode):
    service = apache(mode)
    answers = ask(service)

    receiver.wait(spans=10, logs=8, errors=4)  # while it runs
    assert seen(receiver) == [
        ("GET /flask/hello/<name>", "SERVER", "s1", "UNSET"),
        ("GET /flask/boom", "SERVER", "s2", "ERROR"),
        ("GET", "SERVER", "s3", "UNSET"),
        ("POST", "SERVER", None, "UNSET"),
        ("GET", "SERVER", "s4", "UNSET"),
        ("GET", "SERVER", "s5", "ERROR"),
        ("GET", "SERVER", "s6", "ERROR"),
        ("GET", "SERVER", "s7", "ERROR"),
        ("GET", "SERVER", "s8", "UNSET"),
        ("GET", "SERVER", None, "UNSET"),
    ]
    assert told(receiver) == [
        *[("hello ann", "s1"), ("Exception on /boom [GET]", "s2"), ("hello ann", "s3")],
        *[("first", "s4"), ("second", "s4"), ("first", "s7"), ("second", "s7"), ("wrapper FileWrapper", "s8")],
    ]
    assert [(error.message, error.session, error.source) for error in receiver.errors] == [
        *[("boom", "s2", "span"), ("boom", "s5", "span"), ("late", "s6", "span"), ("half-way", "s7", "span")]
    ]
    assert "highlight: " not in service.stderr
    status = service.stop()
    bare = apache(mode, name="bare", dropped_in=False)
    assert answers == ask(bare)
    assert status == bare.stop() == 0


@pytest.mark.parametrize("mode", [DAEMON + GLOBAL, EMBEDDED + GLOBAL], ids=["daemon", "embedded"])
def test_a_graceful_restart_and_the_end_lose_nothing(apache, receiver, mode):
    service = apache(mode, files={"plain.wsgi": NUMBERED}, **LATE)
    before = service.get("/before", {"x-highlight-request": "s1/r1"}).text
    service.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: (answer := service.get("/")).status == 200 and answer.text != before)  # 503: nobody is there yet
    wait_until(lambda: ("/before", "s1") in told(receiver))  # while Apache goes on
    service.get("/after", {"x-highlight-request": "s2/r2"})
    assert service.stop() == 0

    receiver.wait(spans=3)
    assert [(span.name, span.session) for span in receiver.spans if span.session] == [("GET", "s1"), ("GET", "s2")]
    assert [entry for entry in told(receiver) if entry[1]] == [("/before", "s1"), ("/after", "s2")]
    assert len(receiver.spans) == len(receiver.logs)
    assert "highlight: " not in service.stderr


def test_a_script_that_is_changed_is_loaded_by_a_new_process_and_nothing_is_lost(apache, receiver):
    service = apache(DAEMON + GLOBAL, files={"plain.wsgi": NUMBERED}, **LATE)
    before = service.get("/before", {"x-highlight-request": "s1/r1"}).text
    (service.folder / "plain.wsgi").write_text(NUMBERED.replace("log.warning(", 'log.warning("changed %s", '))
    assert service.get("/after", {"x-highlight-request": "s2/r2"}).text != before
    assert service.stop() == 0

    receiver.wait(spans=2, logs=2)
    assert [(span.name, span.session) for span in receiver.spans] == [("GET", "s1"), ("GET", "s2")]
    assert told(receiver) == [("/before", "s1"), ("changed /after", "s2")]


@pytest.mark.parametrize("mode", [DAEMON, EMBEDDED], ids=["daemon", "embedded"])
def test_in_an_interpreter_of_its_own_one_line_says_what_to_set(apache, receiver, mode):
    """As an application is by default: a thread there would keep Apache from ending it."""
    service, bare = apache(mode), apache(mode, name="bare", dropped_in=False)
    assert ask(service) == ask(bare)
    lines = [line for line in service.stderr.splitlines() if "highlight: " in line]
    assert len(lines) == 2  # each application has its own
    assert all(line.endswith("under mod_wsgi WSGIApplicationGroup %{GLOBAL}") for line in lines)
    assert service.stop() == bare.stop() == 0
    assert receiver.exports == []
