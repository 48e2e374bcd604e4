"""Celery: from a request into a task, its retries and its followers, and from there into logs and errors."""

from __future__ import annotations

import pytest
from billiard import einfo

from tests.support import hostile
from tests.support.services import wait_until

TASKS = """
import logging, os, signal, sys, time
from celery import Celery, Task, chain, chord, group
from celery.exceptions import Ignore, Reject
from celery.signals import task_postrun, task_prerun, worker_process_shutdown
from celery.utils.log import get_task_logger

log = logging.getLogger("app")
app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ.get("BACKEND"))
app.conf.update(
    task_default_queue=os.environ["QUEUE"],
    broker_connection_retry_on_startup=True,
    task_send_sent_event=True,
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    task_track_started=True,
)
app.conf.update(**eval(os.environ.get("CONFIG", "{}")))

class Refused(Exception):
    def __init__(self, code, why):  # cannot be unpickled
        super().__init__(f"{code}: {why}")

if os.environ.get("SIGNALS"):
    @task_prerun.connect(weak=False)
    def before(task, **_):
        log.warning("before %s", task.name)

    @task_postrun.connect(weak=False)
    def after(task, **_):
        log.warning("after %s", task.name)

@worker_process_shutdown.connect
def last(**_):
    log.warning("the process ends")

@app.task
def add(a, b):
    log.warning("add %s %s", a, b)
    return a + b

@app.task
def total(numbers):
    log.warning("total %s", numbers)
    return sum(numbers)

@app.task
def fail():
    raise LookupError("no such order")

@app.task
def refuse():
    raise Refused(7, "no")

@app.task(throws=(KeyError,))
def expected():
    raise KeyError("as expected")

@app.task
def ignore():
    raise Ignore("never mind")

@app.task(acks_late=True)
def reject():
    raise Reject("not this", requeue=False)

@app.task(bind=True, max_retries=2, default_retry_delay=0)
def again(self):
    try:
        raise ConnectionError("away")
    except ConnectionError as error:
        raise self.retry(exc=error)

@app.task(autoretry_for=(ConnectionError,), max_retries=2, default_retry_delay=0, retry_backoff=False)
def automatic():
    raise ConnectionError("away")

@app.task(bind=True, autoretry_for=(ConnectionError,), max_retries=2, default_retry_delay=0)
def recovers(self):
    if self.request.retries < 1:
        raise ConnectionError("away for now")
    log.warning("it is back")

@app.task
def on_error(request, error, traceback):
    log.warning("told of %r", error)

@app.task
def slow(seconds):
    log.warning("slow begins")
    time.sleep(seconds)
    log.warning("slow ends")

@app.task(bind=True)
def headers(self):
    came = self.request.headers
    if came is None:
        came = vars(self.request)  # where older ones have them
    log.warning("headers %s", sorted(came) if isinstance(came, dict) else came)

@app.task
def outer():
    add.delay(5, 6)
    log.warning("outer")

@app.task
def killed():
    time.sleep(1)  # what was done before is on its way
    os.kill(os.getpid(), signal.SIGKILL)

@app.task(time_limit=1)
def endless():
    time.sleep(60)

@app.task
def leaves():
    sys.exit(3)
"""
WEB = """
import json, logging, os
from flask import Flask, request
import tasks
from tasks import *

app_ = Flask(__name__)
logging.getLogger("werkzeug").disabled = True

@app_.post("/send")
def send():
    given = request.get_data(as_text=True)
    result = eval(given, vars(tasks))
    return str(getattr(result, "id", result))

if __name__ == "__main__":
    app_.run(port=int(os.environ["PORT"]))
"""
FILES = {"tasks.py": TASKS, "web.py": WEB}


class Site:
    """A web application and a worker, with a queue between them."""

    def __init__(self, web, worker, receiver):
        self.web = web
        self.worker = worker
        self.receiver = receiver

    def send(self, text, session="s1", headers=None):
        incoming = headers if headers is not None else {"x-highlight-request": f"{session}/r1"} if session else {}
        return self.web.request("POST", "/send", incoming, text.encode())

    def send_all(self, *texts, session="s1"):
        for text in texts:
            assert self.send(text, session).status == 200


QUIET = "--without-mingle --without-gossip"  # faster


def ready(worker):
    return " ready." in worker.stderr


@pytest.fixture
def start(run_service, receiver):
    """Start the web application and a worker."""

    def start(broker, backend, queue, options=f"--pool prefork --concurrency 1 {QUIET}", config=None, env=None):
        env = {"BROKER": broker, "BACKEND": backend, "QUEUE": queue, "CONFIG": repr(config or {}), **(env or {})}
        web = run_service("python web.py", files=FILES, env=env, name="web")
        command = f"celery -A tasks worker --loglevel INFO {options}"
        worker = run_service(command, files=FILES, env=env, name="worker", wait=ready)
        receiver.settle()
        receiver.clear()
        return Site(web, worker, receiver)

    return start


def spans(receiver):
    """What was done for each session: the spans of its tasks, in the order of their beginnings."""
    return [(span.kind, span.name, span.session, span.status) for span in receiver.spans if span.kind != "SERVER"]


def told(receiver):
    return [(log.body, log.session) for log in receiver.logs if log.logger == "app"]


def errors(receiver):
    return [(error.type, error.message, error.session, error.source) for error in receiver.errors]


def is_chain(receiver):
    """Whether every span but the requests' has the one before it in its chain as its parent."""
    known = {span.span_id: span for span in receiver.spans}
    for span in receiver.spans:
        if span.kind == "PRODUCER":
            assert known[span.parent_id].kind in ("SERVER", "CONSUMER"), span
        if span.kind == "CONSUMER":
            parent = known[span.parent_id]
            assert (parent.kind, parent.name.replace("send", "process")) == ("PRODUCER", span.name), span
            assert (parent.trace_id, parent.session) == (span.trace_id, span.session)
    # Each that was sent was worked on, a retry too.
    assert {span.span_id for span in receiver.spans if span.kind == "PRODUCER"} <= {s.parent_id for s in receiver.spans}
    return True


def sent(name, session="s1"):
    return ("PRODUCER", f"send tasks.{name}", session, "UNSET")


def done(name, session="s1", status="UNSET"):
    return ("CONSUMER", f"process tasks.{name}", session, status)


POOLS = [
    ("prefork", "redis", "--concurrency 2 -E"),
    ("threads", "rabbitmq", "--concurrency 3 -E"),
    ("gevent", "redis", f"--concurrency 3 {QUIET}"),
    ("eventlet", "redis", f"--concurrency 3 {QUIET}"),
]


@pytest.mark.parametrize(("pool", "broker", "options"), POOLS, ids=[pool for pool, *_ in POOLS])
def test_each_task_works_under_the_ids_of_its_sender(start, receiver, request, pool, broker, options):
    url = request.getfixturevalue(f"{broker}_url")
    backend = "rpc://" if broker == "rabbitmq" else url
    site = start(url, backend, f"pool-{pool}", f"--pool {pool} {options}", env={"SIGNALS": "1"})
    for session in ("s1", None, "s2"):
        site.send_all("slow.delay(0.2)", session=session)
    receiver.wait(spans=9, logs=12)
    consumed = [span for span in receiver.spans if span.kind == "CONSUMER"]
    assert {(span.name, span.session) for span in consumed} == {("process tasks.slow", s) for s in ("s1", None, "s2")}
    assert len(receiver.spans) == 9
    assert is_chain(receiver)
    said = ["before tasks.slow", "slow begins", "slow ends", "after tasks.slow"]
    assert sorted(told(receiver), key=str) == sorted(
        ((s, session) for s in said for session in ("s1", None, "s2")), key=str
    )
    assert {log.session for log in receiver.logs if log.logger == "celery.app.trace"} == {"s1", None, "s2"}
    assert errors(receiver) == []

    receiver.clear()
    site.send_all("fail.delay()")
    site.send_all("add.delay(1, 2)", session=None)
    receiver.wait(spans=6, errors=1)
    assert sorted(spans(receiver), key=str) == sorted(
        [sent("fail"), done("fail", status="ERROR"), sent("add", None), done("add", None)], key=str
    )
    assert errors(receiver) == [("LookupError", "no such order", "s1", "span")]
    assert ("add 1 2", None) in told(receiver)

    receiver.clear()
    assert site.send("add.delay(3, 4).get(timeout=10)").text == "7"
    receiver.wait(spans=3, logs=2)
    assert spans(receiver) == [sent("add"), done("add")]
    assert site.send("[len(answer) for answer in app.control.ping(limit=1)]").text == "[1]"
    receiver.wait(spans=4)
    assert [span.name for span in receiver.spans[3:]] == ["POST /send"]
    assert errors(receiver) == []
    assert site.worker.stop() == 0


AWAY = ("ConnectionError", "away", "span")
LOST = "billiard.exceptions.WorkerLostError"
NO_ORDER = ("LookupError", "no such order", "span")
# Older ones fail to send what cannot be pickled to the pool's parent, which says so.
NOT_SENT = (
    [] if hasattr(einfo, "ExceptionWithTraceback") else [("billiard.pool.MaybeEncodingError", "Error sending", "log")]
)
# What a request asks for: the tasks that this leads to, with their statuses, what they say, and the errors.
CASES = [
    ("add.delay(1, 2)", [("add", "UNSET")], ["add 1 2"], []),
    ("app.send_task('tasks.add', (8, 8))", [("add", "UNSET")], ["add 8 8"], []),
    ("chain(add.s(1, 2), add.s(3)).delay()", [("add", "UNSET")] * 2, ["add 1 2", "add 3 3"], []),
    ("add.apply_async((3, 3), link=add.s(4))", [("add", "UNSET")] * 2, ["add 3 3", "add 6 4"], []),
    (
        "chord([add.s(1, 1), add.s(2, 2)], total.s()).delay()",
        [("add", "UNSET"), ("add", "UNSET"), ("total", "UNSET")],
        ["add 1 1", "add 2 2", "total [2, 4]"],
        [],
    ),
    ("group(add.s(4, 4), add.s(5, 5)).apply_async(countdown=0.1)", [("add", "UNSET")] * 2, ["add 4 4", "add 5 5"], []),
    ("outer.delay()", [("outer", "UNSET"), ("add", "UNSET")], ["outer", "add 5 6"], []),
    ("fail.delay()", [("fail", "ERROR")], [], [NO_ORDER]),
    (
        "fail.apply_async(link_error=on_error.s())",
        [("fail", "ERROR")],
        ["told of LookupError('no such order')"],
        [NO_ORDER],
    ),
    ("refuse.delay()", [("refuse", "ERROR")], [], [("tasks.Refused", "7: no", "span"), *NOT_SENT]),
    ("again.delay()", [("again", "ERROR")] * 3, [], [AWAY]),
    ("automatic.delay()", [("automatic", "ERROR")] * 3, [], [AWAY]),
    ("recovers.delay()", [("recovers", "ERROR"), ("recovers", "UNSET")], ["it is back"], []),
    ("expected.delay()", [("expected", "ERROR")], [], []),
    ("ignore.delay()", [("ignore", "UNSET")], [], []),
    ("reject.delay()", [("reject", "UNSET")], [], []),
    # What its process cannot say itself any more; one that ends in good order has sent the span.
    (
        "killed.delay()",
        [("killed", "ERROR")],
        [],
        [(LOST, "Worker exited prematurely: signal 9 (SIGKILL) Job", "span")],
    ),
    ("leaves.delay()", [("leaves", "UNSET")], [], [(LOST, "Worker exited prematurely: exitcode 3", "log")]),
    (
        "endless.delay()",
        [("endless", "UNSET")],
        [],
        [("billiard.exceptions.TimeLimitExceeded", "TimeLimitExceeded(1,)", "log")],
    ),
]


def test_whatever_a_request_leads_to_is_told_once_and_under_its_ids(start, redis_url, receiver):
    site = start(redis_url, redis_url, "cases")
    sessions = [f"s{number}" if number % 4 else None for number in range(len(CASES))]
    for session, (text, *_) in zip(sessions, CASES, strict=True):
        site.send_all(text, session=session)
    tasks = sum(len(each[1]) for each in CASES)
    failures = sum(len(each[3]) for each in CASES)
    receiver.wait(spans=len(CASES) + 2 * tasks, errors=failures, timeout=40)
    assert len(receiver.spans) == len(CASES) + 2 * tasks
    assert is_chain(receiver)
    requests = [span for span in receiver.spans if span.kind == "SERVER"]
    for number, (text, done_, said, failed) in enumerate(CASES):
        trace, session = requests[number].trace_id, sessions[number]
        found = [span for span in receiver.spans if span.trace_id == trace and span.kind != "SERVER"]
        expected = [
            (kind, f"{verb} tasks.{name}", status if kind == "CONSUMER" else "UNSET")
            for name, status in done_
            for kind, verb in (("PRODUCER", "send"), ("CONSUMER", "process"))
        ]
        assert sorted((span.kind, span.name, span.status) for span in found) == sorted(expected), text
        logs = [log for log in receiver.logs if log.trace_id == trace]
        assert sorted(log.body for log in logs if log.logger == "app") == sorted(said), text
        assert {item.session for item in (requests[number], *found, *logs)} == {session}, text
        errors_ = [error for error in receiver.errors if error.record.trace_id == trace]
        assert [
            (error.type, error.message[: len(message)], error.source, error.session)
            for error, (_, message, _) in zip(errors_, failed, strict=True)
        ] == [(*each, session) for each in failed], text
    echoes = [log for log in receiver.logs if log.logger == "celery.app.trace" and log.severity_text == "ERROR"]
    assert len(echoes) == failures - 3 - len(NOT_SENT)  # logged all the same


def test_a_process_that_ends_sends_what_it_has(start, redis_url, receiver):
    # Nothing is sent by itself: what arrives was sent when a process ended.
    site = start(
        redis_url,
        redis_url,
        "ends",
        f"--concurrency 1 --max-tasks-per-child 2 {QUIET}",
        env={"OTEL_BSP_SCHEDULE_DELAY": "60000"},
    )
    site.send_all("add.delay(1, 1)", "add.delay(2, 2)")
    receiver.wait(logs=3)
    assert [log.body for log in receiver.logs if log.logger == "app"] == ["add 1 1", "add 2 2", "the process ends"]

    site.send_all("add.delay(3, 3)")
    wait_until(lambda: "add 3 3" in site.worker.stderr)
    assert site.worker.stop() == 0
    site.web.stop()
    receiver.wait(spans=9, logs=4)
    assert sorted(spans(receiver)) == [done("add")] * 3 + [sent("add")] * 3
    assert told(receiver) == [
        ("add 1 1", "s1"),
        ("add 2 2", "s1"),
        ("the process ends", None),
        ("add 3 3", "s1"),
        ("the process ends", None),
    ]
    assert is_chain(receiver)


STRANGE = """
import tasks
tasks.headers.delay()
for given in [
    {},
    {"x-highlight-request": "null"},
    {"x-highlight-request": None},
    {"x-highlight-request": 7},
    {"x-highlight-request": ["s9/r9"]},
    {"x-highlight-request": "a" * 1_000_000 + "/r"},
    {"x-highlight-request": "s\\r\\nx: y/r"},
    {"traceparent": "00-zz", "tracestate": 7},
    {"headers": 7},
    {"X-Highlight-Request": "s7/r7", "mine": "yours"},
]:
    tasks.headers.apply_async(headers=given)
tasks.outer.apply_async(headers={"headers": 7})
"""
GIVEN = [
    (),
    (),
    *[("x-highlight-request",)] * 6,
    ("traceparent", "tracestate"),
    (),
    ("X-Highlight-Request", "mine"),
]


def test_a_task_without_ids_has_no_session(start, redis_url, receiver, run_python, run_service):
    """Whatever is in its headers, by either protocol, or sent by the scheduler."""
    site = start(redis_url, redis_url, "nobody", f"--pool solo {QUIET}")
    for protocol in (2, 1):
        receiver.clear()
        env = {"BROKER": redis_url, "QUEUE": "nobody", "CONFIG": repr({"task_protocol": protocol})}
        done_ = run_python(STRANGE, env={**env, "PYTHONPATH": str(site.worker.folder)})
        assert (done_.returncode, done_.stderr) == (0, "")
        receiver.wait(spans=14, logs=13)
        assert spans(receiver)[:11] == [done("headers", None)] * 10 + [done("headers", "s7")]
        assert spans(receiver)[11:] == [done("outer", None), sent("add", None), done("add", None)]
        bodies = [body for body, _ in told(receiver) if "headers" in body]
        assert len(bodies) == 11
        for body, given in zip(bodies, GIVEN, strict=True):
            assert all(name in body for name in given), body
            assert ("traceparent" in body) == ("traceparent" in given)
        assert errors(receiver) == []

    receiver.clear()
    schedule = {"beat_schedule": {"often": {"task": "tasks.add", "schedule": 1.0, "args": (1, 2)}}}
    env = {"BROKER": redis_url, "QUEUE": "nobody", "CONFIG": repr(schedule)}
    beat = run_service("celery -A tasks beat", files=FILES, env=env, name="beat", wait=None)
    receiver.wait(spans=2, logs=2)
    assert beat.stop() == 0
    receiver.settle()
    assert {(*span, None) for span in spans(receiver)} == {(*done("add", None), None)}
    assert len({span.trace_id for span in receiver.spans}) == len(receiver.spans)
    assert {span.parent_id for span in receiver.spans} == {""}
    assert set(told(receiver)) == {("add 1 2", None)}
    assert errors(receiver) == []


def test_the_older_protocol_carries_the_ids_as_well(start, redis_url, receiver):
    site = start(redis_url, redis_url, "older", f"--pool threads --concurrency 1 {QUIET}", {"task_protocol": 1})
    site.send_all("add.delay(1, 2)", "again.delay()")
    receiver.wait(spans=10, errors=1)
    assert [span for span in spans(receiver) if span[0] == "CONSUMER"] == [
        done("add"),
        *[done("again", status="ERROR")] * 3,
    ]
    assert {span.session for span in receiver.spans} == {"s1"}
    assert len(receiver.spans) == 10
    assert errors(receiver) == [("ConnectionError", "away", "s1", "span")]


def test_an_eager_task_is_a_part_of_its_request(run_service, receiver, redis_url):
    config = {"task_always_eager": True}
    env = {"BROKER": redis_url, "QUEUE": "eager", "CONFIG": repr(config)}
    web = run_service("python web.py", files=FILES, env=env, name="web")
    site = Site(web, None, receiver)

    site.send_all("add.delay(1, 2)", "fail.delay()", "refuse.delay()", "expected.delay()")
    receiver.wait(spans=4, errors=2)
    assert [(span.name, span.session, span.status) for span in receiver.spans] == [("POST /send", "s1", "UNSET")] * 4
    assert told(receiver) == [("add 1 2", "s1")]
    assert errors(receiver) == [
        ("LookupError", "no such order", "s1", "span"),
        ("tasks.Refused", "7: no", "s1", "span"),
    ]

    receiver.clear()
    assert site.send("fail.delay().get()", "s2").status == 500
    receiver.wait(spans=1, errors=1)
    assert errors(receiver) == [("LookupError", "no such order", "s2", "span")]
    assert len(receiver.spans) == 1


HOSTILE = """
import logging, os, sys
from celery import Celery
from hostile import NAMES, told
from sent import SENT

app = Celery("program", broker=os.environ["BROKER"])
app.conf.update(task_default_queue="hostile", worker_hijack_root_logger=False, worker_redirect_stdouts=False)
log = logging.getLogger("app")

def of_the_table(headers):
    return {name: value for name, value in (headers or {}).items() if name.lower() in NAMES}

@app.task(bind=True, name="work")
def work(self, number):
    log.warning(number)
    came = self.request.headers
    print(told(number, of_the_table(vars(self.request) if came is None else came)))  # where older ones have them

if sys.argv[1] == "send":
    for number, _, pairs, _ in SENT:
        work.apply_async((str(number),), headers=dict(pairs))
        print(told(number, dict(pairs)))
"""


def test_hostile_headers_are_delivered_and_the_worker_goes_on(run_python, run_service, receiver, redis_url):
    worker = f"celery -A program worker --loglevel WARNING --pool solo {QUIET}"
    kinds = "str int bool list dict NoneType"
    env = {"BROKER": redis_url}
    hostile.work_off(run_python, run_service, receiver, HOSTILE, worker, "process work", kinds, env)


BARE_SIGNALS = """
from celery import Celery, signals
app = Celery()

@app.task
def work(): pass

for signal in (signals.task_retry, signals.task_failure, signals.before_task_publish, signals.task_prerun):
    signal.send(sender=work)
print("sent")
"""


def test_signals_that_an_application_sends_itself_may_carry_nothing(run_python, receiver):
    result = run_python(BARE_SIGNALS)

    assert (result.stdout, result.stderr) == ("sent\n", "")
    assert (receiver.spans, receiver.errors) == ([], [])
