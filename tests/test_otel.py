"""An application that has set up OpenTelemetry itself keeps its provider, and its spans are sent with the session."""

from __future__ import annotations

import json

import pytest

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

class Attached(ServerSpan):
    def __call__(self, environ, start_response):
        from opentelemetry import context
        from opentelemetry.propagate import extract
        headers = {"traceparent": environ["HTTP_TRACEPARENT"]} if "HTTP_TRACEPARENT" in environ else {}
        token = context.attach(extract(headers))  # a new context, with nothing else in it
        try:
            with tracer.start_as_current_span("their server", kind=trace.SpanKind.SERVER):
                return self.app(environ, start_response)
        finally:
            context.detach(token)

if os.environ.get("ATTACHED"):
    from opentelemetry.propagate import set_global_textmap
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    class Comparing(TraceContextTextMapPropagator):
        def extract(self, carrier, context=None, *args, **kwargs):
            about.append(trace.get_current_span(context).get_span_context().is_valid)
            return super().extract(carrier, context, *args, **kwargs)

    about = []  # whether there is a span about while headers are read: logfire warns if what is read is another one
    set_global_textmap(Comparing())
    app.wsgi_app = Attached(app.wsgi_app)

    @app.get("/about")
    def spans_about(): return json.dumps(about)

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


@pytest.mark.parametrize("traced", [True, False])
def test_where_it_replaces_the_context_by_what_it_has_read_the_session_stays(run_service, receiver, traced):
    service = start(run_service, ATTACHED="1")

    headers = HEADERS if traced else {"x-highlight-request": "s1/r1"}
    assert service.get("/work", headers).text == "done"
    assert service.get("/fail", headers).status == 500

    receiver.wait(spans=4, errors=1)
    assert [(s.name, s.kind, s.session, s.parent_id) for s in receiver.spans[::2]] == [
        ("their server", "SERVER", "s1", "b7ad6b7169203331" if traced else "")
    ] * 2
    assert [(s.name, s.kind, s.session) for s in receiver.spans[1::2]] == [
        ("work", "INTERNAL", "s1"),
        ("failing", "INTERNAL", "s1"),
    ]
    assert [(e.type, e.session) for e in receiver.errors] == [("ValueError", "s1")]
    assert service.get("/about", headers).text == "[false, false, false]"


def test_what_reads_nothing_but_baggage_leaves_the_span_where_it_is(run_python, receiver):
    done = run_python(
        """
import highlight_autoinstrument as highlight
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator

propagate.set_global_textmap(W3CBaggagePropagator())  # what it reads is put into a copy of the current context
with highlight.trace("outer", headers={"x-highlight-request": "s1/r1"}):
    token = context.attach(propagate.extract({"baggage": "shop=main"}))
    print(trace.get_current_span().get_span_context().is_valid)
    with trace.get_tracer("shop").start_as_current_span("inner"):
        print(baggage.get_baggage("shop"))
    context.detach(token)
"""
    )

    assert (done.returncode, done.stdout) == (0, "True\nmain\n"), done.stderr
    receiver.wait(spans=2)
    outer, inner = sorted(receiver.spans, key=lambda span: span.name, reverse=True)
    assert [(s.name, s.session) for s in (outer, inner)] == [("outer", "s1"), ("inner", "s1")]
    assert (inner.trace_id, inner.parent_id) == (outer.trace_id, outer.span_id)


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


def test_what_fastapi_traces_itself_has_the_session(run_service, receiver):
    fastapi = """
import logging
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())
app = FastAPI()

@app.get("/items/{number}")
def item(number: int):
    logging.getLogger("shop").warning("item %s", number)
    return number

@app.get("/boom")
def boom(): raise ValueError
"""
    service = run_service("uvicorn app:app --port {port} --log-level critical", files={"app.py": fastapi})
    assert service.get("/items/7", HEADERS).text == "7"
    assert service.get("/boom", HEADERS).status == 500

    receiver.wait(logs=1, errors=1, spans=2)
    service.stop()
    requests = [span for span in receiver.spans if not span.name.startswith("fastapi.")]  # which new versions make
    assert [(s.name, s.kind, s.parent_id) for s in requests] == [
        ("GET /items/{number}", "SERVER", "b7ad6b7169203331"),
        ("GET /boom", "SERVER", "b7ad6b7169203331"),
    ]
    assert {span.session for span in receiver.spans} == {"s1"}
    assert [(log.body, log.session) for log in receiver.logs if log.logger == "shop"] == [("item 7", "s1")]
    assert [(e.type, e.session) for e in receiver.errors] == [("ValueError", "s1")]


def test_what_fastapi_traces_itself_is_whole_also_where_nothing_that_is_patched_serves_it(run_python, receiver):
    done = run_python(
        """
import asyncio, importlib.util
from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

own = InMemorySpanExporter()
provider = TracerProvider()  # for FastAPI alone
provider.add_span_processor(SimpleSpanProcessor(own))
traces = importlib.util.find_spec("fastapi.telemetry") is not None  # as new versions can
app = FastAPI(**({"telemetry": {"tracer_provider": provider}} if traces else {}))

@app.get("/items/{number}")
def item(number: int): return number

async def main():
    headers = [(b"x-highlight-request", b"s1/r1")]
    headers.append((b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    scope = {"type": "http", "method": "GET", "path": "/items/7", "headers": headers, "query_string": b""}
    async def receive(): return {"type": "http.request"}
    async def send(message): pass
    await app(scope, receive, send)

asyncio.run(main())
finished = own.get_finished_spans()
known = {span.context.span_id for span in finished} | {0xb7ad6b7169203331}
print(traces == ("GET /items/{number}" in [span.name for span in finished]))
print([span.name for span in finished if span.parent is None or span.parent.span_id not in known])
"""
    )

    assert (done.returncode, done.stdout) == (0, "True\n[]\n"), done.stderr
    receiver.wait(spans=1)
    assert [(s.name, s.kind, s.session) for s in receiver.spans] == [("GET /items/{number}", "SERVER", "s1")]


def test_a_request_inside_another_one_has_the_baggage_around_it_and_not_the_others_session(run_python, receiver):
    done = run_python(
        """
import logging
from flask import Flask
from opentelemetry import baggage, context

app = Flask(__name__)

@app.get("/inner")
def inner():
    logging.getLogger("shop").warning("inner")
    return f"{baggage.get_baggage('tenant')} {baggage.get_baggage('highlight.session_id')} "

@app.get("/outer")
def outer():
    around = baggage.set_baggage("highlight.session_id", "s1", baggage.set_baggage("tenant", "t1"))
    token = context.attach(around)
    try:
        ask = app.test_client().get
        return ask("/inner", headers={"x-highlight-request": "s2/r2"}).text + ask("/inner").text
    finally:
        context.detach(token)

ask = app.test_client().get
print(ask("/outer", headers={"x-highlight-request": "s1/r1"}).text + ask("/inner").text)
"""
    )

    assert (done.returncode, done.stdout) == (0, "t1 None t1 None None None \n"), done.stderr
    receiver.wait(spans=4, logs=3)
    found = [("GET /inner", None), ("GET /inner", None), ("GET /inner", "s2"), ("GET /outer", "s1")]
    assert sorted(((s.name, s.session) for s in receiver.spans), key=str) == sorted(found, key=str)
    assert sorted(str(log.session) for log in receiver.logs) == ["None", "None", "s2"]
