"""An application that has set up OpenTelemetry itself keeps its provider, and its spans are sent with the session."""

from __future__ import annotations

import json

APP = """
import json, logging, os, sys
from flask import Flask
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

logging.getLogger("werkzeug").disabled = True
own = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(own))
trace.set_tracer_provider(provider)
assert trace.get_tracer_provider() is provider
tracer = trace.get_tracer("app")
app = Flask(__name__)

class ServerSpan:
    def __init__(self, app): self.app = app
    def __call__(self, environ, start_response):
        from opentelemetry.propagate import extract
        carrier = {"traceparent": environ.get("HTTP_TRACEPARENT", "")}
        with tracer.start_as_current_span("their server", extract(carrier), kind=trace.SpanKind.SERVER):
            return self.app(environ, start_response)

if os.environ.get("INNER"): app.wsgi_app = ServerSpan(app.wsgi_app)

@app.get("/work")
def work():
    with tracer.start_as_current_span("work", attributes={"ok": True, "list": ["a", "b"]}) as span:
        span.add_event("step", {"n": 1})
    return "done"

@app.get("/fail")
def fail():
    with tracer.start_as_current_span("failing"):
        raise ValueError

@app.get("/own")
def seen():
    return json.dumps([
        (s.name, s.parent and format(s.parent.span_id, "016x"), s.attributes.get("highlight.session_id"),
         [e.name for e in s.events])
        for s in own.get_finished_spans()
    ])

wsgi = ServerSpan(app) if os.environ.get("OUTER") else app
from werkzeug.serving import run_simple
run_simple("127.0.0.1", int(os.environ["PORT"]), wsgi, threaded=True)
"""
HEADERS = {
    "x-highlight-request": "s1/r1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


def start(run_service, **env):
    return run_service("python app.py", files={"app.py": APP}, env=env)


def test_its_spans_are_stamped_and_sent_below_ours(run_service, receiver):
    service = start(run_service)

    service.get("/work", HEADERS)

    receiver.wait(spans=2)
    server, work = receiver.spans
    assert [(s.name, s.kind, s.session, s.highlight_trace) for s in (server, work)] == [
        ("GET /work", "SERVER", "s1", "0af7651916cd43dd8448eb211c80319c"),
        ("work", "INTERNAL", "s1", "0af7651916cd43dd8448eb211c80319c"),
    ]
    assert (work.trace_id, work.parent_id) == (server.trace_id, server.span_id)
    assert (work.attributes["ok"], work.attributes["list"]) == ("true", ["a", "b"])
    assert [(event.name, event.attributes) for event in work.events] == [("step", {"n": 1})]


def test_its_own_exporter_sees_its_spans_and_none_of_ours(run_service, receiver):
    service = start(run_service)
    service.get("/work", HEADERS)

    assert [(name, session, events) for name, _, session, events in json.loads(service.get("/own").text)] == [
        ("work", "s1", ["step"])
    ]


def test_its_exceptions_are_repaired_and_counted_with_ours(run_service, receiver):
    service = start(run_service)

    assert service.get("/fail", HEADERS).status == 500

    receiver.wait(spans=2, logs=1)
    assert [(e.type, e.message, e.session) for e in receiver.errors] == [("ValueError", "ValueError", "s1")]
    assert receiver.errors[0].stacktrace.startswith("Traceback (most recent call last):\n  File ")
    assert receiver.errors[0].stacktrace.endswith("\nValueError\n")
    assert [(name, events) for name, _, _, events in json.loads(service.get("/own").text)] == [
        ("failing", ["exception"])
    ]


def test_where_it_makes_the_server_span_inside_ours_that_one_stands_for_the_request(run_service, receiver):
    service = start(run_service, INNER="1")

    assert service.get("/fail", HEADERS).status == 500

    receiver.wait(spans=2, logs=1)
    print(receiver.told())
    server, failing = receiver.spans
    assert [(s.name, s.kind, s.session) for s in (server, failing)] == [
        ("their server", "SERVER", "s1"),
        ("failing", "INTERNAL", "s1"),
    ]
    assert (server.trace_id, server.parent_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert failing.parent_id == server.span_id
    assert [(e.type, e.session) for e in receiver.errors] == [("ValueError", "s1")]
    assert [(name, parent) for name, parent, _, _ in json.loads(service.get("/own").text)][1] == (
        "their server",
        "b7ad6b7169203331",
    )


def test_where_it_makes_the_server_span_around_ours_that_one_stands_for_the_request(run_service, receiver):
    service = start(run_service, OUTER="1", HIGHLIGHT_DISABLED_INTEGRATIONS="werkzeug")

    assert service.get("/work", HEADERS).text == "done"

    receiver.wait(spans=2)
    server, work = receiver.spans
    assert [(s.name, s.kind, s.session) for s in (server, work)] == [
        ("their server", "SERVER", "s1"),
        ("work", "INTERNAL", "s1"),
    ]
    assert (work.trace_id, work.parent_id) == (server.trace_id, server.span_id)
    assert receiver.errors == []


def test_a_provider_that_was_set_before_the_agent_started_is_joined(run_python, receiver, tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "sitecustomize.py").write_text(
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "trace.set_tracer_provider(TracerProvider())\n"
    )
    done = run_python(
        "import highlight_autoinstrument as h\n"
        "from opentelemetry import trace\n"
        "with h.trace('ours', session_secure_id='s1'):\n"
        "    with trace.get_tracer('x').start_as_current_span('theirs'): pass\n",
        env={"PYTHONPATH": str(tmp_path / "first")},
    )

    assert (done.returncode, done.stderr) == (0, "")
    receiver.wait(spans=2)
    assert [(span.name, span.session) for span in receiver.spans] == [("ours", "s1"), ("theirs", "s1")]
