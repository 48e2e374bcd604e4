"""taskiq: from a request into a broker, and from there into the worker's tasks."""

from __future__ import annotations

import signal

import pytest
import taskiq

from tests.support import hostile
from tests.support.services import wait_until

TASKS = """
import asyncio, logging, os
import taskiq
from taskiq import Context, InMemoryBroker, SimpleRetryMiddleware, TaskiqDepends
from taskiq.exceptions import NoResultError

log = logging.getLogger("app")
if os.environ.get("BROKER"):
    from taskiq_nats import PullBasedJetStreamBroker
    name = os.environ["QUEUE"]
    broker = PullBasedJetStreamBroker(os.environ["BROKER"], subject=name, stream_name=name, durable=name)
else:
    broker = InMemoryBroker()
keep = os.environ.get("KEEP") == "yes"
if os.environ.get("SMART"):
    broker = broker.with_middlewares(taskiq.SmartRetryMiddleware(default_delay=0))
else:
    broker = broker.with_middlewares(SimpleRetryMiddleware(no_result_on_retry=not keep))
barrier = asyncio.Event()

@broker.task(task_name="work")
async def work(number):
    log.warning("working on %s", number)

@broker.task(task_name="thread")
def thread(number):
    log.warning("threading %s", number)

@broker.task(task_name="fail")
async def fail(number):
    log.warning("failing on %s", number)
    raise LookupError(f"no such order: {number}")

@broker.task(task_name="retry", retry_on_error=True, max_retries=2)
async def retry(number):
    log.warning("trying %s", number)
    raise LookupError(f"no such order: {number}")

@broker.task(task_name="silent")
async def silent(number):
    raise NoResultError

@broker.task(task_name="first")
async def first(number):
    log.warning("begin %s", number)
    await barrier.wait()
    log.warning("end %s", number)

@broker.task(task_name="second")
async def second(number):
    log.warning("begin %s", number)
    barrier.set()

@broker.task(task_name="more")
async def more(number):
    await work.kiq(number)

@broker.task(task_name="labels")
async def labels(context: Context = TaskiqDepends()):
    log.warning("labels %s", sorted(context.message.labels))
"""
APP = """
import logging, os
from contextlib import asynccontextmanager
from fastapi import FastAPI
import tasks, uvicorn

@asynccontextmanager
async def lifespan(_):
    await tasks.broker.startup()
    yield
    await tasks.broker.shutdown()

app = FastAPI(lifespan=lifespan)
kicker = tasks.work.kicker().with_labels(mine="yours")

class Source:
    async def add_schedule(self, schedule):
        self.labels = sorted(schedule.labels)

@app.post("/{way}/{number}")
async def send(way: str, number: int):
    if way == "strange":
        for value in ["null", None, 7, "a" * 100_000 + "/r", "s\\r\\nx: y/r", "\\u00fc/r"]:
            await tasks.work.kicker().with_labels(**{"x-highlight-request": value, "traceparent": value}).kiq(number)
    elif way == "kicker":
        await kicker.kiq(number)
        assert kicker.labels == {"mine": "yours"}, kicker.labels
    elif way == "schedule":
        import datetime
        once, always = Source(), Source()
        await tasks.more.kicker().schedule_by_time(once, datetime.datetime.now(), number)
        await tasks.more.kicker().schedule_by_cron(always, "* * * * *", number)
        return {"once": once.labels, "always": always.labels}
    else:
        await getattr(tasks, way).kiq(number)

logging.getLogger("taskiq").setLevel("WARNING")
uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning")
"""
FILES = {"tasks.py": TASKS, "app.py": APP}
WAYS = [{}, {"KEEP": "yes", "BROKER": ""}]  # to try a task again
if hasattr(taskiq, "SmartRetryMiddleware"):
    WAYS.append({"SMART": "yes", "BROKER": ""})


@pytest.fixture
def run(run_service, receiver, nats_url):
    """Send tasks, each in a request, and run a worker until so many spans, logs and errors have arrived."""

    def run(queue, messages, spans=0, logs=0, errors=0, until=None, **env):
        env = {"BROKER": nats_url, "QUEUE": queue, **env}
        service = run_service("python app.py", files=FILES, env=env)
        for way, number, session in messages:
            headers = {"x-highlight-request": f"{session}/r1"} if session else {}
            assert service.request("POST", f"/{way}/{number}", headers).status == 200, service.output
        if env["BROKER"]:
            if until is not None:  # nothing is sent before the end, which has to send it
                env["OTEL_BSP_SCHEDULE_DELAY"] = "60000"
            command = "taskiq worker tasks:broker --workers 1 --log-level WARNING"
            worker = run_service(command, files=FILES, env=env, wait=None)
            if until is not None:
                wait_until(lambda: until in worker.stderr)
            else:
                receiver.wait(spans=spans, logs=logs, errors=errors)
            assert worker.stop(signal.SIGTERM) == 0, worker.output
        receiver.wait(spans=spans, logs=logs, errors=errors)

    return run


def consumed(receiver):
    spans = [span for span in receiver.spans if span.kind == "CONSUMER"]
    return sorted(((span.name, span.session, span.status) for span in spans), key=str)


def told(receiver):
    return sorted(((log.body, log.session) for log in receiver.logs if log.logger == "app"), key=str)


def errors(receiver):
    return [(error.type, error.message, error.session, error.source) for error in receiver.errors]


@pytest.mark.parametrize("broker", ["nats", "memory"])
def test_each_task_runs_under_its_own_ids(run, receiver, broker):
    messages = [
        *[("work", 1, "s1"), ("work", 2, None), ("thread", 3, "s3"), ("fail", 4, "s4"), ("silent", 5, "s5")],
        *[("first", 6, "s6"), ("second", 7, "s7"), ("more", 8, "s8"), ("kicker", 9, "s9"), ("kicker", 10, "s10")],
    ]
    run("each", messages, spans=32, logs=11, errors=1, **({} if broker == "nats" else {"BROKER": ""}))

    assert consumed(receiver) == sorted(
        [
            ("process work", "s1", "UNSET"),
            ("process work", None, "UNSET"),
            ("process thread", "s3", "UNSET"),
            ("process fail", "s4", "ERROR"),
            ("process silent", "s5", "UNSET"),
            ("process first", "s6", "UNSET"),
            ("process second", "s7", "UNSET"),
            ("process more", "s8", "UNSET"),
            ("process work", "s8", "UNSET"),
            ("process work", "s9", "UNSET"),
            ("process work", "s10", "UNSET"),
        ],
        key=str,
    )
    sent = {span.span_id: span for span in receiver.spans if span.kind == "PRODUCER"}
    assert len(sent) == 11
    for span in receiver.spans:
        if span.kind == "CONSUMER":
            assert (span.trace_id, span.name.split()[1]) == (
                sent[span.parent_id].trace_id,
                sent[span.parent_id].name.split()[1],
            )
    assert told(receiver) == sorted(
        [
            ("working on 1", "s1"),
            ("working on 2", None),
            ("threading 3", "s3"),
            ("failing on 4", "s4"),
            ("begin 6", "s6"),
            ("begin 7", "s7"),
            ("end 6", "s6"),
            ("working on 8", "s8"),
            ("working on 9", "s9"),
            ("working on 10", "s10"),
        ],
        key=str,
    )
    assert errors(receiver) == [("LookupError", "no such order: 4", "s4", "span")]
    failed = [log for log in receiver.logs if log.body.startswith("Exception found")]
    assert [(log.session, log.severity_text) for log in failed] == [("s4", "ERROR")]


@pytest.mark.parametrize("env", WAYS)
def test_a_failure_is_an_error_once_the_task_is_not_tried_again(run, receiver, env):
    run("again" + "".join(env), [("retry", 1, "s1")], spans=5, logs=4, errors=1, until="Maximum retries", **env)

    assert consumed(receiver) == [("process retry", "s1", "ERROR")] * 2
    assert [len(span.events) for span in receiver.spans if span.kind == "CONSUMER"] == [0, 1]
    assert told(receiver) == [("trying 1", "s1")] * 2
    assert errors(receiver) == [("LookupError", "no such order: 1", "s1", "span")]


def test_strange_labels_are_delivered_and_are_no_session(run, receiver):
    run("strange", [("strange", 1, "s1"), ("strange", 2, None)], spans=26, logs=12, BROKER="")

    # What is none at all (None) is filled in where there are ids; all else stays as the application has put it there.
    assert told(receiver) == sorted(
        [*[("working on 1", None)] * 5, ("working on 1", "s1"), *[("working on 2", None)] * 6], key=str
    )
    assert receiver.errors == []


def test_a_task_for_once_is_scheduled_with_the_ids_and_one_for_always_is_not(run_service, receiver):
    service = run_service("python app.py", files=FILES)
    answer = service.request("POST", "/schedule/1", {"x-highlight-request": "s1/r1"})

    assert answer.text == '{"once":["traceparent","x-highlight-request"],"always":[]}', service.output
    receiver.wait(spans=2)
    assert [(span.name, span.session) for span in receiver.spans] == [
        ("POST /{way}/{number}", "s1"),
        ("send more", "s1"),
    ]


HOSTILE = """
import asyncio, logging, os, sys
from hostile import NAMES, told
from sent import SENT
from taskiq import Context, TaskiqDepends
from taskiq.kicker import AsyncKicker
from taskiq_nats import PullBasedJetStreamBroker

broker = PullBasedJetStreamBroker(os.environ["BROKER"], subject="hostile", stream_name="hostile", durable="hostile")
log = logging.getLogger("app")

def of_the_table(labels):
    return {name: value for name, value in labels.items() if name.lower() in NAMES}

@broker.task(task_name="work")
async def work(number: str, context: Context = TaskiqDepends()):
    log.warning(number)
    print(told(number, of_the_table(context.message.labels)))

async def send():
    await broker.startup()
    for number, _, pairs, _ in SENT:
        # Not `work.kicker().with_labels()`, which older ones remember for the next.
        await AsyncKicker("work", broker, dict(pairs)).kiq(str(number))
        # What is of no type that taskiq knows comes as its text.
        known = {name: value if type(value) in (str, bytes, int, bool) else str(value) for name, value in pairs}
        print(told(number, known))
    await broker.shutdown()

if sys.argv[1:] == ["send"]:
    asyncio.run(send())
"""


def test_hostile_labels_are_delivered_and_the_worker_goes_on(run_python, run_service, receiver, nats_url):
    kinds = "str bytes int bool NoneType"
    worker = "taskiq worker program:broker --workers 1 --log-level WARNING"
    env = {"BROKER": nats_url}
    # taskiq-nats sends the labels as headers as well, of which JetStream takes 64 kilobytes.
    hostile.work_off(run_python, run_service, receiver, HOSTILE, worker, "process work", kinds, env, longest=60_000)
