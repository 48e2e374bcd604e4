"""OpenTelemetry's API and its instrumentation packages: their spans are ours, with the session, and never double."""

from __future__ import annotations

import signal

import pytest

from tests import environment
from tests.support.services import wait_until

REQUIREMENTS = [
    "flask",
    "opentelemetry-distro",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-instrumentation-flask",
    "opentelemetry-instrumentation-requests",
    "opentelemetry-instrumentation-sqlalchemy",
    "opentelemetry-instrumentation-sqlite3",
    "requests",
    "sqlalchemy<2.1",  # newer ones are refused by their instrumentation
]


@pytest.fixture(scope="session")
def python():
    """An environment in which OpenTelemetry's packages are installed; elsewhere they would make spans in every test."""
    return environment.beside("ecosystem", REQUIREMENTS)


APP = """
import logging, os, sqlite3, sys
from flask import Flask
from opentelemetry import trace
import sqlalchemy
if "own" in sys.argv:
    from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
    SQLite3Instrumentor().instrument()

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
tracer = trace.get_tracer("app")
engine = sqlalchemy.create_engine("sqlite://")

@app.get("/query/<int:number>")
def query(number):
    with engine.connect() as connection:
        return str(connection.execute(sqlalchemy.text("select 1")).scalar())

@app.get("/broken")
def broken():
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("select nothing from nowhere"))

@app.get("/forgiven")
def forgiven():
    try:
        broken()
    except sqlalchemy.exc.OperationalError:
        return "fine"

@app.get("/plain")
def plain():
    with sqlite3.connect(":memory:") as connection:
        connection.cursor().execute("select 1")
    return "fine"

@app.get("/own")
def own():
    with tracer.start_as_current_span("work", attributes={"rows": 3}) as span:
        span.add_event("half")
        app.logger.warning("inside")
    trace.get_current_span().set_attribute("mine", 1)
    return "fine"

@app.get("/tried")
def tried():
    for attempt in range(2):
        try:
            with tracer.start_as_current_span("attempt"):
                if not attempt:
                    raise OSError("not yet")
        except OSError:
            pass
    try:
        1 / 0
    except ZeroDivisionError as error:
        trace.get_current_span().record_exception(error)
    return "fine"

@app.get("/fail")
def fail():
    with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner"):
        raise LookupError("inside")

with tracer.start_as_current_span("outside") as span:
    assert not span.is_recording()
with engine.connect() as connection:
    connection.execute(sqlalchemy.text("select 2"))

if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
"""
SESSION = {"x-highlight-request": "s1/r1"}


def seen(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def errors(receiver):
    return [(error.type.rpartition(".")[2], error.session) for error in receiver.errors]


@pytest.fixture
def start(run_service, python):
    def start(command="{python} app.py", **options):
        options.setdefault("files", {"app.py": APP})
        return run_service(command.replace("{python}", python), **options)

    return start


def test_an_installed_package_is_activated_with_its_library(start, receiver):
    service = start()
    assert service.get("/query/1", SESSION).text == "1"
    assert service.get("/forgiven", SESSION).text == "fine"
    assert service.get("/plain").text == "fine"

    receiver.wait(spans=10)
    request, *below = receiver.spans[:4]
    # SQLAlchemy's package does not make its span the current one: that of sqlite3's stands beside it.
    assert seen(receiver) == [
        ("GET /query/<int:number>", "SERVER", "s1", "UNSET"),
        ("connect", "CLIENT", "s1", "UNSET"),
        ("select", "CLIENT", "s1", "UNSET"),
        ("select", "CLIENT", "s1", "UNSET"),
        ("GET /forgiven", "SERVER", "s1", "UNSET"),
        ("connect", "CLIENT", "s1", "UNSET"),
        ("select", "CLIENT", "s1", "ERROR"),
        ("select", "CLIENT", "s1", "ERROR"),
        ("GET /plain", "SERVER", None, "UNSET"),
        ("select", "CLIENT", None, "UNSET"),
    ]
    assert {span.parent_id for span in below} == {request.span_id}
    assert receiver.errors == []


def test_an_exception_that_its_span_has_seen_is_one_error_of_the_request(start, receiver):
    service = start()
    assert service.get("/broken", SESSION).status == 500

    receiver.wait(spans=4, errors=1)
    assert errors(receiver) == [("OperationalError", "s1")]
    assert [(span.name, span.status) for span in receiver.spans] == [
        ("GET /broken", "ERROR"),
        ("connect", "UNSET"),
        ("select", "ERROR"),
        ("select", "ERROR"),
    ]


@pytest.mark.parametrize("name", ["sqlalchemy", "opentelemetry"])
def test_it_can_be_left_out(start, receiver, name):
    service = start(env={"HIGHLIGHT_DISABLED_INTEGRATIONS": name})
    assert service.get("/query/1", SESSION).text == "1"

    receiver.wait(spans=1)
    names = [name for name, _, _, _ in seen(receiver)]
    assert names[0] == "GET /query/<int:number>"
    assert names[1:] in ([], ["select"])  # sqlite3's own, below


def test_one_that_fails_is_off_with_one_line(start, receiver, tmp_path):
    broken = tmp_path / "broken" / "opentelemetry_instrumentation_json-1.dist-info"
    broken.mkdir(parents=True)
    packages = broken.parent.rename(tmp_path / "site-packages")
    (packages / broken.name / "entry_points.txt").write_text("[opentelemetry_instrumentor]\njson = nowhere:Broken\n")
    (packages / broken.name / "METADATA").write_text("Name: opentelemetry-instrumentation-json\n")
    service = start(env={"PYTHONPATH": str(packages)})
    service.expect("OpenTelemetry's instrumentation of json is off: ModuleNotFoundError: No module named 'nowhere'")
    assert service.get("/query/1", SESSION).text == "1"

    receiver.wait(spans=3)
    assert len(service.agent_lines) == 1


def test_an_application_that_activates_one_itself_has_its_way(start, receiver):
    service = start("{python} app.py own")
    assert service.get("/plain", SESSION).text == "fine"

    receiver.wait(spans=2)
    assert [span.name for span in receiver.spans] == ["GET /plain", "select"]
    assert "already instrumented" not in service.stderr


def test_spans_of_the_api_are_ours_inside_a_request(start, receiver):
    service = start()
    assert service.get("/own", SESSION).text == "fine"
    assert service.get("/fail", SESSION).status == 500

    receiver.wait(spans=5, errors=1)
    assert seen(receiver) == [
        ("GET /own", "SERVER", "s1", "UNSET"),
        ("work", "INTERNAL", "s1", "UNSET"),
        ("GET /fail", "SERVER", "s1", "ERROR"),
        ("outer", "INTERNAL", "s1", "ERROR"),
        ("inner", "INTERNAL", "s1", "ERROR"),
    ]
    request, work = receiver.spans[:2]
    assert (work.parent_id, work.attributes["rows"], [event.name for event in work.events]) == (
        request.span_id,
        3,
        ["half"],
    )
    assert request.attributes["mine"] == 1
    assert [log.span_id for log in receiver.logs if log.body == "inside"] == [work.span_id]
    assert errors(receiver) == [("LookupError", "s1")]


OWN_PROVIDER = """
import logging, os
from flask import Flask
from opentelemetry import _logs, trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

provider = TracerProvider()
trace.set_tracer_provider(provider)
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: "span " + " ".join(
    [span.name, span.kind.name, str(span.parent), str(span.attributes.get("highlight.session_id"))]) + "\\n")))
logs = LoggerProvider()
_logs.set_logger_provider(logs)
def told(data):
    return f"log {data.log_record.body} {data.log_record.attributes.get('highlight.session_id')}\\n"
logs.add_log_record_processor(SimpleLogRecordProcessor(ConsoleLogRecordExporter(formatter=told)))

app = Flask(__name__)
FlaskInstrumentor().instrument_app(app)
logging.getLogger("werkzeug").disabled = True
logging.getLogger("app").addHandler(LoggingHandler(logger_provider=logs))

@app.get("/hello")
def hello():
    logging.getLogger("app").warning("hello")
    return "hello"

app.run(port=int(os.environ["PORT"]))
"""


def test_an_applications_own_instrumentation_makes_the_server_span_as_ever(start, receiver):
    told = []
    for bare in (True, False):
        service = start(files={"app.py": OWN_PROVIDER}, bare=bare, env={"PYTHONWARNINGS": "ignore"})
        assert service.get("/hello", SESSION).text == "hello"
        service.stop(signal.SIGINT)
        told.append(sorted(line for line in service.stdout.splitlines() if line.startswith(("span ", "log "))))

    assert told == [
        ["log hello None", "span GET /hello SERVER None None"],
        ["log hello s1", "span GET /hello SERVER None s1"],
    ]
    receiver.wait(spans=1, logs=1)
    assert seen(receiver) == [("GET /hello", "SERVER", "s1", "UNSET")]
    assert [(log.body, log.session) for log in receiver.logs] == [("hello", "s1")]


def test_what_goes_to_a_provider_that_is_not_the_global_one_is_as_ever(start, receiver):
    app = OWN_PROVIDER.replace("trace.set_tracer_provider(provider)\n", "").replace(
        "instrument_app(app)", "instrument_app(app, tracer_provider=provider)"
    )
    told = []
    for bare in (True, False):
        service = start(files={"app.py": app}, bare=bare, env={"PYTHONWARNINGS": "ignore"})
        assert service.get("/hello", SESSION).text == "hello"
        if not bare:
            receiver.wait(spans=1, logs=1)
        service.stop(signal.SIGINT)
        told.append([line for line in service.stdout.splitlines() if line.startswith("span ")])

    assert told == [["span GET /hello SERVER None None"]] * 2
    assert seen(receiver) == [("GET /hello", "SERVER", "s1", "UNSET")]


def test_an_exception_that_is_caught_outside_a_span_is_none_and_one_that_is_recorded_is_an_error(start, receiver):
    service = start()
    assert service.get("/tried", SESSION).text == "fine"

    receiver.wait(spans=3, errors=1)
    assert seen(receiver) == [
        ("GET /tried", "SERVER", "s1", "UNSET"),
        ("attempt", "INTERNAL", "s1", "ERROR"),
        ("attempt", "INTERNAL", "s1", "UNSET"),
    ]
    assert errors(receiver) == [("ZeroDivisionError", "s1")]


SERVER = """
import http.server, os
from opentelemetry import propagate, trace

tracer = trace.get_tracer("server")

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        context = propagate.extract(dict(self.headers))
        with tracer.start_as_current_span("served", context, trace.SpanKind.SERVER), tracer.start_as_current_span("in"):
            self.send_response(200)
            self.end_headers()
        if self.path == "/fail":
            with tracer.start_as_current_span("failed", context, trace.SpanKind.SERVER):
                raise LookupError("there")
    def log_message(self, *_): pass
    def do_HEAD(self): pass

class Server(http.server.HTTPServer):
    def handle_error(self, *_): pass

Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def test_a_server_that_only_opentelemetry_knows(start, receiver):
    service = start("{python} app.py", files={"app.py": SERVER}, env={"OTEL_PROPAGATORS": "tracecontext,highlight"})
    assert service.get("/", SESSION).status == 200
    assert service.get("/fail").status == 200

    receiver.wait(spans=5, errors=1)
    assert seen(receiver) == [
        ("served", "SERVER", "s1", "UNSET"),
        ("in", "INTERNAL", "s1", "UNSET"),
        ("served", "SERVER", None, "UNSET"),
        ("in", "INTERNAL", None, "UNSET"),
        ("failed", "SERVER", None, "ERROR"),
    ]
    assert errors(receiver) == [("LookupError", None)]


# opentelemetry-instrument, without highlight-run

INSTRUMENTED = """
import logging, os, requests
from flask import Flask, request

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True

@app.get("/chain")
def chain():
    logging.getLogger("app").warning("asking")
    return requests.get(f"http://127.0.0.1:{os.environ['PORT']}/seen").text

@app.get("/seen")
def seen():
    return request.headers.get("x-highlight-request", "none")

@app.get("/fail")
def fail():
    raise ValueError()

app.run(port=int(os.environ["PORT"]), threaded=True)
"""


def test_opentelemetry_instrument_gets_the_same(start, receiver, python):
    instrument = python.replace("/python", "/opentelemetry-instrument")
    service = start(
        f"{instrument} {{python}} app.py",
        files={"app.py": INSTRUMENTED},
        bare=True,
        name="otel",
        env={
            "OTEL_PYTHON_DISTRO": "highlight",
            "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true",
            "OTEL_METRICS_EXPORTER": "none",
        },
    )
    assert service.get("/chain", SESSION).text == "s1/r1"
    assert service.get("/chain").text == "none"
    assert service.get("/fail", SESSION).status == 500

    receiver.wait(spans=7)
    assert sorted((span.name, str(span.session), span.service) for span in receiver.spans) == sorted(
        [
            *[(name, session, "otel") for session in ("s1", "None") for name in ("GET /chain", "GET", "GET /seen")],
            ("GET /fail", "s1", "otel"),
        ]
    )
    wait_until(lambda: receiver.errors)
    assert {(e.type, e.message, e.session) for e in receiver.errors} == {("ValueError", "ValueError", "s1")}
    assert receiver.errors[0].stacktrace.startswith("Traceback (most recent call last):\n  File ")
    assert [export.headers.get("x-highlight-project") for export in receiver.exports][:1] == ["1"]
    wait_until(lambda: len(receiver.logs) > 2)
    assert sorted((log.body, str(log.session)) for log in receiver.logs) == [
        ("Exception on /fail [GET]", "s1"),
        ("asking", "None"),
        ("asking", "s1"),
    ]
