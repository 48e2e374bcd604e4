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
        "memory: Flask, after its requests",
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
        "requests per second: Flask, gunicorn",
        "99th percentile: Flask, gunicorn",
        "requests per second: FastAPI, uvicorn",
        "99th percentile: FastAPI, uvicorn",
        "modules: empty program",
        "modules: Flask + requests ready",
    ]
    for figure, values in report["measured"].items():
        assert list(values) == ["bare", "highlight"], figure
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
        found = protocols.records(protocols.Export(path, encoding, body))
        return {kind: found[kind] for kind in ("spans", "logs", "errors")}

    spans = [{"name": "request", "error": 0, "meta": {}, "id": 2**63}, {"name": "x" * 300, "error": 1, "start": -1}]
    assert counted("/v0.4/traces", msgpack.packb([spans, spans[:1]])) == {"spans": 3, "logs": 0, "errors": 1}
    packed = [[0, 1, 2, 3, 4, 5, 6, 7, error, {}, {1: 0.5}, 0] for error in (0, 1)]
    assert counted("/v0.5/traces", msgpack.packb([["", "a"], [packed]])) == {"spans": 2, "logs": 0, "errors": 1}

    transaction = json.dumps({"spans": [{}, {}]}).encode()
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
    assert counted("/api/1/envelope/", gzip.compress(envelope), "gzip") == {"spans": 3, "logs": 7, "errors": 1}

    logs = json.dumps([{"logs": [{"attributes": {"error.class": "LookupError"}}, {"attributes": {}}]}]).encode()
    assert counted("/newrelic/log_event_data", logs) == {"spans": 0, "logs": 2, "errors": 1}
    assert counted("/newrelic/span_event_data", b"[1, {}, [1, 2, 3]]") == {"spans": 3, "logs": 0, "errors": 0}
    assert counted("/newrelic/connect", b"") == {"spans": 0, "logs": 0, "errors": 0}
