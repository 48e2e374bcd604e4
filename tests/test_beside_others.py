"""Beside Datadog's, Sentry's or New Relic's agent in one process: nothing breaks, and each sees its own."""

from __future__ import annotations

import gzip
import json
import re
import signal
import subprocess
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgpack
import pytest

from tests import environment
from tests.support.services import Service

APP = """
import logging, os, sys, threading
if os.environ.get("SENTRY") == "before":
    import sentry_sdk
    sentry_sdk.init(traces_sample_rate=1.0)
import requests
from flask import Flask, request
if os.environ.get("SENTRY") == "after":
    import sentry_sdk
    sentry_sdk.init(traces_sample_rate=1.0)

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
log = logging.getLogger("app")
url = f"http://127.0.0.1:{os.environ['PORT']}"

@app.get("/seen")
def seen():
    return {name.lower(): value for name, value in request.headers}

@app.get("/chain")
def chain():
    log.warning("asking")
    return requests.get(url + "/seen", headers={"x-mine": "1"}).json()

@app.get("/thread")
def in_thread():
    answers = []
    def work():
        log.warning("in a thread")
        answers.append(requests.get(url + "/seen").json())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return answers[0]

@app.get("/caught")
def caught():
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("caught")
    return "fine"

@app.errorhandler(LookupError)
def sorry(error):
    return "sorry", 503

@app.get("/sorry")
def lookup():
    raise LookupError("sorry")

@app.get("/boom")
def boom():
    raise ValueError("boom")

app.run(port=int(os.environ["PORT"]), threaded=True)
for thread in threading.enumerate():
    if "process_request" in thread.name:
        thread.join()  # a client has its answer before the request has ended
"""
# Says so in the application's own process, not in those that become it.
SITECUSTOMIZE = "import sys; print('shadowed') if sys.orig_argv[1:] == ['app.py'] else None"
NEW_RELIC = "[newrelic]\napp_name = app\naudit_log_file = audit.log\n"

PACKAGES = {"ddtrace": "ddtrace", "sentry": "sentry-sdk", "newrelic": "newrelic"}
LAUNCHERS = {"ddtrace": ["ddtrace-run"], "sentry": [], "newrelic": ["newrelic-admin", "run-program"]}
TOGETHER = [
    ("ddtrace", "outside"),
    ("ddtrace", "inside"),
    ("sentry", "before"),
    ("sentry", "after"),
    ("newrelic", "outside"),
    ("newrelic", "inside"),
]
OURS = ["highlight-run"]
# Of its transactions, spans and errors.
NAMES = r"'(?:name|error\.class)': '((?:(?:Web|Other)Transaction|Function|External)/[^']+|builtins:[^']+)'"


class Intake:
    """What Datadog's agent and Sentry's server are for them."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.leaked: list[str] = []
        intake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer({"endpoints": ["/v0.4/traces", "/debugger/v2/input"], "version": "7.60.0"})

            def do_POST(self) -> None:
                body = self.body()
                if "x-highlight-request" in self.headers or "traceparent" in self.headers:
                    intake.leaked.append(self.path)
                intake.take(self.path, gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
                self.answer({})

            def do_PUT(self) -> None:
                self.do_POST()

            def body(self) -> bytes:
                if "Content-Length" in self.headers:
                    return self.rfile.read(int(self.headers["Content-Length"]))
                chunks = []
                while size := int(self.rfile.readline(), 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                return b"".join(chunks)

            def answer(self, content: object) -> None:
                body = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def take(self, path: str, body: bytes) -> None:
        if path.endswith("/traces"):
            spans = [span for trace in msgpack.unpackb(body, strict_map_key=False) for span in trace]
            self.got += [f"{span['name']} {span['resource']} {span['meta'].get('error.type')}" for span in spans]
        elif path.endswith(("/envelope/", "/store/")):  # older ones store an error alone
            for line in [body] if path.endswith("/store/") else body.split(b"\n")[1:]:
                item = json.loads(line) if line.startswith(b"{") else {}
                if "transaction" in item:
                    errors = [error["type"] for error in item.get("exception", {}).get("values", [])]
                    spans = [span["op"] for span in item.get("spans", [])]
                    self.got.append(f"{item['transaction']} {spans} {errors}")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Run:
    """The application, with one of the others, with us, or with both."""

    def __init__(self, launchers: list[str], python: str, folder: Path, **env: str) -> None:
        self.intake = Intake()
        self.folder = folder
        launchers = [f"{Path(python).parent}/{word}" if word != "run-program" else word for word in launchers]
        files = {"app.py": APP, "newrelic.ini": NEW_RELIC, "shadowed/sitecustomize.py": SITECUSTOMIZE}
        others = {
            "PYTHONPATH": str(folder / "shadowed"),
            "PYTHONWARNINGS": "ignore",
            "DD_TRACE_AGENT_URL": self.intake.url,
            "DD_TRACE_API_VERSION": "v0.4",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            "SENTRY_DSN": self.intake.url.replace("//", "//key@") + "/1",
            "NEW_RELIC_DEVELOPER_MODE": "true",
            "NEW_RELIC_CONFIG_FILE": "newrelic.ini",
            "NEW_RELIC_STARTUP_TIMEOUT": "10",
            "NEW_RELIC_SHUTDOWN_TIMEOUT": "10",
        }
        self.service = Service(
            [*launchers, python, "app.py"], files=files, folder=folder, env={**others, **env}, bare=True
        )

    def use(self) -> list[tuple[int, list[str], str]]:
        """Ask for everything; return each answer's status, headers and body, that of our header's names aside."""
        answers = [
            self.service.get(path, {"x-highlight-request": f"s{number}/r{number}"})
            for number, path in enumerate(["/seen", "/chain", "/thread", "/caught", "/sorry", "/boom"])
        ]
        self.chain, self.thread = (json.loads(answer.text) for answer in answers[1:3])
        return [
            (
                answer.status,
                [f"{name}: {value}" for name, value in answer.headers if name not in ("Date", "Content-Length")],
                answer.text if number not in (0, 1, 2) else "",
            )
            for number, answer in enumerate(answers)
        ]

    def stop(self) -> int:
        try:
            return self.service.stop(signal.SIGINT)
        finally:
            self.intake.close()

    @property
    def reports(self) -> Counter[str]:
        """What the other has reported, each with how often."""
        audit = self.folder / "audit.log"  # New Relic's, of what it would send
        names = re.findall(NAMES, audit.read_text()) if audit.exists() else []
        return Counter(self.intake.got + [name.replace(f":{self.service.port}", "") for name in names])

    @property
    def stderr(self) -> list[str]:
        """What the application and its tracebacks say, without times, and without their frames."""
        lines = [re.sub(r"^\[[^]]*\] ", "", line) for line in self.service.stderr.splitlines()]
        return [line for line in lines if line and not line.startswith(" ")]


@pytest.fixture(scope="module")
def python():
    """The interpreter of an environment of its own for each: they would patch every other test's libraries."""
    return {name: environment.beside(name, ["flask", "requests", package]) for name, package in PACKAGES.items()}


@pytest.fixture(scope="module")
def bare(python, tmp_path_factory):
    run = Run([], python["sentry"], tmp_path_factory.mktemp("bare"))
    return run.use(), run.stop(), run.stderr, run.service.stdout


@pytest.fixture(scope="module")
def alone(python, tmp_path_factory):
    """Run the application with one of the others alone: once for both ways to have us beside it."""
    runs: dict[str, Run] = {}

    def alone(name):
        if name not in runs:
            env = {"SENTRY": "after"} if name == "sentry" else {}
            runs[name] = Run(LAUNCHERS[name], python[name], tmp_path_factory.mktemp(name), **env)
            runs[name].use()
            runs[name].stop()
        return runs[name]

    return alone


@pytest.fixture
def together(python, receiver, tmp_path):
    """Run the application with one of the others, and us outside of it or inside."""
    runs = []

    def together(name, order, **env):
        launchers = LAUNCHERS[name] + OURS if order == "inside" else OURS + LAUNCHERS[name]
        env |= {"SENTRY": order} if name == "sentry" else {}
        reporting = {"HIGHLIGHT_PROJECT_ID": "1", "HIGHLIGHT_OTLP_ENDPOINT": receiver.url}
        runs.append(Run(launchers, python[name], tmp_path, **reporting, **env))
        return runs[-1]

    yield together
    for run in runs:
        run.service.kill()
        run.service.check()


@pytest.mark.parametrize(("name", "order"), TOGETHER)
def test_each_sees_its_own(together, alone, bare, receiver, name, order):
    run = together(name, order)
    answers = run.use()
    receiver.wait(spans=10, logs=4, errors=3)
    status = run.stop()
    receiver.settle()

    # The application is as it was.
    assert (answers, status, run.stderr, run.service.stdout) == bare

    # We have all of it, once, with its sessions, and nothing of the other's.
    spans = receiver.spans
    assert [(span.name, span.kind, span.session, span.status) for span in spans] == [
        ("GET /seen", "SERVER", "s0", "UNSET"),
        ("GET /chain", "SERVER", "s1", "UNSET"),
        ("GET", "CLIENT", "s1", "UNSET"),
        ("GET /seen", "SERVER", "s1", "UNSET"),
        ("GET /thread", "SERVER", "s2", "UNSET"),
        ("GET", "CLIENT", "s2", "UNSET"),
        ("GET /seen", "SERVER", "s2", "UNSET"),
        ("GET /caught", "SERVER", "s3", "UNSET"),
        ("GET /sorry", "SERVER", "s4", "ERROR"),
        ("GET /boom", "SERVER", "s5", "ERROR"),
    ]
    assert [spans[2].parent_id, spans[5].parent_id] == [spans[1].span_id, spans[4].span_id]
    assert [(log.body, log.session) for log in receiver.logs if not log.logger.startswith(name)] == [
        ("asking", "s1"),
        ("in a thread", "s2"),
        ("caught", "s3"),
        ("Exception on /boom [GET]", "s5"),
    ]
    assert [(error.type, error.session) for error in receiver.errors] == [
        ("ZeroDivisionError", "s3"),
        ("LookupError", "s4"),
        ("ValueError", "s5"),
    ]

    # The other has what it has alone.
    reports = run.reports
    if name == "ddtrace":  # it takes whoever hears Flask's signals for a step of the request
        reports -= Counter({"highlight_autoinstrument.integrations.flask.record_error " * 2 + "None": 1})
    assert reports == alone(name).reports
    assert any("ValueError" in report for report in reports)
    assert run.intake.leaked == []

    # The next hop gets the headers of both.
    for ours, theirs in ((run.chain, alone(name).chain), (run.thread, alone(name).thread)):
        assert set(ours) == set(theirs) | {"x-highlight-request", "traceparent"}
    assert (run.chain["x-highlight-request"], run.thread["x-highlight-request"]) == ("s1/r1", "s2/r2")
    assert run.chain["x-mine"] == "1"


SAMPLE_NOTHING = {
    "ddtrace": {"DD_TRACE_SAMPLING_RULES": '[{"sample_rate": 0}]'},
    "newrelic": {"NEW_RELIC_DISTRIBUTED_TRACING_SAMPLER_ROOT": "always_off"},
}


def knows(python, name):
    """Whether the other can be told to leave out all: older versions of New Relic's cannot."""
    if name != "newrelic":
        return True
    program = "from newrelic.core.config import global_settings as all; print(all().distributed_tracing.sampler.root)"
    return subprocess.run([python, "-c", program], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("name", SAMPLE_NOTHING)
def test_what_the_other_leaves_out_of_its_sample_is_not_left_out_of_ours(together, receiver, python, name):
    run = together(name, "outside", **SAMPLE_NOTHING[name])
    run.use()
    receiver.wait(spans=10)
    run.stop()

    assert run.chain["traceparent"].endswith("-00") is knows(python[name], name)
    assert [span.session for span in receiver.spans if span.name == "GET /seen"] == ["s0", "s1", "s2"]


def test_modules_that_ddtrace_unloads_are_not_missed(python, run_python, receiver):
    # As it does where gevent is installed: what it has imported itself is not there for others.
    env = {"DD_UNLOAD_MODULES_FROM_SITECUSTOMIZE": "true", "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false"}
    launcher = Path(python["ddtrace"]).with_name("ddtrace-run")
    done = run_python([python["ddtrace"], "-c", "import logging; logging.warning('hi')"], python=str(launcher), env=env)
    assert (done.returncode, done.stderr) == (0, "WARNING:root:hi\n")
    receiver.wait(logs=1)
    assert [log.body for log in receiver.logs] == ["hi"]
