"""Highlight's own SDK, and LaunchDarkly's, beside the agent: what they record is sent once, with the right session."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests import environment
from tests.support.grpc_receiver import GrpcReceiver
from tests.support.receiver import Receiver

FLASK = """
import logging, os
from flask import Flask

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True

@app.get("/hello")
def hello():
    logging.getLogger("app").warning("hello")
    with span("own") as own:
        own.update_name("own")  # older ones take no name
    return "hello"

@app.get("/caught")
def caught():
    try:
        1 / 0
    except ZeroDivisionError as error:
        record(error)
    return "fine"

@app.get("/boom")
def boom():
    raise ValueError("boom")

app.run(port=int(os.environ["PORT"]))
"""
HIGHLIGHT = (
    """
import inspect, os
import highlight_io
from highlight_io.integrations.flask import FlaskIntegration

H = highlight_io.H("1", integrations=[FlaskIntegration()], otlp_endpoint=os.environ["THEIRS"], service_name="theirs")
takes_name = "span_name" in inspect.signature(H.trace).parameters
span, record = (lambda name: H.trace(**({"span_name": name} if takes_name else {}))), H.record_exception
"""
    + FLASK
)
LAUNCHDARKLY = (
    """
import os
from ldobserve import ObservabilityConfig, _init, observe
from ldobserve.config import _ProcessedConfig

settings = ObservabilityConfig(otlp_endpoint=os.environ["THEIRS"], backend_url="http://127.0.0.1:9", service_name="ld")
_init("1", _ProcessedConfig(settings))  # what registering the plugin with LaunchDarkly's client calls
span, record = observe.start_span, observe.record_exception
"""
    + FLASK
)
SDKS = {
    "highlight_io": (HIGHLIGHT, "highlight-io"),
    "ldobserve": (LAUNCHDARKLY, "launchdarkly-observability"),
}
SESSION = {"x-highlight-request": "s1/r1"}


@pytest.fixture(scope="module", params=SDKS)
def sdk(request):
    """An environment of its own for each: they ask for particular versions of OpenTelemetry."""
    source, package = SDKS[request.param]
    python = environment.beside(request.param, ["flask", package])
    loaded = subprocess.run(
        [python, "-c", f"import {request.param}, sys; print(*sys.modules)"], check=True, capture_output=True, text=True
    ).stdout.split()
    return source, python, Receiver if "opentelemetry.exporter.otlp.proto.http" in loaded else GrpcReceiver


@pytest.fixture
def theirs(sdk):
    """Where the SDK sends what it sends by itself: by gRPC, in older versions by HTTP."""
    *_, kind = sdk
    server = kind()
    yield server
    server.close()
    assert server.faults == []


@pytest.fixture
def start(run_service, sdk, theirs):
    def start(**options):
        source, python, _ = sdk
        env = {"THEIRS": theirs.url, "PYTHONWARNINGS": "ignore", **options.pop("env", {})}
        return run_service([python, "app.py"], files={"app.py": source}, env=env, **options)

    return start


def use(service):
    assert service.get("/hello", SESSION).text == "hello"
    assert service.get("/hello").text == "hello"  # the SDK alone would give it the session of the one before
    assert service.get("/caught", {"x-highlight-request": "s2/r2"}).text == "fine"
    assert service.get("/boom", {"x-highlight-request": "s3/r3"}).status == 500


def test_each_report_is_one_and_has_its_own_session(start, receiver, theirs):
    service = start()
    use(service)

    receiver.wait(spans=6, logs=3, errors=2)
    service.stop(signal.SIGINT)
    receiver.settle()
    assert [(span.name, span.kind, span.session, span.status) for span in receiver.spans] == [
        ("GET /hello", "SERVER", "s1", "UNSET"),
        ("own", "INTERNAL", "s1", "UNSET"),
        ("GET /hello", "SERVER", None, "UNSET"),
        ("own", "INTERNAL", None, "UNSET"),
        ("GET /caught", "SERVER", "s2", "UNSET"),
        ("GET /boom", "SERVER", "s3", "ERROR"),
    ]
    assert [(error.type, error.session) for error in receiver.errors] == [
        ("ZeroDivisionError", "s2"),
        ("ValueError", "s3"),
    ]
    logs = [(log.body, log.session) for log in receiver.logs if log.logger in ("app", "__main__")]
    assert logs == [("hello", "s1"), ("hello", None), ("Exception on /boom [GET]", "s3")]
    assert (theirs.spans, theirs.logs) == ([], [])


def test_without_a_project_of_ours_it_sends_as_ever(start, theirs):
    sent = {}
    for bare in (True, False):
        service = start(bare=bare, env={"HIGHLIGHT_PROJECT_ID": ""})
        if not bare:
            service.expect("HIGHLIGHT_PROJECT_ID is not set")
        use(service)
        service.stop(signal.SIGINT)
        theirs.wait(spans=2)
        sent[bare] = {error.type for error in theirs.errors}
        theirs.clear()

    assert sent[False] == sent[True]
    assert "ValueError" in sent[True]
