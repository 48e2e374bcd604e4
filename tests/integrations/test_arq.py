"""arq: from a request into Redis, and from there into the worker's tasks."""

from __future__ import annotations

import pytest

from tests import environment
from tests.support import hostile

APP = """
import logging, os
from contextlib import asynccontextmanager
from datetime import timedelta
from arq import create_pool
from arq.connections import RedisSettings
from fastapi import FastAPI
import uvicorn

made = {}

@asynccontextmanager
async def lifespan(_):
    made["pool"] = await create_pool(RedisSettings.from_dsn(os.environ["REDIS"]))
    yield
    await getattr(made["pool"], "aclose", made["pool"].close)()

app = FastAPI(lifespan=lifespan)

@app.post("/{queue}/{way}/{number}")
async def send(queue: str, way: str, number: int):
    later = {"_defer_by": timedelta(milliseconds=1)} if way == "work" and number == 5 else {}
    job = await made["pool"].enqueue_job(way, number, _queue_name=queue, **later)
    return {"info": str((await job.info()).args)}

uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning")
"""
WORKER = """
import asyncio, inspect, logging, os, sys
from arq import Retry, func
from arq.connections import RedisSettings
from arq.worker import Worker

log = logging.getLogger("app")
barrier = asyncio.Event()

async def work(ctx, number):
    log.warning("working on %s", number)

async def fail(ctx, number):
    log.warning("failing on %s", number)
    raise LookupError(f"no such order: {number}")

async def retry(ctx, number):
    log.warning("trying %s", number)
    if ctx["job_try"] < 3:
        raise Retry()

async def never(ctx, number):
    log.warning("trying %s", number)
    raise Retry()

async def first(ctx, number):
    log.warning("begin %s", number)
    await barrier.wait()
    log.warning("end %s", number)

async def second(ctx, number):
    log.warning("begin %s", number)
    barrier.set()

async def more(ctx, number):
    await ctx["redis"].enqueue_job("work", number, _queue_name=os.environ["QUEUE"])

async def ended(ctx):
    log.warning("after %s", ctx["job_id"][:0])

logging.getLogger("arq").setLevel("WARNING")
functions = [work, fail, retry, func(never, max_tries=2), first, second, more]
at_end = "after_job_end" if "after_job_end" in inspect.signature(Worker).parameters else "on_job_end"
worker = Worker(
    functions,
    burst=True,
    keep_result=int(os.environ.get("KEEP", "60")),
    queue_name=os.environ["QUEUE"],
    redis_settings=RedisSettings.from_dsn(os.environ["REDIS"]),
    poll_delay=0.02,
    **{at_end: ended},
)
try:
    worker.run()
finally:
    log.warning("done")
"""
STRANGE = """
import asyncio, os, pickle, sys
from arq import create_pool
from arq.connections import RedisSettings

async def main():
    pool = await create_pool(RedisSettings.from_dsn(os.environ["REDIS"]))
    values = [None, "null", 7, ["s/r"], "a" * 1_000_000 + "/r", "s\\r\\nx: y/r", "\\u00fc/r"]
    for number, value in enumerate(values):
        headers = {"x-highlight-request": value, "traceparent": value}
        job = {"t": None, "f": "work", "a": (number,), "k": {}, "et": 1, **headers}
        await pool.set(f"arq:job:{number}", pickle.dumps(job))
        await pool.zadd("strange", {str(number): number + 1})
    broken = {"n1": b"no pickle", "n2": pickle.dumps(["no", "job"])}
    if sys.version_info < (3, 11):  # which shows the agent's frame that reads the job
        broken["n1"] = broken["n2"]
    for name, data in broken.items():
        await pool.set(f"arq:job:{name}", data)
        await pool.zadd("strange", {name: 100})

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def python():
    """An environment of its own: it wants an older client of Redis than kombu does."""
    return environment.beside("arq", ["arq", "fastapi", "uvicorn"])


@pytest.fixture
def work(run_service, receiver, redis_url, python):
    """Enqueue jobs, each in a request, and run a worker until the queue is empty; gives the spans that sent them."""

    def work(queue, jobs, **env):
        service = run_service([python, "app.py"], files={"app.py": APP}, env={"REDIS": redis_url})
        for way, number, session in jobs:
            headers = {"x-highlight-request": f"{session}/r1"} if session else {}
            answer = service.request("POST", f"/{queue}/{way}/{number}", headers)
            assert answer.text == f'{{"info":"({number},)"}}', service.output
        receiver.wait(spans=2 * len(jobs))
        sent = receiver.spans
        receiver.clear()
        run_worker(run_service, python, redis_url, queue, **env)
        return sent

    return work


def run_worker(run_service, python, redis_url, queue, **env):
    # Nothing is sent before the end, which has to send it.
    env = {"REDIS": redis_url, "QUEUE": queue, "OTEL_BSP_SCHEDULE_DELAY": "60000", **env}
    worker = run_service([python, "worker.py"], files={"worker.py": WORKER}, env=env, wait=None)
    assert worker.process.wait(30) == 0, worker.output


def spans(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def told(receiver, logger="app"):
    return [(log.body, log.session) for log in receiver.logs if log.logger == logger]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


def test_each_job_runs_under_its_own_ids(work, receiver):
    sent = work("jobs", [("work", 1, "s1"), ("work", 2, None), ("fail", 3, "s3"), ("work", 5, "s5"), ("more", 6, "s6")])

    assert [(span.name, span.session) for span in sent if span.kind == "PRODUCER"] == [
        ("send work", "s1"),
        ("send work", None),
        ("send fail", "s3"),
        ("send work", "s5"),
        ("send more", "s6"),
    ]
    receiver.wait(spans=7, logs=13, errors=1)
    first = next(span for span in receiver.spans if span.session == "s1")
    assert (first.trace_id, first.parent_id) == (sent[1].trace_id, sent[1].span_id)
    assert first.attributes["messaging.destination.name"] == "jobs"
    assert sorted(spans(receiver), key=str) == sorted(
        [
            ("process work", "CONSUMER", "s1", "UNSET"),
            ("process work", "CONSUMER", None, "UNSET"),
            ("process fail", "CONSUMER", "s3", "ERROR"),
            ("process work", "CONSUMER", "s5", "UNSET"),
            ("process more", "CONSUMER", "s6", "UNSET"),
            ("send work", "PRODUCER", "s6", "UNSET"),
            ("process work", "CONSUMER", "s6", "UNSET"),
        ],
        key=str,
    )
    assert sorted(told(receiver), key=str) == sorted(
        [
            ("working on 1", "s1"),
            ("working on 2", None),
            ("failing on 3", "s3"),
            ("working on 5", "s5"),
            ("working on 6", "s6"),
            *[("after ", session) for session in ("s1", None, "s3", "s5", "s6", "s6")],
            ("done", None),
        ],
        key=str,
    )
    assert errors(receiver) == [("LookupError", "no such order: 3", "s3")]
    assert [session for _, session in told(receiver, "arq.worker")] == ["s3"]


def test_jobs_at_the_same_time_do_not_mix(work, receiver):
    work("both", [("first", 1, "s1"), ("second", 2, "s2")])

    receiver.wait(spans=2, logs=6)
    assert sorted(told(receiver), key=str) == [
        ("after ", "s1"),
        ("after ", "s2"),
        ("begin 1", "s1"),
        ("begin 2", "s2"),
        ("done", None),
        ("end 1", "s1"),
    ]
    assert sorted(spans(receiver)) == [
        ("process first", "CONSUMER", "s1", "UNSET"),
        ("process second", "CONSUMER", "s2", "UNSET"),
    ]


def test_a_retry_is_no_error_until_there_are_none_left(work, receiver):
    work("retry", [("retry", 1, "s1"), ("never", 2, "s2"), ("fail", 3, "s3")], KEEP="0")

    receiver.wait(spans=7, errors=2)
    assert sorted((span.name, span.session, span.status) for span in receiver.spans) == [
        ("process fail", "s3", "UNSET"),
        *[("process never", "s2", "ERROR"), ("process never", "s2", "UNSET"), ("process never", "s2", "UNSET")],
        *[("process retry", "s1", "UNSET")] * 3,
    ]
    assert sorted(errors(receiver)) == [
        ("LookupError", "no such order: 3", "s3"),
        ("arq.worker.JobExecutionFailed", "max 2 retries exceeded", "s2"),
    ]


def test_strange_jobs_are_no_session(run_service, run_python, receiver, redis_url, python):
    assert run_python(STRANGE, env={"REDIS": redis_url}, python=python).returncode == 0
    run_worker(run_service, python, redis_url, "strange")

    receiver.wait(spans=7, logs=17)
    assert [session for _, session in told(receiver)] == [None] * 15
    assert sorted(body for body, _ in told(receiver))[8:] == [f"working on {number}" for number in range(7)]
    assert [log.body for log in receiver.logs if log.logger == "arq.worker"] == [
        "deserializing job n1 failed",
        "deserializing job n2 failed",
    ]
    assert [error.type.rpartition(".")[2] for error in receiver.errors] == ["DeserializationError"] * 2


HOSTILE = """
import asyncio, logging, os, pickle, sys
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker
from hostile import told
from sent import SENT

settings = RedisSettings.from_dsn(os.environ["BROKER"])
log = logging.getLogger("app")

async def work(ctx, *args, **kwargs):
    log.warning(args[0])
    print(told(args[0], [args, kwargs]))

async def send():
    pool = await create_pool(settings)
    for number, _, pairs, _ in SENT:
        args, kwargs = (str(number),), {"mine": "yours"}
        job = {"t": None, "f": "work", "a": args, "k": kwargs, "et": 1, **dict(pairs)}
        await pool.set(f"arq:job:h{number}", pickle.dumps(job))
        await pool.zadd("hostile", {f"h{number}": number + 1})
        print(told(number, [args, kwargs]))

if sys.argv[1] == "send":
    asyncio.run(send())
else:
    Worker([work], burst=True, queue_name="hostile", redis_settings=settings, poll_delay=0.02).run()
"""


def test_hostile_headers_are_delivered_and_the_worker_goes_on(run_python, receiver, redis_url, python):
    kinds = "str bytes int bool list dict NoneType"
    env = {"BROKER": redis_url}
    hostile.exchange(run_python, receiver, HOSTILE, "process work", kinds, env, python=python)
