"""rq: from a request into a queue, and from there into the work horse that performs the job."""

from __future__ import annotations

import pytest
import rq

from tests.support import hostile

JOBS = """
import logging, os, signal

log = logging.getLogger("app")

def work(number):
    log.warning("working on %s", number)
    return number

def fail(number):
    log.warning("failing on %s", number)
    raise LookupError(f"no such order: {number}")

def die(number):
    log.warning("dying on %s", number)
    os.kill(os.getpid(), signal.SIGKILL)

async def soon(number):
    log.warning("awaiting %s", number)

def more(number):
    from redis import Redis
    from rq import Queue
    from jobs import work
    Queue(os.environ["QUEUE"], connection=Redis.from_url(os.environ["REDIS"])).enqueue(work, number)

def raising(job, connection, *_):
    raise ValueError("the callback failed")

def noting(job, connection, *_):
    log.warning("noted")
"""
APP = """
import logging, os
from datetime import timedelta
from flask import Flask, request
from redis import Redis
import rq
from rq import Queue, Retry
from rq.job import Job
import jobs

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
connection = Redis.from_url(os.environ["REDIS"])

@app.post("/<queue>/<way>")
def send(queue, way):
    queue = Queue(queue, connection=connection)
    meta = {"mine": "yours"}
    if way == "work":
        job = queue.enqueue(jobs.work, 1, meta=meta)
    elif way == "fail":
        job = queue.enqueue(jobs.fail, 2, on_failure=jobs.noting)
    elif way == "retry":
        job = queue.enqueue(jobs.fail, 3, retry=Retry(max=1))
    elif way == "soon":
        unique = {"unique": True} if hasattr(rq, "SpawnWorker") else {}
        job = queue.enqueue(jobs.soon, 4, job_id=queue.name, **unique)
    elif way == "later":
        job = queue.enqueue_in(timedelta(0), jobs.work, 5)
    elif way == "after":
        job = queue.enqueue(jobs.work, 6)
        queue.enqueue(jobs.work, 7, depends_on=job)
    elif way == "many":
        job = queue.enqueue_many([Queue.prepare_data(jobs.work, (n,)) for n in (8, 9)])[0]
    elif way == "callback":
        job = queue.enqueue(jobs.work, 10, on_success=jobs.raising)
    elif way == "more":
        job = queue.enqueue(jobs.more, 11)
    elif way == "here":
        job = Queue(queue.name, is_async=False, connection=connection).enqueue(jobs.fail, 12)
    elif way == "die":
        job = queue.enqueue(jobs.die, 16)
    elif way == "gone":
        job = queue.enqueue("nowhere.work", 13)
    elif way == "unreadable":
        job = queue.enqueue(jobs.work, 14)
        connection.hset(job.key, "data", b"no pickle")
    elif way == "strange":
        for value in [b"null", b"a" * 1_000_000 + b"/r", b"s\\r\\nx: y/r", b"\\xfc/r"]:
            job = Job.create(jobs.work, (15,), connection=connection)
            queue.enqueue_job(job)
            connection.hset(job.key, "x-highlight-request", value)
    assert meta == {"mine": "yours"}
    assert job.meta in ({}, meta), job.meta
    return str(Job.fetch(job.id, connection=connection).meta)

app.run(port=int(os.environ["PORT"]))
"""
WORKER = """
import logging, os, sys
from redis import Redis
import rq

def told_of(job, *_):
    logging.getLogger("app").warning("told of %s", job.func_name)

logging.getLogger("rq").setLevel(logging.WARNING)
kind = getattr(rq, sys.argv[1])
connection = Redis.from_url(os.environ["REDIS"])
worker = kind([os.environ["QUEUE"]], connection=connection, work_horse_killed_handler=told_of)
if sys.argv[2:] == ["scheduled"]:
    from rq.scheduler import RQScheduler
    scheduler = RQScheduler([os.environ["QUEUE"]], connection=worker.connection)
    scheduler.acquire_locks()
    scheduler.enqueue_scheduled_jobs()
worker.work(burst=True, logging_level="WARNING")
logging.getLogger("app").warning("done")
"""
KINDS = [kind for kind in ("Worker", "SimpleWorker", "SpawnWorker") if hasattr(rq, kind)]  # older ones have two


@pytest.fixture
def enqueue(run_service, receiver, redis_url):
    """Enqueue jobs, each in a request; the spans of the request are checked and forgotten."""
    service = run_service("python app.py", files={"app.py": APP, "jobs.py": JOBS}, env={"REDIS": redis_url})

    def enqueue(queue, way, session, names):
        headers = {"x-highlight-request": f"{session}/r1"} if session else {}
        answer = service.request("POST", f"/{queue}/{way}", headers)
        assert answer.status == 200, service.output
        receiver.wait(spans=len(names) + 1)
        assert spans(receiver) == [
            ("POST /<queue>/<way>", "SERVER", session, "UNSET"),
            *((f"send {name}", "PRODUCER", session, "UNSET") for name in names),
        ]
        sent = receiver.spans[-1]
        receiver.clear()
        return sent, answer.text

    return enqueue


@pytest.fixture
def work(run_service, redis_url):
    def work(queue, kind="Worker", *arguments):
        worker = run_service(
            ["python", "worker.py", kind, *arguments],
            files={"worker.py": WORKER, "jobs.py": JOBS},
            # Nothing is sent before the end, which has to send it.
            env={"REDIS": redis_url, "QUEUE": queue, "OTEL_BSP_SCHEDULE_DELAY": "60000"},
            wait=None,
        )
        assert worker.process.wait(30) == 0, worker.output

    return work


def spans(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def told(receiver, logger="app"):
    return [(log.body, log.session) for log in receiver.logs if log.logger == logger]


def errors(receiver):
    return [(error.type, error.message, error.session, error.source) for error in receiver.errors]


@pytest.mark.parametrize("kind", KINDS)
def test_each_job_is_performed_under_its_own_ids(enqueue, work, receiver, kind):
    queue = f"q-{kind}"
    sent, meta = enqueue(queue, "work", "s1", ["jobs.work"])
    assert meta == "{'mine': 'yours'}"
    enqueue(queue, "work", None, ["jobs.work"])
    enqueue(queue, "soon", "s2", ["jobs.soon"])
    enqueue(queue, "fail", "s3", ["jobs.fail"])
    work(queue, kind)

    receiver.wait(spans=4, logs=7, errors=1)
    assert spans(receiver) == [
        ("process jobs.work", "CONSUMER", "s1", "UNSET"),
        ("process jobs.work", "CONSUMER", None, "UNSET"),
        ("process jobs.soon", "CONSUMER", "s2", "UNSET"),
        ("process jobs.fail", "CONSUMER", "s3", "ERROR"),
    ]
    assert (receiver.spans[0].trace_id, receiver.spans[0].parent_id) == (sent.trace_id, sent.span_id)
    assert receiver.spans[0].attributes["messaging.destination.name"] == queue
    assert told(receiver) == [
        ("working on 1", "s1"),
        ("working on 1", None),
        ("awaiting 4", "s2"),
        ("failing on 2", "s3"),
        ("noted", "s3"),
        ("done", None),
    ]
    serious = [log for log in receiver.logs if log.severity_text != "INFO"]  # a spawned work horse tells more
    assert [log.session for log in serious if log.logger == "rq.worker"] == ["s3"]
    assert len(serious) == 7
    assert errors(receiver) == [("LookupError", "no such order: 2", "s3", "span")]


def test_a_failure_is_an_error_once_the_job_is_not_tried_again(enqueue, work, receiver):
    enqueue("retry", "retry", "s1", ["jobs.fail"])
    work("retry", "SimpleWorker")

    receiver.wait(spans=2, logs=5, errors=1)
    assert spans(receiver) == [("process jobs.fail", "CONSUMER", "s1", "ERROR")] * 2
    assert [len(span.events) for span in receiver.spans] == [0, 1]
    assert told(receiver) == [("failing on 3", "s1")] * 2 + [("done", None)]
    assert errors(receiver) == [("LookupError", "no such order: 3", "s1", "span")]


def test_jobs_that_wait_for_a_time_or_for_each_other_keep_their_ids(enqueue, work, receiver):
    enqueue("waiting", "later", "s1", ["jobs.work"])
    enqueue("waiting", "after", "s2", ["jobs.work", "jobs.work"])
    enqueue("waiting", "many", "s3", ["waiting"])
    enqueue("waiting", "more", "s4", ["jobs.more"])
    work("waiting", "SimpleWorker", "scheduled")

    receiver.wait(spans=8, logs=7)
    assert sorted(told(receiver)[:-1]) == [
        ("working on 11", "s4"),
        ("working on 5", "s1"),
        ("working on 6", "s2"),
        ("working on 7", "s2"),
        ("working on 8", "s3"),
        ("working on 9", "s3"),
    ]
    assert told(receiver)[-1] == ("done", None)
    assert sorted(spans(receiver)) == sorted(
        [
            *[("process jobs.work", "CONSUMER", session, "UNSET") for session in ("s1", "s2", "s2", "s3", "s3", "s4")],
            ("process jobs.more", "CONSUMER", "s4", "UNSET"),
            ("send jobs.work", "PRODUCER", "s4", "UNSET"),
        ]
    )
    assert receiver.errors == []


def test_a_callback_that_fails_and_a_job_that_cannot_be_read_are_errors_of_their_jobs(enqueue, work, receiver):
    enqueue("broken", "callback", "s1", ["jobs.work"])
    enqueue("broken", "gone", "s2", ["nowhere.work"])
    enqueue("broken", "unreadable", "s3", ["jobs.work"])
    work("broken")

    receiver.wait(spans=3, errors=3)
    assert spans(receiver) == [
        ("process jobs.work", "CONSUMER", "s1", "ERROR"),
        ("process nowhere.work", "CONSUMER", "s2", "ERROR"),
        ("process broken", "CONSUMER", "s3", "ERROR"),
    ]
    assert [(error.type.rpartition(".")[2], error.session, error.source) for error in receiver.errors] == [
        ("ValueError", "s1", "span"),
        ("ValueError", "s2", "span"),
        ("DeserializationError", "s3", "span"),
    ]


def test_a_work_horse_that_is_killed_leaves_a_failed_span_of_its_job(enqueue, work, receiver):
    enqueue("killed", "die", "s1", ["jobs.die"])
    enqueue("killed", "work", "s2", ["jobs.work"])
    work("killed")

    says_so = "log" in rq.Worker.handle_work_horse_killed.__code__.co_names  # older ones do not
    receiver.wait(spans=2, logs=5 if says_so else 4)
    assert [
        (*span, end.attributes.get("error.type")) for span, end in zip(spans(receiver), receiver.spans, strict=True)
    ] == [
        ("process jobs.die", "CONSUMER", "s1", "ERROR", "killed"),
        ("process jobs.work", "CONSUMER", "s2", "UNSET", None),
    ]
    assert told(receiver) == [("told of jobs.die", "s1"), ("working on 1", "s2"), ("done", None)]
    said = [(log.body, log.session) for log in receiver.logs if log.logger != "app"]
    assert [session for _, session in said] == ([None, "s1"] if says_so else [None])
    assert "terminated unexpectedly" in said[0][0]
    assert receiver.errors == []


def test_a_queue_that_works_at_once_reports_the_failure_that_it_keeps(run_service, receiver, redis_url):
    service = run_service("python app.py", files={"app.py": APP, "jobs.py": JOBS}, env={"REDIS": redis_url})
    assert service.request("POST", "/here/here", {"x-highlight-request": "s1/r1"}).status == 200

    receiver.wait(spans=3, errors=1)
    assert spans(receiver) == [
        ("POST /<queue>/<way>", "SERVER", "s1", "UNSET"),
        ("send jobs.fail", "PRODUCER", "s1", "UNSET"),
        ("process jobs.fail", "CONSUMER", "s1", "ERROR"),
    ]
    assert errors(receiver) == [("LookupError", "no such order: 12", "s1", "span")]


def test_strange_ids_are_no_session(enqueue, work, receiver):
    enqueue("strange", "strange", "s1", [])
    work("strange", "SimpleWorker")

    receiver.wait(spans=4, logs=5)
    assert told(receiver) == [("working on 15", None)] * 4 + [("done", None)]
    assert receiver.errors == []


HOSTILE = """
import logging, os, sys
from hostile import NAMES, told
from redis import Redis
from rq import Queue, SimpleWorker, get_current_job
from rq.job import Job
from sent import SENT

connection = Redis.from_url(os.environ["BROKER"])
log = logging.getLogger("app")

def fields(job):
    raw = {name.decode(): value for name, value in sorted(connection.hgetall(job.key).items())}
    return {name: value for name, value in raw.items() if name in NAMES}

def work(number):
    job = get_current_job()
    log.warning(number)
    job.save()
    print(told(number, [fields(job), job.kwargs, job.meta]))

if __name__ == "__main__":
    queue = Queue("hostile", connection=connection)
    if sys.argv[1] == "send":
        for number, _, pairs, _ in SENT:
            job = Job.create("program.work", (str(number),), connection=connection)
            queue.enqueue_job(job)
            if pairs:
                connection.hset(job.key, mapping=dict(pairs))
            print(told(number, [fields(job), {}, {}]))
    else:
        SimpleWorker([queue], connection=connection).work(burst=True, logging_level="WARNING")
"""


def test_hostile_fields_are_kept_and_the_worker_goes_on(run_python, receiver, redis_url):
    env = {"BROKER": redis_url}
    # The fields of a job's hash have one name each, and only those of ours are looked at.
    without = ("another case",)
    hostile.exchange(run_python, receiver, HOSTILE, "process program.work", "str bytes", env, without=without)
