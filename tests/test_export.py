"""What leaves the process, and what becomes of it when the receiver, the network or the settings are bad."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
import select
import socket
import ssl
import subprocess
import threading
from urllib.parse import urlsplit

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse

from tests.support.grpc_receiver import GrpcReceiver
from tests.support.receiver import Misbehaviour, Receiver
from tests.support.services import LAUNCHER, agent_environment, free_port, run_program

LOG = "import logging; logging.warning('one')"

# Each record is an export of its own: the next is made when the one before has arrived.
TWO_EXPORTS = """
import logging
from highlight_autoinstrument import flush
logging.warning("one")
assert flush(20)
logging.warning("two")
assert flush(20)
"""


TWO_RECORDS = """
import logging
from highlight_autoinstrument import trace
with trace("job"):
    logging.warning("one")
"""


def said(program):
    """What the agent said. The rest of stderr is the application's own."""
    return [line for line in program.stderr.splitlines() if line.startswith("highlight: ")]


def bodies(receiver):
    return [log.body for log in receiver.logs]


def sound(program, lines=0):
    """The program ended as it would have without us, and no traceback is ours."""
    assert program.returncode == 0, program.stderr
    assert "Traceback" not in program.stderr, program.stderr
    assert len(said(program)) == lines, program.stderr
    return said(program)


# What is sent


def test_an_export_is_gzipped_and_names_the_project(run_python, receiver):
    sound(run_python(LOG))
    (export,) = receiver.exports
    assert bodies(receiver) == ["one"]
    assert export.path == "/v1/logs"
    assert export.headers["content-encoding"] == "gzip"
    assert export.headers["content-type"] == "application/x-protobuf"
    assert export.headers["x-highlight-project"] == "1"
    assert receiver.logs[0].resource["highlight.project_id"] == "1"


def test_compression_and_headers_are_settings(run_python, receiver):
    env = {
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20secret,x-tenant=a",
    }
    sound(run_python(LOG, env=env))
    (export,) = receiver.exports
    assert bodies(receiver) == ["one"]
    assert "content-encoding" not in export.headers
    assert export.headers["authorization"] == "Bearer secret"
    assert export.headers["x-tenant"] == "a"


def test_credentials_in_the_url_are_sent_and_never_shown(receiver, tmp_path):
    url = receiver.url.replace("http://", "http://user:pass%21@")
    receiver.misbehave = [Misbehaviour(status=401)]
    program = run_program(TWO_EXPORTS, endpoint=url, folder=tmp_path, env={"HIGHLIGHT_DEBUG": "false"})
    (line,) = sound(program, lines=1)
    assert "HTTP 401" in line
    assert "pass" not in line
    assert [export.headers["authorization"] for export in receiver.exports] == ["Basic dXNlcjpwYXNzIQ=="] * 2


def test_a_connection_is_kept(run_python, receiver):
    sound(run_python(TWO_EXPORTS))
    assert bodies(receiver) == ["one", "two"]
    assert len({export.connection for export in receiver.exports}) == 1


def test_a_connection_that_the_receiver_has_closed_is_no_failure(run_python, receiver):
    receiver.misbehave = [Misbehaviour(), Misbehaviour(close=True)]
    sound(run_python(TWO_EXPORTS, env={"OTEL_BSP_SCHEDULE_DELAY": "0"}))
    assert bodies(receiver) == ["one", "two"]
    assert len({export.connection for export in receiver.exports}) == 2


def test_an_answer_that_closes_the_connection(run_python, receiver):
    receiver.misbehave = [Misbehaviour(headers={"Connection": "close"})]
    sound(run_python(TWO_EXPORTS))
    assert bodies(receiver) == ["one", "two"]


def test_the_export_is_no_part_of_the_work(run_python, receiver):
    program = """
import logging
from highlight_autoinstrument import flush, trace
logging.basicConfig(level="DEBUG", format="app: %(message)s")
with trace("job", session_secure_id="s", request_id="r"):
    logging.info("inside")
    assert flush(20)
"""
    result = run_python(program, env={"HIGHLIGHT_LOG_LEVEL": "DEBUG"})
    sound(result)
    assert result.stderr.splitlines() == ["app: inside"]
    assert [(span.name, span.session) for span in receiver.spans] == [("job", "s")]
    assert [(log.body, log.session) for log in receiver.logs] == [("inside", "s")]
    for export in receiver.exports:
        assert not {"x-highlight-request", "traceparent", "baggage"} & set(export.headers)


# Receivers that refuse


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500])
def test_what_a_receiver_refuses_is_lost_and_said_once(run_python, receiver, status):
    receiver.misbehave = [Misbehaviour(status=status)]
    (line,) = sound(run_python(TWO_EXPORTS), lines=1)
    assert f"HTTP {status}" in line
    assert "HIGHLIGHT_OTLP_ENDPOINT" in line
    assert bodies(receiver) == ["two"]
    assert len(receiver.exports) == 2


def test_a_redirect_is_not_followed(run_python, receiver):
    receiver.misbehave = [Misbehaviour(status=302, headers={"Location": receiver.url + "/elsewhere/v1/logs"})]
    (line,) = sound(run_python(TWO_EXPORTS), lines=1)
    assert "HTTP 302 Found, a redirect, which is not followed" in line
    assert [export.path for export in receiver.exports] == ["/v1/logs", "/v1/logs"]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_a_receiver_puts_off_is_sent_again(run_python, receiver, status):
    receiver.misbehave = [Misbehaviour(status=status, headers={"Retry-After": "0"})] * 2
    sound(run_python(TWO_EXPORTS))
    assert bodies(receiver) == ["one", "two"]
    assert [export.answered for export in receiver.exports] == [status, status, 200, 200]


@pytest.mark.parametrize("retry_after", ["1", "Sat, 01 Jan 2000 00:00:00 GMT", "nonsense", "-1", "\u0661"])
def test_every_retry_after_is_understood_or_ignored(run_python, receiver, retry_after):
    headers = {"Retry-After": retry_after.encode().decode("latin-1")}
    receiver.misbehave = [Misbehaviour(status=503, headers=headers)]
    sound(run_python(TWO_EXPORTS))
    assert bodies(receiver) == ["one", "two"]


@pytest.mark.parametrize("bad", [Misbehaviour(status=503, half=True), Misbehaviour(close=True)])
def test_a_broken_answer_is_tried_again(run_python, receiver, bad):
    receiver.misbehave = [bad]
    sound(run_python(TWO_EXPORTS))
    assert bodies(receiver) == ["one", "two"]


def test_an_answer_that_does_not_come_is_tried_again(run_python, receiver):
    receiver.misbehave = [Misbehaviour(hang=True)]
    sound(run_python(TWO_EXPORTS, env={"OTEL_EXPORTER_OTLP_TIMEOUT": "300"}))
    assert bodies(receiver) == ["one", "two"]


def test_a_part_that_was_rejected_is_said(run_python, receiver):
    partial = ExportLogsPartialSuccess(rejected_log_records=1, error_message="too old")
    receiver.misbehave = [
        Misbehaviour(body=ExportLogsServiceResponse(partial_success=partial).SerializeToString()),
        Misbehaviour(body=b"\xff\xff this is no protobuf"),
    ]
    (line,) = sound(run_python(TWO_EXPORTS), lines=1)
    assert "1 rejected: too old" in line
    assert bodies(receiver) == ["one", "two"]


def test_a_receiver_that_comes_back_gets_what_waited(tmp_path):
    port = free_port()
    program = """
import logging, sys
from highlight_autoinstrument import flush
logging.warning("one")
assert not flush(0.3)
print("ready", flush=True)
sys.stdin.readline()
logging.warning("two")
assert flush(30)
"""
    # A pipe of the test's own: the receiver is opened while the program runs.
    process = subprocess.Popen(
        [str(LAUNCHER), "python", "-c", program],
        env=agent_environment(f"http://127.0.0.1:{port}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    try:
        assert process.stdout.readline() == f"ready{os.linesep}"
        receiver = Receiver(port)
        try:
            _, stderr = process.communicate("go\n", timeout=60)
            receiver.settle()
            assert bodies(receiver) == ["one", "two"]
        finally:
            receiver.close()
        assert (process.returncode, "highlight: " in stderr) == (0, False)
    finally:
        process.kill()
        process.communicate()


def test_nobody_listens(tmp_path):
    program = run_program(LOG, endpoint=f"http://127.0.0.1:{free_port()}", folder=tmp_path)
    (line,) = sound(program, lines=1)
    assert "ConnectionRefusedError" in line
    assert "records are lost" in line


def test_a_failing_export_writes_nothing_into_the_applications_log(tmp_path):
    program = """
import logging
logging.basicConfig(level="DEBUG", format="app: %(message)s")
logging.info("one")
"""
    result = run_program(program, endpoint=f"http://127.0.0.1:{free_port()}", folder=tmp_path)
    sound(result, lines=1)
    assert [line for line in result.stderr.splitlines() if not line.startswith("highlight: ")] == ["app: one"]


def test_a_header_that_cannot_be_sent_is_said_without_its_value(run_python, receiver):
    (line,) = sound(run_python(LOG, env={"OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret%0D%0Ax"}), lines=1)
    assert "OTEL_EXPORTER_OTLP_HEADERS" in line
    assert "secret" not in line
    assert receiver.exports == []


def test_one_bad_record_takes_no_others_with_it(run_python, receiver):
    program = """
import logging
from highlight_autoinstrument import trace
from opentelemetry.trace import get_current_span
with trace("bad") as span:
    span.end(end_time=1 << 70)
with trace("good"):
    pass
"""
    (line,) = sound(run_python(program, env={"HIGHLIGHT_RAISE_ERRORS": "false"}), lines=1)
    assert "the export of a record" in line
    assert [span.name for span in receiver.spans] == ["good"]


# Proxies


class Proxy(Receiver):
    """A forwarding proxy, and the receiver behind it."""

    asked = ""

    def _take(self, request, body):
        self.asked = request.path
        request.path = urlsplit(request.path).path
        return super()._take(request, body)


def test_a_proxy_gets_the_whole_url_and_its_credentials(tmp_path):
    receiver = Proxy()
    env = {"HTTP_PROXY": receiver.url.replace("://", "://me:pa%20ss@"), "OTEL_EXPORTER_OTLP_HEADERS": "x-a=b"}
    sound(run_program(LOG, endpoint="http://collector.invalid:4318", env=env, folder=tmp_path))
    receiver.close()
    (export,) = receiver.exports
    assert bodies(receiver) == ["one"]
    assert receiver.asked == "http://collector.invalid:4318/v1/logs"
    assert export.headers["host"] == "collector.invalid:4318"
    assert export.headers["proxy-authorization"] == "Basic bWU6cGEgc3M="
    assert export.headers["x-a"] == "b"


@pytest.mark.parametrize("exempt", ["127.0.0.1", "*", "example.com,127.0.0.1"])
def test_no_proxy_names_those_that_are_reached_directly(run_python, receiver, exempt):
    env = {"http_proxy": f"http://127.0.0.1:{free_port()}", "no_proxy": exempt}
    sound(run_python(LOG, env=env))
    assert bodies(receiver) == ["one"]
    assert receiver.exports[0].path == "/v1/logs"


@pytest.mark.parametrize(
    ("variable", "endpoint", "value"),
    [
        ("HTTPS_PROXY", "https://collector.invalid", "http://tell:nobody@proxy.invalid:notaport"),
        ("https_proxy", "https://collector.invalid", "http://tell:nobody"),
        ("HTTP_PROXY", "http://collector.invalid", "tell:nobody@proxy.invalid:70000"),
        ("ALL_PROXY", "http://collector.invalid", "socks5://tell:nobody@proxy.invalid:1080"),
        ("http_proxy", "http://collector.invalid", "http://tell:nobody@[::1:1"),
    ],
)
def test_what_is_no_proxy_is_named_and_not_shown(tmp_path, variable, endpoint, value):
    program = run_program(TWO_RECORDS, endpoint=endpoint, env={variable: value}, folder=tmp_path)
    (line,) = sound(program, lines=1)
    assert line.startswith(f"highlight: {variable} is not the URL of an HTTP proxy (http://host:port): nothing is sent")
    assert not re.search("tell|nobody|proxy.invalid", line)


class Tunnel:
    """An HTTP proxy that knows nothing but CONNECT, and leads every host to one port."""

    def __init__(self, port):
        self.asked = b""
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with self._listener:
            client, _ = self._listener.accept()
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            while b"\r\n\r\n" not in self.asked:
                self.asked += client.recv(4096)
            client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            ends = {client: server, server: client}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    data = end.recv(65_536)
                    if not data:
                        return
                    ends[end].sendall(data)

    def close(self):
        self._thread.join(20)


# TLS


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A certificate authority, and one certificate of its making for this machine."""
    folder = tmp_path_factory.mktemp("certificates")
    now = dt.datetime.now(dt.timezone.utc)

    def certificate(name, issuer, issuer_key, extensions):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder(issuer or subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        issuer_key = issuer_key or key
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        made = builder.sign(issuer_key, hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return made, key

    signing = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    ca, ca_key = certificate("ca", None, None, [(x509.BasicConstraints(True, None), True), (signing, True)])
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("collector.invalid"),
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
    )
    certificate("server", ca.subject, ca_key, [(names, False)])
    certificate("client", ca.subject, ca_key, [])
    return folder


@pytest.fixture
def tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    return context


@pytest.fixture
def tls_receiver(tls):
    receiver = Receiver(tls=tls)
    yield receiver
    receiver.close()
    assert receiver.faults == []


def test_a_private_certificate_authority(tls_receiver, authority, tmp_path):
    env = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority / "ca.pem")}
    sound(run_program(TWO_EXPORTS, endpoint=tls_receiver.url, env=env, folder=tmp_path))
    assert bodies(tls_receiver) == ["one", "two"]
    assert len({export.connection for export in tls_receiver.exports}) == 1


def test_a_certificate_that_nobody_vouches_for(tls_receiver, tmp_path):
    (line,) = sound(run_program(LOG, endpoint=tls_receiver.url, folder=tmp_path), lines=1)
    assert "CERTIFICATE_VERIFY_FAILED" in line
    assert bodies(tls_receiver) == []


@pytest.mark.parametrize("variable", ["CERTIFICATE", "CLIENT_CERTIFICATE"])
def test_a_certificate_file_that_is_not_there(tls_receiver, variable, tmp_path):
    env = {f"OTEL_EXPORTER_OTLP_{variable}": "/nowhere.pem"}
    (line,) = sound(run_program(LOG, endpoint=tls_receiver.url, env=env, folder=tmp_path), lines=1)
    assert "a certificate's file cannot be used" in line
    assert "/nowhere.pem" in line


def test_a_receiver_that_asks_for_our_certificate(tls, authority, tmp_path):
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(authority / "ca.pem")
    receiver = Receiver(tls=tls)
    env = {
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority / "ca.pem"),
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(authority / "client.pem"),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(authority / "client.key"),
    }
    try:
        sound(run_program(LOG, endpoint=receiver.url, env=env, folder=tmp_path))
        assert bodies(receiver) == ["one"]
    finally:
        receiver.close()


def test_a_tunnel_through_a_proxy(tls_receiver, authority, tmp_path):
    tunnel = Tunnel(tls_receiver.port)
    env = {
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority / "ca.pem"),
        "HTTPS_PROXY": tunnel.url.replace("://", "://me:pass@"),
    }
    sound(run_program(LOG, endpoint="https://collector.invalid:4318", env=env, folder=tmp_path))
    tunnel.close()
    assert bodies(tls_receiver) == ["one"]
    head, *lines = tunnel.asked.decode().split("\r\n")
    assert head.startswith("CONNECT collector.invalid:4318 HTTP/1.")
    assert "Proxy-Authorization: Basic bWU6cGFzcw==" in lines
    assert "proxy-authorization" not in tls_receiver.exports[0].headers


# gRPC


GRPC = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}


def test_grpc_carries_the_same(grpc_receiver, tmp_path):
    env = {**GRPC, "OTEL_EXPORTER_OTLP_HEADERS": "X-Tenant=a"}
    sound(run_program(TWO_EXPORTS, endpoint=grpc_receiver.url, env=env, folder=tmp_path))
    assert bodies(grpc_receiver) == ["one", "two"]
    for metadata in grpc_receiver.metadata:
        assert (metadata["x-highlight-project"], metadata["x-tenant"]) == ("1", "a")
        assert "x-highlight-request" not in metadata


def test_exports_by_grpc_are_no_calls_to_debugging(grpc_receiver, tmp_path):
    done = run_program(LOG, endpoint=grpc_receiver.url, env={**GRPC, "HIGHLIGHT_DEBUG": "true"}, folder=tmp_path)
    assert "highlight: export of 1 logs: gRPC OK" in done.stderr
    assert "call to" not in done.stderr


def test_grpc_with_a_private_certificate_authority(authority, tmp_path):
    key, chain = ((authority / name).read_bytes() for name in ("server.key", "server.pem"))
    receiver = GrpcReceiver(grpc.ssl_server_credentials([(key, chain)]))
    env = {**GRPC, "OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority / "ca.pem")}
    try:
        sound(run_program(LOG, endpoint=receiver.url, env=env, folder=tmp_path))
        assert bodies(receiver) == ["one"]
    finally:
        receiver.close()


def test_grpc_with_nobody_there(tmp_path):
    program = run_program(LOG, endpoint=f"http://127.0.0.1:{free_port()}", env=GRPC, folder=tmp_path)
    (line,) = sound(program, lines=1)
    assert "gRPC UNAVAILABLE" in line


# Batches, the queue and the thread


def counts(program):
    return [int(count) for count in re.findall(r"highlight: export of (\d+) logs: HTTP 200", program.stderr)]


def test_a_full_batch_goes_at_once_and_the_rest_after_the_delay(run_python, receiver):
    program = """
import logging
from highlight_autoinstrument import flush
for number in range(25):
    logging.warning("%s", number)
assert flush(20)
"""
    env = {
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
        "OTEL_BSP_SCHEDULE_DELAY": "3600000",
        "HIGHLIGHT_DEBUG": "true",
    }
    result = run_python(program, env=env)
    assert result.returncode == 0, result.stderr
    assert sum(counts(result)) == 25
    assert max(counts(result)) <= 10
    assert bodies(receiver) == [str(number) for number in range(25)]


def test_records_wait_for_the_delay_and_go_together(run_python, receiver):
    program = """
import logging, time
for number in range(25):
    logging.warning("%s", number)
    time.sleep(0.001)
"""
    result = run_python(program, env={"OTEL_BSP_SCHEDULE_DELAY": "3600000", "HIGHLIGHT_DEBUG": "true"})
    assert counts(result) == [25]
    assert len(receiver.logs) == 25


def test_records_arrive_without_a_flush_whenever_they_come(run_python, receiver):
    # Each record comes at about the moment at which the thread has found the queue empty.
    program = """
import logging, os, time
from highlight_autoinstrument import pipeline
for number in range(300):
    logging.warning("%s", number)
    while pipeline._queue:
        time.sleep(0)
while pipeline._queue or pipeline._sender.wants != 1:
    time.sleep(0.01)
os._exit(0)  # no flush: what arrives has been sent by the thread alone
"""
    sound(run_python(program, env={"OTEL_BSP_SCHEDULE_DELAY": "0"}, timeout=120))
    assert bodies(receiver) == [str(number) for number in range(300)]


def test_large_records_make_several_exports(run_python, receiver):
    program = """
import logging
for number in range(150):
    logging.warning("%s " + "x" * 60_000, number)
"""
    sound(run_python(program, env={"OTEL_EXPORTER_OTLP_COMPRESSION": "none", "OTEL_BSP_SCHEDULE_DELAY": "5000"}))
    assert [body.split()[0] for body in bodies(receiver)] == [str(number) for number in range(150)]
    assert max(export.size for export in receiver.exports) < 4 << 20


def test_what_an_applications_tests_put_in_place_of_http_client_does_not_see_exports(run_python, receiver):
    program = """
import http.client, logging
from unittest import mock
from highlight_autoinstrument import flush
logging.warning("before")
names = ["request", "putrequest", "putheader", "endheaders", "send", "getresponse", "connect", "close"]
with mock.patch.multiple(http.client.HTTPConnection, **{name: mock.DEFAULT for name in names}) as seen:
    with mock.patch.object(http.client, "HTTPConnection") as whole:
        logging.warning("meanwhile")
        assert flush()
    assert not whole.called
    assert not [name for name, stand_in in seen.items() if stand_in.called]
"""
    sound(run_python(program))
    assert bodies(receiver) == ["before", "meanwhile"]


def test_the_oldest_are_dropped_and_counted(run_python, receiver):
    receiver.misbehave = [Misbehaviour(status=503, headers={"Retry-After": "2"})]
    program = """
import logging, time
from highlight_autoinstrument import flush, pipeline
logging.warning("first")
while not pipeline._sender._retry_at:
    time.sleep(0.01)  # not by a flush: of several at a time, the last sends once more
for number in range(500):
    logging.warning("%s", number)
assert flush(30)
"""
    result = run_python(program, env={"OTEL_BSP_MAX_QUEUE_SIZE": "50", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10"})
    assert result.returncode == 0, result.stderr
    dropped = [int(number) for number in re.findall(r"highlight: (\d+) records were dropped", result.stderr)]
    assert 1 <= len(dropped) <= 2  # at once, and the rest at exit
    assert sum(dropped) + len(receiver.logs) == 501
    assert len(receiver.logs) <= 110
    assert bodies(receiver)[-1] == "499"
    assert len(said(result)) == len(dropped)


def test_of_an_outage_errors_stay_longest_and_spans_go_first(run_python, receiver):
    receiver.misbehave = [Misbehaviour(status=503, headers={"Retry-After": "60"})]
    program = """
import logging, time
from highlight_autoinstrument import flush, pipeline, trace
logging.warning("first")
while not pipeline._sender._retry_at:
    time.sleep(0.01)  # not by a flush: of several at a time, the last sends once more
for number in range(60):
    for _ in range(5):
        with trace("plain"):
            pass
    logging.warning("line %s", number)
    if number % 3 == 0:
        with trace("failing") as span:
            span.record_exception(LookupError(number))
    if number % 6 == 0:
        logging.error("failed", exc_info=ValueError(number))
    while len(pipeline._queue) >= 20:  # until the thread has come
        time.sleep(0.005)
assert flush(30)
"""
    env = {"OTEL_BSP_MAX_QUEUE_SIZE": "60", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "20"}
    result = run_python(program, env=env)
    assert result.returncode == 0, result.stderr
    messages = [(error.type, error.message) for error in receiver.errors]
    assert [message for kind, message in messages if kind == "LookupError"] == [str(n) for n in range(0, 60, 3)]
    assert [message for kind, message in messages if kind == "ValueError"] == [str(n) for n in range(0, 60, 6)]
    lines = [body for body in bodies(receiver) if body.startswith("line")]
    assert lines == [f"line {number}" for number in range(60 - len(lines), 60)]
    assert 20 <= len(lines) < 40  # what the errors leave of sixty places
    assert len([span for span in receiver.spans if span.name == "plain"]) <= 20
    dropped = sum(int(number) for number in re.findall(r"highlight: (\d+) records were dropped", result.stderr))
    assert dropped + len(receiver.spans) + len(receiver.logs) == 1 + 60 * 6 + 20 + 10


def test_errors_wait_in_compressed_form(run_python, receiver):
    receiver.misbehave = [Misbehaviour(status=503, headers={"Retry-After": "60"})]
    program = """
import logging, time
from highlight_autoinstrument import flush, pipeline
logging.warning("first")
while not pipeline._sender._retry_at:
    time.sleep(0.01)
for number in range(200):
    try:
        raise LookupError(number)
    except LookupError:
        logging.exception("failed")
while len(pipeline._queue) >= 50:  # until the thread has come
    time.sleep(0.01)
waiting = [batch for batch in list(pipeline._sender._batches) if batch.errors]
errors = sum(batch.records for batch in waiting)
held = sum(len(batch.body) for batch in waiting)
assert errors >= 100, waiting
assert held < errors * 400, held  # a traceback alone is more
assert flush(30)
"""
    result = run_python(program, env={"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "50"})
    assert (result.returncode, said(result)) == (0, []), result.stderr
    assert sorted(int(error.message) for error in receiver.errors) == list(range(200))


def test_what_comes_faster_than_it_can_be_sent_waits_packed(run_python, receiver):
    receiver.misbehave = [Misbehaviour(delay_seconds=3)]
    program = """
import logging, time
from highlight_autoinstrument import flush, pipeline
logging.warning("first")
while not pipeline._sender._batches:
    time.sleep(0.01)  # from now on the thread waits for the receiver
loose = []
for number in range(5000):
    logging.warning("%s", number)
    loose.append(len(pipeline._queue))
assert max(loose) <= 1024, max(loose)
assert len(pipeline._sender._packed) >= 7, pipeline._sender._packed
assert flush(30)
"""
    sound(run_python(program, env={"HIGHLIGHT_LOG_LEVEL": "INFO"}))
    assert bodies(receiver) == ["first", *(str(number) for number in range(5000))]


def test_what_waits_is_bounded_in_bytes(run_python, receiver):
    program = """
import logging, os, time
from highlight_autoinstrument import flush, pipeline
for number in range(600):
    logging.warning(os.urandom(30_000).hex())
    if number % 50 == 49:
        flush(0.2)
sender = pipeline._sender
def size():
    return sum(len(batch.body) for batch in sender._batches.copy())
while pipeline._queue or not sender._told_dropped or size() > 3_000_000:
    time.sleep(0.01)  # the thread may be between adding and dropping
os._exit(0)
"""
    receiver.misbehave = [Misbehaviour(status=503, headers={"Retry-After": "60"})] * 1000
    (line,) = sound(run_python(program, env={"HIGHLIGHT_LOG_LEVEL": "INFO"}, timeout=120), lines=1)
    assert "records were dropped" in line


def test_the_thread_comes_with_the_first_record_and_keeps_still(run_python, receiver):
    program = """
import logging, sys, threading, time
assert threading.active_count() == 1
assert "highlight_autoinstrument.pipeline" not in sys.modules
logging.warning("one")
(thread,) = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
assert (thread.name, thread.daemon) == ("highlight-export", True)

from highlight_autoinstrument import flush
assert flush(20)

def wakings():
    with open(f"/proc/self/task/{thread.native_id}/status") as file:
        return [line for line in file if "voluntary" in line]

deadline = time.monotonic() + 20
before = None
while before != (before := wakings()) and time.monotonic() < deadline:
    time.sleep(0.3)  # until it sleeps; a thread that looks around every so often never does
assert before == wakings()
print("still")
"""
    result = run_python(program)
    sound(result)
    assert result.stdout == "still\n"


# The settings that switch it off


def test_off(receiver, tmp_path):
    sound(run_program(LOG, endpoint=receiver.url, env={"HIGHLIGHT_ENABLED": "false"}, folder=tmp_path))
    assert receiver.exports == []


FORWARD = """
import http.client, sys
from highlight_autoinstrument import trace
with trace("job", session_secure_id="session", request_id="request"):
    connection = http.client.HTTPConnection("127.0.0.1", {port})
    connection.request("POST", "/seen")
    connection.getresponse().read()
"""


def test_without_a_project_nothing_is_exported_but_the_ids_go_on(receiver, tmp_path):
    receiver.misbehave = [Misbehaviour(status=404)]
    program = run_program(FORWARD.format(port=receiver.port), folder=tmp_path)
    (line,) = sound(program, lines=1)
    assert "HIGHLIGHT_PROJECT_ID is not set" in line
    assert [(export.path, export.headers["x-highlight-request"]) for export in receiver.exports] == [
        ("/seen", "session/request")
    ]


def test_a_malformed_project_id_is_said(run_python):
    (line,) = sound(run_python(LOG, env={"HIGHLIGHT_PROJECT_ID": "My Project"}), lines=1)
    assert "'My Project' is neither an integer nor a hashid" in line
