"""Metrics, log records and HTTP errors that an application reports by name, as with Highlight's own SDK."""

from __future__ import annotations

from tests.faults.applications import INJECT, PACKAGE
from tests.support.services import wait_until

API = "import highlight_autoinstrument as highlight\n"


def run(run_python, code, **options):
    done = run_python(API + code, **options)
    assert done.returncode == 0, done.stderr
    return done


def points(receiver):
    return [(metric.name, metric.kind, metric.points) for metric in receiver.metrics]


def test_each_kind_of_metric_is_aggregated_and_sent(run_python, receiver):
    done = run(
        run_python,
        """
for value in (3, 4):
    highlight.record_metric("temperature", value)
    highlight.record_count("orders", value, {"shop": "a"})
    highlight.record_incr("orders", {"shop": "b"})
    highlight.record_up_down_counter("queue", value - 6)
    highlight.record_histogram("size", value * 2, {"big": True})
assert highlight.flush()
highlight.record_incr("orders", {"shop": "b"})
highlight.record_up_down_counter("queue", 1)
""",
        env={"OTEL_BSP_SCHEDULE_DELAY": "60000"},
    )

    assert done.stderr == ""
    assert points(receiver) == [
        ("temperature", "gauge", [({}, 4)]),
        ("orders", "sum", [({"shop": "a"}, 7)]),
        ("orders", "sum", [({"shop": "b"}, 2)]),
        ("queue", "sum", [({}, -5)]),
        ("size", "histogram", [({"big": "true"}, (2, 14))]),
        ("orders", "sum", [({"shop": "b"}, 1)]),
        ("queue", "sum", [({}, -4)]),
    ]
    histogram = next(metric.data for metric in receiver.metrics if metric.kind == "histogram")
    (point,) = histogram.data_points
    assert list(point.bucket_counts) == [0, 0, 2] + [0] * 13
    assert (len(point.explicit_bounds), histogram.aggregation_temporality) == (15, 1)
    sums = [metric.data for metric in receiver.metrics if metric.kind == "sum"]
    assert [(data.aggregation_temporality, data.is_monotonic) for data in sums[:3]] == [
        (1, True),
        (1, True),
        (2, False),
    ]
    for metric in receiver.metrics:
        for point in metric.data.data_points:
            assert 0 < point.start_time_unix_nano <= point.time_unix_nano
    assert (receiver.spans, receiver.logs, receiver.errors) == ([], [], [])


def test_recording_does_not_wait_while_what_was_recorded_is_encoded(run_python, receiver):
    done = run(
        run_python,
        """
import time

began = last = time.monotonic()
longest = 0
while last - began < 2:
    highlight.record_incr("orders")
    now = time.monotonic()
    last, longest = now, max(longest, now - last)
print(longest)
""",
        env={
            "PYTHONPATH": str(INJECT),
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "HIGHLIGHT_FAULTS_PACKAGE": f"{PACKAGE}/",
            "HIGHLIGHT_FAULTS_SET": "otlp.metric hang",
            "HIGHLIGHT_FAULTS_HANG": "5",
        },
    )

    assert float(done.stdout) < 3


def test_metrics_alone_are_sent_while_the_program_runs(run_service, receiver):
    program = API + "highlight.record_incr('one')\nprint('done', flush=True)\nimport time; time.sleep(60)"
    service = run_service(["python", "-c", program], wait=lambda service: "done" in service.stdout)

    wait_until(lambda: receiver.metrics)
    assert points(receiver) == [("one", "sum", [({}, 1)])]
    assert service.process.poll() is None


def test_what_is_no_number_is_said_and_ignored(run_python, receiver):
    done = run(
        run_python,
        """
highlight.record_metric("a", "high")
highlight.record_count("b", -1)
highlight.record_histogram("c", float("nan"))
highlight.record_up_down_counter("d", True)
for number in range(3000):
    highlight.record_incr("e", {"number": number})
""",
    )

    assert [line.removeprefix("highlight: ") for line in done.stderr.splitlines()] == [
        "the gauge 'a' takes a number, not 'high'; it is ignored",
        "the counter 'b' takes a number of at least 0, not -1; it is ignored",
        "the histogram 'c' takes a number, not nan; it is ignored",
        "the up-down counter 'd' takes a number, not True; it is ignored",
        "the counter 'e' is ignored: there are 2000 sets of attributes already",
    ]
    assert len(receiver.metrics) == 2000


def test_a_forked_child_sends_its_own_alone(run_python, receiver):
    run(
        run_python,
        """
import os
highlight.record_count("parents", 5)
pid = os.fork()
if not pid:
    highlight.record_count("childs", 7)
    os._exit(0 if highlight.flush(10) else 1)
assert os.waitpid(pid, 0)[1] == 0
""",
        env={"OTEL_BSP_SCHEDULE_DELAY": "60000"},
    )

    assert points(receiver) == [("childs", "sum", [({}, 7)]), ("parents", "sum", [({}, 5)])]


def test_they_can_be_left_out_or_sent_elsewhere(run_python, receiver):
    record = "highlight.record_incr('one')"
    run(run_python, record, env={"OTEL_METRICS_EXPORTER": "none"})
    run(run_python, record, env={"HIGHLIGHT_ENABLED": "false"})
    assert receiver.exports == []

    elsewhere = {"HIGHLIGHT_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{receiver.url}/v1/metrics"}
    run(run_python, record, env=elsewhere)
    assert points(receiver) == [("one", "sum", [({}, 1)])]


def test_an_http_error_without_an_exception(run_python, receiver):
    run(
        run_python,
        """
def view():
    highlight.record_http_error(404, '{"detail": "Item not found"}', {"item": 7})
    highlight.record_http_error(503)
with highlight.trace("request", session_secure_id="s1", request_id="r1"):
    view()
""",
    )

    assert [(e.type, e.message, e.session, e.attributes.get("item")) for e in receiver.errors] == [
        ("http.HTTPException", "Item not found", "s1", 7),
        ("http.HTTPException", "Service Unavailable", "s1", None),
    ]
    assert receiver.errors[0].attributes["http.status_code"] == 404
    assert "in view\n" in receiver.errors[0].stacktrace
    assert [(span.name, span.status) for span in receiver.spans] == [("request", "UNSET")]


def test_a_log_record_without_a_logger(run_python, receiver):
    done = run(
        run_python,
        """
import logging
with highlight.trace("job", session_secure_id="s1"):
    highlight.log("by number", logging.WARNING, {"rows": 3})
    highlight.log("by name", "error")
    highlight.log("too low", "debug")
""",
    )

    assert done.stderr == ""
    assert [(log.body, log.severity_text, log.session, log.attributes.get("rows")) for log in receiver.logs] == [
        ("by number", "WARN", "s1", 3),
        ("by name", "ERROR", "s1", None),
    ]
    assert receiver.logs[0].attributes["code.line.number"] == 5
    assert receiver.errors == []


def test_what_a_garbage_collection_records_meanwhile(run_python, receiver):
    run(
        run_python,
        """
import gc
class Late:
    def __init__(self):
        self.cycle = self
    def __del__(self):
        highlight.record_incr("collected")
for number in range(300):
    gc.set_threshold(number % 30 + 1)  # wherever it falls, also while the numbers are held
    Late()
    highlight.record_incr("made", {"number": number})
gc.collect()
""",
        timeout=20,
    )

    assert sum(value for metric in receiver.metrics if metric.name == "collected" for _, value in metric.points) == 300
    assert len({str(metric.points) for metric in receiver.metrics if metric.name == "made"}) == 300
