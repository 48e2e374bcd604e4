"""Collectors between the agent and its receivers: examples/collector/, one of which runs here."""

from __future__ import annotations

import http.client
import re
from collections import Counter
from importlib.metadata import version
from importlib.util import find_spec

import pytest
import yaml

from tests.environment import ROOT
from tests.support.receiver import PROTOBUF, SIGNALS, Receiver
from tests.support.services import PATIENCE_SECONDS, Service, accepts, free_port, wait_until

FOLDER = ROOT / "examples" / "collector"
README = (FOLDER / "README.md").read_text()
SESSION = "TheSessionOfSomebodyWhoX1234"
HEADERS = {"x-highlight-request": f"{SESSION}/0123456789"}
APPLICATION = """
import logging

from flask import Flask

import highlight_autoinstrument as highlight

app = Flask("shop")


@app.get("/orders/<int:number>")
def order(number):
    highlight.record_count("orders", 1, {"shop": "main"})
    logging.getLogger("shop").warning("order %d", number)
    if number == 13:
        raise KeyError(number)
    return "ordered"
"""
SPANS = [("shop", "SERVER", "GET /orders/<int:number>", SESSION, status) for status in ("UNSET", "ERROR")]
LOGS = [
    ("shop", "WARN", "shop", "order 1", SESSION),
    ("shop", "WARN", "shop", "order 13", SESSION),
    ("shop", "ERROR", "shop", "Exception on /orders/13 [GET]", SESSION),
]
ERRORS = [("KeyError", "13", SESSION)]

with_rotel = pytest.mark.skipif(find_spec("rotel") is None, reason="PyPI has it for Linux on x86-64 alone")


@pytest.fixture
def start_rotel(tmp_path):
    """Rotel as the folder's README starts it, and in that version."""
    assert f"pip install rotel=={version('rotel')}\n" in README
    (command,) = re.findall(r"^\((.*rotel-agent.*)\) &$", README, re.MULTILINE)
    started = []

    def start(highlight, other):
        port = free_port()
        env = {
            "LISTEN": f"127.0.0.1:{port}",
            "LISTEN_GRPC": f"127.0.0.1:{free_port()}",
            "HIGHLIGHT_ENDPOINT": highlight,
            "OTHER_ENDPOINT": other,
            "HIGHLIGHT_PROJECT_ID": "7",
        }
        words = ["sh", "-c", f"cd '{ROOT}'; {command}"]
        rotel = Service(words, folder=tmp_path / "rotel", env=env, bare=True, name="rotel", port=port)
        started.append(rotel)
        return rotel

    yield start
    for rotel in started:
        assert rotel.stop() == 0, rotel.output


@pytest.fixture
def other():
    """A second receiver."""
    server = Receiver()
    yield server
    server.close()
    assert server.faults == []


def use(service):
    """One order that is taken, and one that fails."""
    assert [service.get(f"/orders/{number}", HEADERS).status for number in (1, 13)] == [200, 500]


def told(receiver):
    """What a receiver of traces and logs has."""
    return (
        [(span.service, span.kind, span.name, span.session, span.status) for span in receiver.spans],
        [(log.service, log.severity_text, log.logger, log.body, log.session) for log in receiver.logs],
        [(error.type, error.message, error.session) for error in receiver.errors],
    )


def metrics(receiver):
    """What a receiver of metrics has: how many orders of which shop."""
    orders = Counter()
    for metric in receiver.metrics:
        for given, number in metric.points:
            orders[metric.name, given["shop"]] += number
    return orders


def serve(run_service, endpoint):
    """The application; without the server's own records, which are of level INFO."""
    env = {"HIGHLIGHT_LOG_LEVEL": "WARN"}
    command = "flask run --port {port}"
    return run_service(command, files={"app.py": APPLICATION}, name="shop", endpoint=endpoint, env=env)


@with_rotel
def test_all_of_an_application_comes_through_rotel_to_its_receivers(start_rotel, run_service, receiver, other):
    rotel = start_rotel(receiver.url, other.url)

    use(serve(run_service, rotel.url))

    receiver.wait(spans=2, logs=3)
    wait_until(lambda: metrics(other)["orders", "main"] == 2, what="for the metrics")
    other.settle()
    assert told(receiver) == (SPANS, LOGS, ERRORS)
    assert metrics(other) == {("orders", "main"): 2}
    assert {record.resource["highlight.project_id"] for record in receiver.spans + receiver.logs} == {"1"}
    assert (receiver.metrics, other.spans, other.logs) == ([], [], [])
    assert {export.headers["x-highlight-project"] for export in receiver.exports} == {"7"}


@with_rotel
def test_rotel_changes_nothing(start_rotel, run_service, receiver, other):
    use(serve(run_service, other.url))
    other.wait(spans=2, logs=3)
    rotel = start_rotel(receiver.url, "http://127.0.0.1:1")
    for export, body in zip(other.exports, other.bodies, strict=True):
        if SIGNALS[export.path] != "metrics":
            connection = http.client.HTTPConnection("127.0.0.1", rotel.port, timeout=PATIENCE_SECONDS)
            connection.request("POST", export.path, body, {"Content-Type": PROTOBUF})
            assert connection.getresponse().status == 200
            connection.close()

    receiver.wait(spans=2, logs=3)
    assert told(other) == (SPANS, LOGS, ERRORS)
    assert receiver.spans == other.spans
    assert receiver.logs == other.logs


@with_rotel
def test_a_receiver_that_is_away_holds_up_no_other_and_has_all_when_it_is_back(start_rotel, run_service, other):
    port = free_port()
    rotel = start_rotel(f"http://127.0.0.1:{port}", other.url)
    service = serve(run_service, rotel.url)
    use(service)
    wait_until(lambda: rotel.stdout.count("Exporting failed") > 1, what="for rotel to see that it is away")
    use(service)
    wait_until(lambda: metrics(other)["orders", "main"] == 4, what="for the metrics")
    assert not accepts(port)

    back = Receiver(port)
    try:
        back.wait(spans=4, logs=6)
        spans, logs, errors = told(back)
    finally:
        back.close()
    assert (spans, logs, errors) == (SPANS * 2, LOGS * 2, ERRORS * 2)
    assert back.faults == []
    assert metrics(other) == {("orders", "main"): 4}


def test_the_configuration_of_the_opentelemetry_collector_is_whole():
    """No Collector runs here: each pipeline has what is defined, all is in use, and both receivers get each signal."""
    text = (FOLDER / "config.yaml").read_text()
    config = yaml.safe_load(text)

    kinds = ("receivers", "processors", "exporters")
    assert set(config) == {*kinds, "service"}
    pipelines = config["service"]["pipelines"]
    assert set(pipelines) == set(SIGNALS.values())
    for pipeline in pipelines.values():
        assert {kind: sorted(pipeline[kind]) for kind in kinds} == {kind: sorted(config[kind]) for kind in kinds}
        assert pipeline["processors"] == ["memory_limiter", "batch"], "in the order that the Collector asks for"
    assert list(config["receivers"]) == ["otlp"]
    assert sorted(config["exporters"]) == ["otlphttp/highlight", "otlphttp/other"]
    for exporter in config["exporters"].values():
        assert exporter["sending_queue"] == {"queue_size": 5000}, "one of its own, so that neither holds up the other"
        assert exporter["retry_on_failure"] == {"max_elapsed_time": "1h"}
    names = re.findall(r"\$\{env:(\w+):-[^}]+\}", text)
    assert len(names) == text.count("${"), "each variable has a default"
    assert [name for name in names if f"`{name}`" not in README and f"{name}=" not in README] == []
