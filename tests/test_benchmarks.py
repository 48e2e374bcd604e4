"""The benchmarks run, and every record that they count arrives; what anything costs is no matter of a test."""

from __future__ import annotations

import gzip
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def benchmarks(*arguments):
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), "--here", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_figure_is_measured_bare_and_with_the_agent_and_every_record_arrives(tmp_path):
    done = benchmarks("--quick", "--json", tmp_path / "out.json", "--markdown", tmp_path / "out.md")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    report = json.loads((tmp_path / "out.json").read_text())
    assert list(report["measured"]) == [
        "launcher",
        "start: empty program",
        "start: empty program, with its launcher",
        "start: Flask + requests ready",
        "start: Flask + requests ready, with its launcher",
        "start: Flask, first requests",
        "start: Flask, first requests, with its launcher",
        "per request: Flask",
        "per request: FastAPI",
        "per request: FastAPI, uvicorn",
        "per request: Django",
        "per failing request: Flask",
        "per call: requests",
        "per call: httpx",
        "per log record",
        "per logged exception",
        "per Kafka message: sent",
        "per Kafka message: read",
        "memory: Flask + requests ready",
        "memory: Flask, after its requests",
        "requests per second: Flask, gunicorn",
        "99th percentile: Flask, gunicorn",
        "requests per second: FastAPI, uvicorn",
        "99th percentile: FastAPI, uvicorn",
        "modules: empty program",
        "modules: Flask + requests ready",
    ]
    for figure, values in report["measured"].items():
        assert set(values) == {"bare", "highlight"}, figure
        assert [len(rounds) for rounds in values.values()] == [1, 1], figure
    arrived = {row["figure"]: row["arrived"] for row in report["summary"] if row["arrived"] is not None}
    assert len(arrived) == 13
    assert set(arrived.values()) == {1}
    assert "| per request: Flask, us |" in (tmp_path / "out.md").read_text()


def test_what_grows_is_measured_too(tmp_path):
    done = benchmarks("--quick", "--growth", "--json", tmp_path / "out.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    report = json.loads((tmp_path / "out.json").read_text())
    assert len(report["measured"]) == 5
    assert [row["arrived"] for row in report["summary"] if row["environment"] == "highlight"] == [1, 1, 1, 1, None]


def test_an_agent_that_sends_nothing_is_said_to_and_compared_with_nobody(tmp_path):
    run = [sys.executable, str(BENCHMARKS / "run.py"), "--here", "--quick", "--only", "per log record"]
    off = tmp_path / "off.py"
    off.write_text(
        "import runpy, sys\n"
        f"sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "import environments\n"
        "variables = (*environments.OURS.variables, ('HIGHLIGHT_ENABLED', 'false'))\n"
        "environments.ENVIRONMENTS = (environments.BARE, environments.OURS._replace(variables=variables))\n"
        "sys.argv[:] = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    done = subprocess.run([run[0], str(off), *run[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == (
        "! highlight sent no logs for 'per log record': what it adds there is not the cost of the job\n"
    )
    assert "no logs" in done.stdout


@pytest.fixture(scope="module")
def protocols():
    spec = importlib.util.spec_from_file_location("benchmarks_protocols", BENCHMARKS / "protocols.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_records_of_the_other_agents_are_counted(protocols):
    def counted(path, body, encoding=""):
        return +protocols.records(protocols.Export(path, encoding, body))

    request = {"name": "flask.request", "type": "web", "error": 1, "meta": {}, "id": 2**63}
    inner = {"name": "flask." + "x" * 300, "error": 1, "start": -1}
    assert counted("/v0.4/traces", msgpack.packb([[request, inner]])) == {"requests": 1, "errors": 1}
    texts = ["", "django.request", "web", "requests.request", "http", "kafka.produce"]
    packed = [[0, name, 0, 3, 4, 5, 6, 7, 0, {}, {1: 0.5}, kind] for name, kind in ((1, 2), (3, 4), (5, 0), (0, 0))]
    assert counted("/v0.5/traces", msgpack.packb([texts, [packed]])) == {"requests": 1, "calls": 1, "messages": 1}

    transaction = json.dumps({"spans": [{"op": "http.client"}, {"op": "middleware"}]}).encode()
    envelope = b"\n".join(
        [
            b"{}",
            b'{"type": "transaction", "length": %d}' % len(transaction),
            transaction,
            b'{"type": "event"}',
            b"{}",
            b'{"type": "log", "item_count": 7}',
            b'{"items": []}',
        ]
    )
    sent = {"requests": 1, "calls": 1, "logs": 7, "errors": 1}
    assert counted("/api/1/envelope/", gzip.compress(envelope), "gzip") == sent

    logs = json.dumps([{"logs": [{"attributes": {"error.class": "LookupError"}}, {"attributes": {}}]}]).encode()
    assert counted("/newrelic/log_event_data", logs) == {"logs": 2, "errors": 1}
    spans = [[{"category": "http", "name": "External"}], [{"category": "generic", "name": "Topic/Produce/Named/sent"}]]
    assert counted("/newrelic/span_event_data", json.dumps([1, {}, spans]).encode()) == {"calls": 1, "messages": 1}
    transactions = [[{"name": "WebTransaction/Function/order"}], [{"name": "OtherTransaction/Message/Kafka"}]]
    body = json.dumps([1, {}, transactions]).encode()
    assert counted("/newrelic/analytic_event_data", body) == {"requests": 1, "messages": 1}
    assert counted("/newrelic/connect", b"") == {}

    def field(number, value):
        return bytes([number << 3, value]) if isinstance(value, int) else bytes([number << 3 | 2, len(value)]) + value

    named = [field(5, b"GET /orders"), field(5, b"GET /orders http send")]
    kinds = [field(6, kind) + b"\x39" + bytes(8) for kind in (1, 2, 3, 5)]
    scope = b"".join(field(2, span) for span in [*named, *kinds])
    sent = {"requests": 2, "calls": 1, "messages": 1}
    assert counted("/v1/traces", field(1, field(2, scope))) == sent
