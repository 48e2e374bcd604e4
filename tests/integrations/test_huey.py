"""huey: from a request into a queue, and from there into the consumer's workers."""

from __future__ import annotations

import signal

import pytest

from tests.support import hostile
from tests.support.services import BIN, wait_until

TASKS = """
import logging, os
from huey import RedisHuey, crontab
from huey.exceptions import CancelExecution, RetryTask
from huey.serializer import SignedSerializer

log = logging.getLogger("app")
huey = RedisHuey(
    os.environ["QUEUE"],
    url=os.environ.get("REDIS"),
    immediate=os.environ.get("IMMEDIATE") == "yes",
    serializer=SignedSerializer(secret="secret", compression=True) if os.environ.get("SIGNED") else None,
    blocking=True,
)

@huey.task()
def work(number, **more):
    log.warning("working on %s %s", number, more)

@huey.task()
def fail(number):
    log.warning("failing on %s", number)
    raise LookupError(f"no such order: {number}")

@huey.task(retries=1)
def retry(number):
    log.warning("trying %s", number)
    raise LookupError(f"no such order: {number}")

@huey.task(context=True)
def again(number, task=None):
    own = {name: task.kwargs[name] for name in task.kwargs if name != "task"}  # older ones put the context among them
    log.warning("again %s %s", number, own)
    assert type(task.kwargs) is dict, type(task.kwargs)
    if not huey.get("again"):
        huey.put("again", True)
        raise RetryTask

@huey.task()
def cancel(number):
    raise CancelExecution

@huey.task()
def rescue(error):
    log.warning("rescuing")

@huey.task()
def more(number):
    work(number)

@huey.periodic_task(crontab())
def tick():
    log.warning("tick")
"""
APP = """
import logging, os
from flask import Flask, request
import tasks

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True

@app.post("/<way>/<int:number>")
def send(way, number):
    if way == "then":
        tasks.huey.enqueue(tasks.work.s(number).then(tasks.work, number + 1))
    elif way == "error":
        tasks.huey.enqueue(tasks.fail.s(number).error(tasks.rescue))
    elif way == "delayed":
        tasks.work.schedule((number,), delay=0.1)
    elif way == "keyword":
        task = tasks.work.s(number, mine="yours")
        tasks.huey.enqueue(task)
        assert type(task.kwargs) is dict and task.kwargs == {"mine": "yours"}, task.kwargs
    else:
        getattr(tasks, way)(number)
    return "sent"

app.run(port=int(os.environ["PORT"]))
"""
BARE = """
import os, tasks
from huey.api import Task

data = tasks.huey.storage.dequeue()
task = tasks.huey.deserialize_task(data)
assert task.kwargs == {"mine": "yours"}, task.kwargs
task.execute()
tasks.huey.enqueue(task)
"""
STRANGE = """
import os, pickle, tasks
from collections import OrderedDict

for value in [None, 7, ["s/r"], {"x-highlight-request": None}, {"x-highlight-request": "s\\r\\nx: y/r", 7: 8},
              {"x-highlight-request": "a" * 1_000_000 + "/r"}, {"x-highlight-request": b"null"}]:
    message = tasks.huey._registry.create_message(tasks.work.s(3))
    kwargs = OrderedDict(mine="yours")
    kwargs._highlight_headers = value
    tasks.huey.storage.enqueue(tasks.huey.serializer.serialize(message._replace(kwargs=kwargs)))
tasks.huey.storage.enqueue(b"no pickle")
tasks.retry(9)
"""
FILES = {"tasks.py": TASKS, "app.py": APP}


@pytest.fixture
def send(run_service, receiver, redis_url):
    """Send tasks, each in a request; gives the spans that sent them."""

    def send(queue, messages, **env):
        service = run_service("python app.py", files=FILES, env={"REDIS": redis_url, "QUEUE": queue, **env})
        for way, number, session in messages:
            headers = {"x-highlight-request": f"{session}/r1"} if session else {}
            assert service.request("POST", f"/{way}/{number}", headers).status == 200, service.output
        receiver.wait(spans=2 * len(messages))
        sent = [span for span in receiver.spans if span.kind == "PRODUCER"]
        if not env.get("IMMEDIATE"):
            receiver.clear()
        return sent

    return send


@pytest.fixture
def consume(run_service, receiver, redis_url):
    """Run a consumer until so many spans, logs and errors have arrived."""

    def consume(queue, kind, spans, logs, errors=0, periodic=False, until=None, **env):
        # gevent's patches come first, as its users have them.
        start = f"python -m gevent.monkey {BIN}/" if kind == "greenlet" else ""
        command = f"{start}huey_consumer tasks.huey -k {kind} -w 1 -d 0.02 -s 1 -q {'' if periodic else '-n'}"
        env = {"REDIS": redis_url, "QUEUE": queue, **env}
        if until is not None:  # nothing is sent before the end, which has to send it
            env["OTEL_BSP_SCHEDULE_DELAY"] = "60000"
        worker = run_service(command, files=FILES, env=env, wait=None)
        if until is not None:
            wait_until(lambda: until in worker.stderr)
        else:
            receiver.wait(spans=spans, logs=logs, errors=errors)
        assert worker.stop(signal.SIGTERM) == 0, worker.output
        receiver.wait(spans=spans, logs=logs, errors=errors)

    return consume


def spans(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def told(receiver, logger="app"):
    return [(log.body, log.session) for log in receiver.logs if log.logger == logger]


def errors(receiver):
    return [(error.type, error.message, error.session, error.source) for error in receiver.errors]


@pytest.mark.parametrize("kind", ["thread", "process", "greenlet"])
def test_each_task_runs_under_its_own_ids(send, consume, receiver, kind):
    env = {"SIGNED": "yes"} if kind == "process" else {}
    sent = send(kind, [("work", 1, "s1"), ("work", 2, None), ("keyword", 3, "s3"), ("fail", 4, "s4")], **env)
    assert [(span.name, span.session) for span in sent] == [
        ("send tasks.work", "s1"),
        ("send tasks.work", None),
        ("send tasks.work", "s3"),
        ("send tasks.fail", "s4"),
    ]
    consume(kind, kind, spans=4, logs=5, errors=1, until="no such order: 4", **env)

    assert spans(receiver) == [
        ("process tasks.work", "CONSUMER", "s1", "UNSET"),
        ("process tasks.work", "CONSUMER", None, "UNSET"),
        ("process tasks.work", "CONSUMER", "s3", "UNSET"),
        ("process tasks.fail", "CONSUMER", "s4", "ERROR"),
    ]
    assert [(span.trace_id, span.parent_id) for span in receiver.spans] == [(s.trace_id, s.span_id) for s in sent]
    assert told(receiver) == [
        ("working on 1 {}", "s1"),
        ("working on 2 {}", None),
        ("working on 3 {'mine': 'yours'}", "s3"),
        ("failing on 4", "s4"),
    ]
    assert errors(receiver) == [("LookupError", "no such order: 4", "s4", "span")]
    failed = [log for log in receiver.logs if log.body.startswith("Unhandled")]
    assert [(log.session, log.severity_text) for log in failed] == [("s4", "ERROR")]


def test_what_is_tried_again_delayed_or_sent_on_keeps_its_ids(send, consume, receiver):
    ways = ["retry", "again", "cancel", "more", "then", "error", "delayed"]
    send("again", [(way, 10 * number, f"s{number}") for number, way in enumerate(ways, 1)])
    consume("again", "thread", spans=15, logs=11, errors=2)

    assert sorted(told(receiver)) == [
        *[("again 20 {}", "s2")] * 2,
        ("failing on 60", "s6"),
        ("rescuing", "s6"),
        *[("trying 10", "s1")] * 2,
        ("working on 40 {}", "s4"),
        ("working on 50 {}", "s5"),
        ("working on 51 {}", "s5"),
        ("working on 70 {}", "s7"),
    ]
    assert sorted(spans(receiver)) == [
        *[("process tasks.again", "CONSUMER", "s2", "UNSET")] * 2,
        ("process tasks.cancel", "CONSUMER", "s3", "UNSET"),
        ("process tasks.fail", "CONSUMER", "s6", "ERROR"),
        ("process tasks.more", "CONSUMER", "s4", "UNSET"),
        ("process tasks.rescue", "CONSUMER", "s6", "UNSET"),
        *[("process tasks.retry", "CONSUMER", "s1", "ERROR")] * 2,
        *[("process tasks.work", "CONSUMER", session, "UNSET") for session in ("s4", "s5", "s5", "s7")],
        ("send tasks.rescue", "PRODUCER", "s6", "UNSET"),
        *[("send tasks.work", "PRODUCER", session, "UNSET") for session in ("s4", "s5")],
    ]
    assert sorted(errors(receiver)) == [
        ("LookupError", "no such order: 10", "s1", "span"),
        ("LookupError", "no such order: 60", "s6", "span"),
    ]


def test_immediate_tasks_and_periodic_ones(send, consume, receiver):
    send("now", [("retry", 1, "s1"), ("work", 2, "s2")], IMMEDIATE="yes")
    receiver.wait(spans=7, errors=1)
    assert sorted((span.name, span.session) for span in receiver.spans) == [
        ("POST /<way>/<int:number>", "s1"),
        ("POST /<way>/<int:number>", "s2"),
        *[("process tasks.retry", "s1")] * 2,
        ("process tasks.work", "s2"),
        ("send tasks.retry", "s1"),
        ("send tasks.work", "s2"),
    ]
    assert errors(receiver) == [("LookupError", "no such order: 1", "s1", "span")]
    receiver.clear()

    consume("periodic", "thread", spans=1, logs=1, periodic=True)
    assert spans(receiver) == [("process tasks.tick", "CONSUMER", None, "UNSET")]
    assert told(receiver) == [("tick", None)]


def test_a_worker_without_the_agent_reads_a_task_and_strange_ids_are_no_session(
    send, consume, receiver, run_python, redis_url
):
    env = {"REDIS": redis_url, "QUEUE": "strange"}
    send("strange", [("keyword", 1, "s1")])
    bare = run_python(BARE, under_agent=False, env=env, files=FILES)
    assert (bare.returncode, bare.stderr) == (0, "working on 1 {'mine': 'yours'}\n")
    done = run_python(STRANGE, env=env)
    assert done.returncode == 0, done.stderr
    consume("strange", "thread", spans=10, logs=12, errors=2)

    # The first has been sent on by the worker without the agent, ids and all.
    assert told(receiver) == [
        ("working on 1 {'mine': 'yours'}", "s1"),
        *[("working on 3 {'mine': 'yours'}", None)] * 7,
        *[("trying 9", None)] * 2,
    ]
    assert spans(receiver) == [
        *[("process tasks.work", "CONSUMER", session, "UNSET") for session in ("s1", *[None] * 7)],
        *[("process tasks.retry", "CONSUMER", None, "ERROR")] * 2,
    ]
    assert [(error.type, error.session) for error in receiver.errors] == [
        ("_pickle.UnpicklingError", None),
        ("LookupError", None),
    ]


HOSTILE = """
import logging, os
from collections import OrderedDict
from hostile import told
from huey import RedisHuey
from sent import SENT

huey = RedisHuey("hostile", url=os.environ["BROKER"])
log = logging.getLogger("app")

@huey.task(context=True)
def work(number, task, **given):
    log.warning(number)
    print(told(number, [type(task.kwargs), task.args, given]))

if __name__ == "__main__":
    import program  # its name is a part of the task's

    for number, _, pairs, _ in SENT:
        message = program.huey._registry.create_message(program.work.s(str(number), mine="yours"))
        kwargs = OrderedDict(message.kwargs)
        kwargs._highlight_headers = dict(pairs)
        huey.storage.enqueue(huey.serializer.serialize(message._replace(kwargs=kwargs)))
        print(told(number, [dict, (str(number),), {"mine": "yours"}]))
"""


def test_hostile_headers_are_delivered_and_the_consumer_goes_on(run_python, run_service, receiver, redis_url):
    kinds = "str bytes int bool list dict NoneType"
    worker = "huey_consumer program.huey -w 1 -n -q"
    env = {"BROKER": redis_url}
    hostile.work_off(run_python, run_service, receiver, HOSTILE, worker, "process program.work", kinds, env)
