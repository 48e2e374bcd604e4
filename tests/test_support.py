"""What the other tests stand on stands: receivers take and refuse what they should, and nothing is left running."""

from __future__ import annotations

import gzip
import http.client
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.support import services
from tests.support.grpc_receiver import GrpcReceiver
from tests.support.receiver import Misbehaviour, Receiver
from tests.support.services import Response, Service, accepts, agent_tracebacks, free_port, run_program, wait_until

RESOURCE = Resource({"service.name": "shop"})
SESSION = {"highlight.session_id": "session1", "highlight.trace_id": "request1"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}


def send_span(exporter):
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("shop.web")

    def get_orders():
        with tracer.start_as_current_span("GET /orders", attributes=SESSION) as span:
            span.set_attributes({"sizes": [1, 2], "paid": True, "weight": 0.5})
            with tracer.start_as_current_span("inner", attributes=SESSION):
                pass
            raise LookupError("no such order")

    with pytest.raises(LookupError):
        get_orders()
    provider.shutdown()


def send_log(exporter, **attributes):
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    provider.get_logger("shop.log").emit(
        timestamp=7_000_000_000,
        severity_number=SeverityNumber.WARN,
        severity_text="WARN",
        body="no stock",
        attributes={**SESSION, **attributes},
    )
    provider.shutdown()


def post(receiver, path="/v1/traces", body=b"", headers=PROTOBUF, timeout=10):
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=timeout)
    try:
        connection.request("POST", path, body, dict(headers))
        answer = connection.getresponse()
        return Response(answer.status, answer.getheaders(), answer.read())
    finally:
        connection.close()


def assert_span_arrived(receiver):
    receiver.wait(spans=2, errors=1)
    outer, inner = receiver.spans
    assert (outer.name, outer.kind, outer.status, outer.status_message) == (
        "GET /orders",
        "INTERNAL",
        "ERROR",
        "LookupError: no such order",
    )
    assert outer.attributes == {**SESSION, "sizes": [1, 2], "paid": True, "weight": 0.5}
    assert (outer.session, outer.highlight_trace, outer.service, outer.scope) == (
        "session1",
        "request1",
        "shop",
        "shop.web",
    )
    assert (len(outer.trace_id), len(outer.span_id), outer.parent_id) == (32, 16, "")
    assert (inner.name, inner.trace_id, inner.parent_id, inner.status) == (
        "inner",
        outer.trace_id,
        outer.span_id,
        "UNSET",
    )
    assert outer.start_ns <= inner.start_ns <= inner.end_ns <= outer.end_ns
    assert [event.name for event in outer.events] == ["exception"]
    (error,) = receiver.errors
    assert (error.type, error.message, error.session, error.highlight_trace, error.source, error.record) == (
        "LookupError",
        "no such order",
        "session1",
        "request1",
        "span",
        outer,
    )
    assert error.stacktrace.startswith("Traceback (most recent call last):\n")


def assert_logs_arrived(receiver):
    receiver.wait(logs=2, errors=1)
    plain, failed = receiver.logs
    assert (plain.body, plain.severity_text, plain.severity_number, plain.time_ns) == (
        "no stock",
        "WARN",
        13,
        7_000_000_000,
    )
    assert (plain.session, plain.highlight_trace, plain.service, plain.scope) == (
        "session1",
        "request1",
        "shop",
        "shop.log",
    )
    assert (plain.attributes, plain.trace_id, plain.span_id) == (SESSION, "", "")
    assert [(error.type, error.message, error.source, error.record) for error in receiver.errors] == [
        ("OSError", "", "log", failed)
    ]


# The receivers


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_spans_of_the_sdk_arrive_whole(receiver, compression):
    send_span(OTLPSpanExporter(f"{receiver.url}/v1/traces", compression=compression, headers={"x-token": "t"}))

    assert_span_arrived(receiver)
    assert [(export.path, export.answered) for export in receiver.exports] == [("/v1/traces", 200)] * 2
    assert {export.headers["x-token"] for export in receiver.exports} == {"t"}
    assert {export.headers.get("content-encoding") for export in receiver.exports} == {
        "gzip" if compression is Compression.Gzip else None
    }
    assert len({export.connection for export in receiver.exports}) == 1, "the connection is kept"


def test_logs_of_the_sdk_arrive_whole(receiver):
    send_log(OTLPLogExporter(f"{receiver.url}/v1/logs", compression=Compression.Gzip))
    send_log(OTLPLogExporter(f"{receiver.url}/v1/logs"), **{"exception.type": "OSError"})

    assert_logs_arrived(receiver)


def test_spans_arrive_over_grpc(grpc_receiver):
    send_span(GrpcSpanExporter(grpc_receiver.url, insecure=True, headers={"x-token": "t"}))

    assert_span_arrived(grpc_receiver)
    assert {metadata["x-token"] for metadata in grpc_receiver.metadata} == {"t"}


def test_logs_arrive_over_grpc(grpc_receiver):
    send_log(GrpcLogExporter(grpc_receiver.url, insecure=True))
    send_log(GrpcLogExporter(grpc_receiver.url, insecure=True), **{"exception.type": "OSError"})

    assert_logs_arrived(grpc_receiver)


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/traces", b"\xff\xff", {}),
        ("/v1/logs", b"\xff\xff", {}),
        ("/v1/metrics", b"\xff\xff", {}),
        ("/v1/traces", b"no gzip", {"Content-Encoding": "gzip"}),
        ("/v1/traces", gzip.compress(b"\n" * 99, mtime=0)[:-9], {"Content-Encoding": "gzip"}),
        ("/v1/traces", b"", {"Content-Encoding": "br"}),
        ("/v1/traces", b"", {"Content-Type": "application/json"}),
        ("/traces", b"", {}),
    ],
)
def test_what_is_no_export_is_refused_and_remembered(path, body, headers):
    receiver = Receiver()
    try:
        assert post(receiver, path, body, {**PROTOBUF, **headers}).status == 400
        assert len(receiver.faults) == 1
        assert [export.answered for export in receiver.exports] == [400]
    finally:
        receiver.close()


@pytest.mark.parametrize("signal_name", ["traces", "logs", "metrics"])
def test_an_empty_export_is_one(receiver, signal_name):
    answer = post(receiver, f"/v1/{signal_name}")

    assert (answer.status, answer.header("Content-Type")) == (200, "application/x-protobuf")
    assert (receiver.spans, receiver.logs, receiver.errors) == ([], [], [])


def test_waiting_in_vain_tells_what_came(receiver):
    send_log(OTLPLogExporter(f"{receiver.url}/v1/logs"))

    with pytest.raises(
        AssertionError, match=r"waited for 1 spans, 0 logs, 0 errors; got\n  log WARN  'no stock' session1"
    ):
        receiver.wait(spans=1, timeout=0.2)


def test_settling_sees_what_is_still_on_its_way(receiver):
    late = threading.Timer(0.1, send_log, [OTLPLogExporter(f"{receiver.url}/v1/logs")])
    late.start()

    receiver.settle()

    assert [log.body for log in receiver.logs] == ["no stock"]
    late.join()


def test_a_status_can_be_told_and_nothing_is_taken(receiver):
    receiver.misbehave.append(Misbehaviour(status=503, headers={"Retry-After": "1"}, body=b"later"))

    answer = post(receiver, body=b"\xff\xff")
    assert (answer.status, answer.header("Retry-After")) == (503, "1")
    assert post(receiver).status == 200, "each misbehaviour is for one request"
    assert [export.answered for export in receiver.exports] == [503, 200]


@pytest.mark.parametrize("misbehaviour", [Misbehaviour(close=True), Misbehaviour(half=True)])
def test_it_can_hang_up(receiver, misbehaviour):
    receiver.misbehave.append(misbehaviour)

    with pytest.raises((http.client.RemoteDisconnected, http.client.IncompleteRead)):
        post(receiver)


def test_it_can_answer_late(receiver):
    receiver.misbehave.append(Misbehaviour(delay_seconds=0.4))

    with pytest.raises(TimeoutError):
        post(receiver, timeout=0.1)
    wait_until(lambda: [export.answered for export in receiver.exports] == [200])


def test_a_hanging_request_ends_with_the_receiver():
    receiver = Receiver()
    receiver.misbehave.append(Misbehaviour(hang=True))
    outcome = []

    def export():
        try:
            outcome.append(post(receiver, timeout=30).status)
        except http.client.RemoteDisconnected as error:
            outcome.append(error)

    client = threading.Thread(target=export)
    client.start()
    wait_until(lambda: not receiver.misbehave)
    receiver.close()
    client.join()

    assert [type(result) for result in outcome] == [http.client.RemoteDisconnected]


def test_a_closed_receiver_refuses_and_cuts_what_was_kept():
    receiver = Receiver()
    kept = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
    kept.request("POST", "/v1/traces", b"", PROTOBUF)
    assert kept.getresponse().read() == b""
    receiver.close()

    def go_on():
        kept.request("POST", "/v1/traces", b"", PROTOBUF)
        kept.getresponse()

    with pytest.raises(ConnectionError):  # http.client's RemoteDisconnected is one
        go_on()
    kept.close()
    with pytest.raises(ConnectionRefusedError):
        post(receiver)

    again = Receiver(receiver.port)
    assert post(again).status == 200
    again.close()


def test_closed_receivers_leave_no_thread():
    before = set(threading.enumerate())
    receiver, twin = Receiver(), GrpcReceiver()
    kept = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
    kept.request("POST", "/v1/traces", b"", PROTOBUF)
    kept.getresponse().read()
    send_log(OTLPLogExporter(f"{receiver.url}/v1/logs"))
    send_log(GrpcLogExporter(twin.url, insecure=True))
    receiver.close()
    twin.close()

    wait_until(lambda: not any(thread.is_alive() for thread in set(threading.enumerate()) - before))
    kept.close()


# Services

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""

ECHO = """
import os
from websockets.sync.server import serve

def echo(connection):
    for message in connection:
        connection.send(connection.request.headers["X-Highlight-Request"] + " " + message)

with serve(echo, "127.0.0.1", int(os.environ["PORT"])) as server:
    server.serve_forever()
"""


def running(pid):
    """Whether a process does anything; one that has ended may wait to be asked for its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_service_serves_its_files_and_ends_by_the_signal(run_service, tmp_path):
    (tmp_path / "page").write_text("from a file")
    service = run_service(
        "python -m http.server {port} --bind 127.0.0.1",
        files={"a.txt": "hello", "deep/b.txt": tmp_path / "page"},
        bare=True,
    )

    assert (service.get("/a.txt").status, service.get("/a.txt").text) == (200, "hello")
    assert service.get("/deep/b.txt").text == "from a file"
    assert service.request("OPTIONS", "/a.txt").status == 501
    assert service.get("/a.txt").header("content-length") == "5"
    assert service.raw(b"GARBAGE\r\n\r\n").startswith(b"<!DOCTYPE HTML") is True
    assert "GET /a.txt" in service.stderr
    assert service.stop() == -signal.SIGTERM
    assert not accepts(service.port)


def test_a_service_is_stopped_by_the_signal_that_is_asked_for(run_service):
    service = run_service("python -m http.server {port} --bind 127.0.0.1", bare=True)
    service.get("/")  # it listens before it is ready for the signal

    assert service.stop(signal.SIGINT) == 0


def test_a_stubborn_service_is_killed_with_its_whole_group(tmp_path):
    service = Service(
        ["python", "-c", STUBBORN],
        folder=tmp_path,
        bare=True,
        wait=lambda service: "up" in service.stdout and len(service.stdout.split()) == 3,
    )
    pids = [int(word) for word in service.stdout.split() if word != "up"]
    assert pids[0] == service.process.pid
    assert all(running(pid) for pid in pids)

    with pytest.raises(AssertionError, match="did not end within"):
        service.stop(timeout=0.2)
    wait_until(lambda: not any(running(pid) for pid in pids))


def test_a_service_that_ends_at_once_fails_with_its_output(tmp_path):
    with pytest.raises(AssertionError, match=r"(?s)ended with 3\n.*cannot go on"):
        Service(["python", "-c", "import sys; print('cannot go on'); sys.exit(3)"], folder=tmp_path, bare=True)


def test_a_service_that_never_listens_is_killed(tmp_path, monkeypatch):
    pid = tmp_path / "pid"

    def impatient(condition, what):
        wait_until(lambda: pid.exists() and pid.read_text().endswith("."))
        wait_until(condition, 0.1, what)

    monkeypatch.setattr(services, "wait_until", impatient)
    program = "import os, time; print(os.getpid(), end='.', file=open('pid', 'w'), flush=True); time.sleep(600)"

    with pytest.raises(AssertionError, match="for the port"):
        Service(["python", "-c", program], folder=tmp_path, bare=True)
    wait_until(lambda: not running(int(pid.read_text()[:-1])))


def test_nobody_has_to_be_waited_for(run_service):
    service = run_service(["python", "-c", "import sys; sys.exit(5)"], wait=None, bare=True)

    assert service.process.wait(30) == 5
    assert service.stop() == 5


@pytest.mark.parametrize("bare", [True, False])
def test_a_service_runs_under_the_agent_unless_it_is_bare(run_service, bare):
    program = "import sys; print('highlight_autoinstrument' in sys.modules)"
    service = run_service(["python", "-c", program], wait=None, bare=bare)

    assert service.process.wait(30) == 0
    assert service.stdout == f"{not bare}\n"


def test_services_do_not_share_ports_or_folders(run_service):
    command = "python -m http.server {port} --bind 127.0.0.1"
    one, two = (
        run_service(command, files={"name": "1"}, bare=True),
        run_service(command, files={"name": "2"}, bare=True),
    )

    assert (one.get("/name").text, two.get("/name").text) == ("1", "2")


def test_a_websocket_can_be_spoken(run_service):
    service = run_service("python app.py", files={"app.py": ECHO}, bare=True)

    with service.websocket("/", {"X-Highlight-Request": "s/r"}) as connection:
        connection.send("hello")
        assert connection.recv(10) == "s/r hello"


# What the agent says


def said(text, folder):
    program = f"import sys; sys.stderr.write({text!r})"
    service = Service(["python", "-c", program], folder=folder, bare=True, wait=None)
    service.process.wait(30)
    return service


def test_a_line_of_the_agent_fails_the_test_unless_expected(tmp_path):
    service = said("not highlight: ours\nhighlight: kafka is off\nhighlight: no project\n", tmp_path)

    assert service.agent_lines == ["highlight: kafka is off", "highlight: no project"]
    service.expect("no project")
    with pytest.raises(AssertionError, match="kafka is off"):
        service.check()
    service.expect("kafka")
    service.check()


def frame(file):
    return f'  File "{file}", line 1, in work\n    work()\n    ^^^^^^\n'


OURS = frame(services.AGENT[0].removeprefix('File "') + "wsgi.py")
THEIRS = frame("/srv/app.py")
HEAD = "Traceback (most recent call last):\n"


@pytest.mark.parametrize(
    ("text", "raised_in_ours"),
    [
        (HEAD + OURS + THEIRS + "ValueError: 1\n", 0),
        (HEAD + THEIRS + OURS + "ValueError: 1\n", 1),
        (HEAD + OURS + "ValueError: 1\n\nDuring handling ...:\n\n" + HEAD + THEIRS + "KeyError: 1\n", 1),
        (HEAD + THEIRS + "ValueError: 1\n" + OURS, 0),
        ("  + Exception Group Traceback (most recent call last):\n  | " + THEIRS.replace("\n", "\n  | ", 2), 0),
        ("    | " + HEAD + "    | " + OURS.replace("\n", "\n    | ", 2) + "    | ValueError: 1\n", 1),
        ("", 0),
    ],
)
def test_a_traceback_is_the_agents_if_it_was_raised_there(text, raised_in_ours, tmp_path):
    assert len(agent_tracebacks(text)) == raised_in_ours

    service = said(text, tmp_path)
    if raised_in_ours:
        with pytest.raises(AssertionError):
            service.check()
    else:
        service.check()


# Programs


def test_a_program_runs_once(run_python, receiver):
    done = run_python(
        "import os, sys; print(os.environ['HIGHLIGHT_OTLP_ENDPOINT'], os.environ['X']); sys.exit(4)", env={"X": "1"}
    )

    assert (done.returncode, done.stdout, done.stderr) == (4, f"{receiver.url} 1\n", "")


def test_a_program_runs_under_the_agent_or_without(run_python):
    program = "import sys; print('highlight_autoinstrument' in sys.modules)"

    assert run_python(program).stdout == "True\n"
    assert run_python(program, under_agent=False).stdout == "False\n"


def test_a_program_can_have_arguments_and_files(run_python):
    done = run_python(["main.py", "one"], files={"main.py": "import sys; print(sys.argv)"}, under_agent=False)

    assert done.stdout == "['main.py', 'one']\n"


def test_settings_of_the_shell_do_not_reach_a_program(monkeypatch):
    monkeypatch.setenv("HIGHLIGHT_DEBUG", "true")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shell")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    program = "import os; print([n for n in os.environ if n in ('HIGHLIGHT_DEBUG', 'OTEL_SERVICE_NAME', 'PYTHONPATH')])"

    assert run_program(program, under_agent=False).stdout == "[]\n"


def test_a_free_port_can_be_taken():
    other = Receiver(free_port())
    other.close()


def test_the_tests_run_in_the_environment_of_the_launcher():
    assert os.access(services.LAUNCHER, os.X_OK)
    assert services.LAUNCHER.parent == Path(sys.executable).parent
