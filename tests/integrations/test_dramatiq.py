"""dramatiq: from a request into a queue, and from there into the threads that run the actors."""

from __future__ import annotations

import signal

import pytest

from tests.support import hostile
from tests.support.services import wait_until

ACTORS = """
import logging, os
import dramatiq

log = logging.getLogger("app")
url = os.environ["BROKER"]
if url.startswith("redis"):
    from dramatiq.brokers.redis import RedisBroker
    broker = RedisBroker(url=url)
else:
    from dramatiq.brokers.rabbitmq import RabbitmqBroker
    broker = RabbitmqBroker(url=url)
names = [type(one).__name__ for one in broker.middleware]
assert names == [one.__name__ for one in dramatiq.middleware.default_middleware], names
knows_async = hasattr(dramatiq.middleware, "AsyncIO")
if knows_async:
    broker.add_middleware(dramatiq.middleware.AsyncIO())
dramatiq.set_broker(broker)
log.setLevel("INFO")

@dramatiq.actor
def work(number):
    log.warning("working on %s", number)

@dramatiq.actor(max_retries=0)
def fail(number):
    log.warning("failing on %s", number)
    raise LookupError(f"no such order: {number}")

@dramatiq.actor(max_retries=1, min_backoff=1, max_backoff=1)
def again(number):
    log.warning("trying %s", number)
    raise LookupError(f"no such order: {number}")

@dramatiq.actor(max_retries=3, min_backoff=1, max_backoff=1)
def better(number):
    log.warning("trying %s", number)
    if not broker.tried.pop(number, None):
        broker.tried[number] = True
        raise LookupError(f"not yet: {number}")

broker.tried = {}

@dramatiq.actor(throws=LookupError)
def expected(number):
    raise LookupError(f"as expected: {number}")

async def soon(number):
    log.warning("awaiting %s", number)

def at_once(number):
    log.warning("awaiting %s", number)

soon = dramatiq.actor(soon if knows_async else at_once, actor_name="soon")

@dramatiq.actor
def more(number):
    work.send(number)

@dramatiq.actor
def caught(number):
    try:
        fail(number)
    except LookupError:
        log.exception("caught")
"""
APP = """
import logging, os
from flask import Flask, request
import actors

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True

@app.post("/<way>/<int:number>")
def send(way, number):
    if way == "strange":
        for value in ["null", None, 7, ["s/r"], "a" * 1_000_000 + "/r", "s\\r\\nx: y/r", "\\u00fc/r"]:
            actors.work.send_with_options(args=(number,), **{"x-highlight-request": value, "traceparent": value})
    elif way == "pipe":
        (actors.more.message(number) | actors.work.message(number + 1).copy(options={"pipe_ignore": True})).run()
    elif way == "delayed":
        actors.work.send_with_options(args=(number,), delay=1)
    else:
        message = getattr(actors, way).send(number)
        assert message.args == (number,) and message.kwargs == {}, message
    return "sent"

app.run(port=int(os.environ["PORT"]))
"""


@pytest.fixture
def run(run_service, receiver, request):
    """Send messages, each in a request, and run their actors until so many spans, logs and errors have arrived."""

    def run(messages, spans, logs, errors, broker="redis_url", until=None):
        env = {"BROKER": request.getfixturevalue(broker), "dramatiq_prefetch_multiplier": "1"}
        files = {"actors.py": ACTORS, "app.py": APP}
        service = run_service("python app.py", files=files, env=env)
        for way, number, session in messages:
            headers = {"x-highlight-request": f"{session}/r1"} if session else {}
            assert service.request("POST", f"/{way}/{number}", headers).text == "sent", service.output
        receiver.wait(spans=len(messages))
        sent = receiver.spans
        receiver.clear()
        if until is not None:  # nothing is sent before the end, which has to send it
            env["OTEL_BSP_SCHEDULE_DELAY"] = "60000"
        worker = run_service("dramatiq actors -p 1 -t 1", files=files, env=env, wait=None)
        if until is not None:
            wait_until(lambda: all(text in worker.stderr for text in until))
        else:
            receiver.wait(spans=spans, logs=logs, errors=errors)
        assert worker.stop(signal.SIGTERM) == 0, worker.output
        receiver.wait(spans=spans, logs=logs, errors=errors)
        return sent

    return run


def spans(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def told(receiver):
    return [(log.body, log.session) for log in receiver.logs if log.logger == "app"]


def errors(receiver):
    return [(error.type, error.message, error.session, error.source) for error in receiver.errors]


@pytest.mark.parametrize("broker", ["redis_url", "rabbitmq_url"])
def test_each_actor_runs_under_the_ids_of_its_message(run, receiver, broker):
    messages = [("work", 1, "s1"), ("work", 2, None), ("soon", 3, "s3"), ("fail", 4, "s4"), ("work", 5, "s5")]
    sent = run(
        messages,
        spans=5,
        logs=5,
        errors=1,
        broker=broker,
        until=["working on 5", "working on 2", "no such order", "awaiting 3"],
    )

    assert [(span.name, span.kind, span.session) for span in sent if span.kind == "PRODUCER"] == [
        (f"send {way}", "PRODUCER", session) for way, _, session in messages
    ]
    assert sorted(spans(receiver), key=str) == [
        ("process fail", "CONSUMER", "s4", "ERROR"),
        ("process soon", "CONSUMER", "s3", "UNSET"),
        ("process work", "CONSUMER", "s1", "UNSET"),
        ("process work", "CONSUMER", "s5", "UNSET"),
        ("process work", "CONSUMER", None, "UNSET"),
    ]
    first = next(span for span in receiver.spans if span.session == "s1")
    assert (first.trace_id, first.parent_id) == (sent[1].trace_id, sent[1].span_id)
    assert sorted(told(receiver)) == [
        ("awaiting 3", "s3"),
        ("failing on 4", "s4"),
        ("working on 1", "s1"),
        ("working on 2", None),
        ("working on 5", "s5"),
    ]
    assert errors(receiver) == [("LookupError", "no such order: 4", "s4", "span")]
    failed = [log for log in receiver.logs if log.body.startswith("Failed to process")]
    assert [(log.session, log.severity_text) for log in failed] == [("s4", "ERROR")]


def test_a_failure_is_an_error_once_the_message_is_not_tried_again(run, receiver):
    messages = [("again", 1, "s1"), ("better", 2, "s2"), ("expected", 3, "s3"), ("caught", 4, "s4")]
    run(messages, spans=6, logs=6, errors=2)

    assert sorted((span.name, span.session, span.status, len(span.events)) for span in receiver.spans) == [
        ("process again", "s1", "ERROR", 0),
        ("process again", "s1", "ERROR", 1),
        ("process better", "s2", "ERROR", 0),
        ("process better", "s2", "UNSET", 0),
        ("process caught", "s4", "UNSET", 0),
        ("process expected", "s3", "UNSET", 0),
    ]
    assert sorted(errors(receiver)) == [
        ("LookupError", "no such order: 1", "s1", "span"),
        ("LookupError", "no such order: 4", "s4", "log"),
    ]


def test_what_is_delayed_piped_or_sent_on_keeps_its_ids(run, receiver):
    run([("more", 1, "s1"), ("pipe", 10, "s2"), ("delayed", 20, "s3")], spans=8, logs=5, errors=0)

    assert sorted(told(receiver)) == [
        ("working on 1", "s1"),
        ("working on 10", "s2"),
        ("working on 11", "s2"),
        ("working on 20", "s3"),
    ]
    assert sorted(spans(receiver)) == sorted(
        [
            ("process more", "CONSUMER", "s1", "UNSET"),
            ("process more", "CONSUMER", "s2", "UNSET"),
            *[("send work", "PRODUCER", session, "UNSET") for session in ("s1", "s2")],
            *[("process work", "CONSUMER", session, "UNSET") for session in ("s1", "s2", "s2", "s3")],
        ]
    )
    assert receiver.errors == []


def test_strange_options_are_delivered_and_are_no_session(run, receiver):
    run([("strange", 1, "s1")], spans=7, logs=7, errors=0)

    # What is none at all (None) is filled in; all else stays as the application has put it there.
    assert sorted(told(receiver), key=str) == [("working on 1", "s1"), *[("working on 1", None)] * 6]
    assert receiver.errors == []


HOSTILE = """
import logging, os, sys
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage
from hostile import NAMES, told
from sent import SENT

broker = RedisBroker(url=os.environ["BROKER"], namespace="hostile")
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)
log = logging.getLogger("app")

@dramatiq.actor
def work(number):
    options = CurrentMessage.get_current_message().options
    log.warning(number)
    seen = told(number, {name: value for name, value in options.items() if name.lower() in NAMES})
    print(seen + "\\n", end="")  # in one piece: the worker's log is in the same file

if sys.argv[1:] == ["send"]:
    for number, _, pairs, _ in SENT:
        work.send_with_options(args=(str(number),), **dict(pairs))
        print(told(number, dict(pairs)) + "\\n", end="")
"""


def test_hostile_options_are_delivered_and_the_worker_goes_on(run_python, run_service, receiver, redis_url):
    kinds = "str int bool list dict NoneType"
    worker = "dramatiq program -p 1 -t 1"
    env = {"BROKER": redis_url}
    hostile.work_off(run_python, run_service, receiver, HOSTILE, worker, "process work", kinds, env)
