"""Threads and pools: the ids go along with the work, and stay behind in no thread."""

from __future__ import annotations

import json
import sys

import pytest

APP = '''
import asyncio, json, logging, multiprocessing, os, queue, sys, threading, time, traceback
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from flask import Flask, request

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
log = logging.getLogger("work")
state = {}

def work(text="work"):
    log.warning(text)
    return threading.current_thread().name

class Thread(threading.Thread):
    def run(self):
        work("subclass")

def in_thread(thread):
    thread.start()
    thread.join()

@app.get("/thread")
def thread():
    in_thread(threading.Thread(target=work, args=("target",)))
    in_thread(Thread())
    in_thread(threading.Timer(0, work, ("timer",)))
    in_thread(threading.Thread(target=lambda: in_thread(threading.Thread(target=work, args=("nested",)))))
    return ""

@app.get("/pool")
def pool():
    pool = state.setdefault("pool", ThreadPoolExecutor(1))
    names = {pool.submit(work, "submit").result(), *pool.map(work, ["map"])}
    return json.dumps([*names, len(pool._threads)])

@app.get("/loop")
def loop():
    async def main():
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, work, "default")
        await loop.run_in_executor(state.setdefault("executor", ThreadPoolExecutor(1)), work, "own")
        await asyncio.to_thread(work, "to_thread")
        await asyncio.create_task(coroutine("task"))
        await asyncio.gather(coroutine("gather"))
        loop.call_soon(work, "call_soon")
        asyncio.run_coroutine_threadsafe(coroutine("threadsafe"), loop)
        await asyncio.sleep(0.05)
    run = asyncio.run
    if request.args.get("loop") == "uvloop":
        import uvloop
        run = getattr(uvloop, "run", lambda main: uvloop.new_event_loop().run_until_complete(main))  # since 0.18
    run(main())
    return ""

async def coroutine(text):
    await asyncio.sleep(0)
    work(text)

@app.get("/thread_pool")
def thread_pool():
    pool = state.setdefault("thread_pool", ThreadPool(1))
    pool.apply(work, ("apply",))
    pool.apply_async(work, ("apply_async",), callback=lambda _: work("callback")).get()
    pool.map(work, ["map"])
    pool.starmap(work, [("starmap",)])
    list(pool.imap(work, ["imap"]))
    list(pool.imap_unordered(work, ["imap_unordered"]))
    return ""

@app.get("/from_outside")
def from_outside():
    """What other threads put into the pools, which a request has made, is nobody's."""
    state["outside"].put(None)
    return state["answers"].get()

def outside():
    while True:
        state["outside"].get()
        if "pool" in state:
            state["pool"].submit(work, "outside").result()
        if "thread_pool" in state:
            state["thread_pool"].apply(work, ("outside",))
        if "executor" in state:
            state["executor"].submit(work, "outside").result()
        state["answers"].put("done")

def session():
    from highlight_autoinstrument import active
    unit = active.current()
    return unit and unit.ids and unit.ids.session_id

@app.get("/processes")
def processes():
    """Processes that the first request has forked, and the thread that calls back."""
    if "processes" not in state:
        fork = multiprocessing.get_context("fork")
        state["processes"] = ProcessPoolExecutor(1, fork), fork.Pool(1)
    executor, pool = state["processes"]
    called_back = queue.Queue()
    future = executor.submit(session)
    executor.submit(time.sleep, 0.1).add_done_callback(lambda _: called_back.put(session()))
    found = [future.result(), called_back.get(), pool.apply(session)]
    pool.apply_async(session, callback=lambda _: called_back.put(session())).get()
    return json.dumps([*found, called_back.get()])

@app.get("/fails/<where>")
def fails(where):
    def fail():
        raise ValueError(where)
    if where == "thread":
        in_thread(threading.Thread(target=fail))
    elif where == "hooked":
        threading.excepthook = lambda args: print("the hook of the application:", args.exc_value, file=sys.stderr)
        in_thread(threading.Thread(target=fail))
    elif where == "exit":
        in_thread(threading.Thread(target=sys.exit))
    elif where == "future":
        try:
            ThreadPoolExecutor(1).submit(fail).result()
        except ValueError as error:
            return json.dumps([frame.name for frame in traceback.extract_tb(error.__traceback__)])
    return ""

state["outside"], state["answers"] = queue.Queue(), queue.Queue()
threading.Thread(target=outside, daemon=True).start()
app.run(port=int(os.environ["PORT"]))
'''
S1 = {"x-highlight-request": "s1/r1"}
S2 = {"x-highlight-request": "s2/r2"}


@pytest.fixture
def service(run_service):
    return run_service("python app.py", files={"app.py": APP})


def told(receiver):
    return [(log.body, log.session, log.span_id) for log in receiver.logs]


def spans(receiver):
    return {span.session: span.span_id for span in receiver.spans}


def test_a_thread_works_for_the_request_that_started_it(service, receiver):
    service.get("/thread", S1)
    service.get("/thread")

    receiver.wait(spans=2, logs=8)
    ids = spans(receiver)
    texts = ["target", "subclass", "timer", "nested"]
    assert told(receiver) == [(text, session, ids[session]) for session in ("s1", None) for text in texts]


def test_a_pools_thread_works_for_whoever_submits(service, receiver):
    """The pool, and its only thread, are made by the first request."""
    answers = [service.get("/pool", incoming).text for incoming in (S1, S2, {})]
    service.get("/from_outside", S2)

    receiver.wait(spans=4, logs=7)
    ids = {span.name + str(span.session): span.span_id for span in receiver.spans}
    assert {answer: json.loads(answer)[1:] for answer in answers} == {answers[0]: [1]}
    assert told(receiver) == [
        (text, session, ids[f"GET /pool{session}"]) for session in ("s1", "s2", None) for text in ("submit", "map")
    ] + [("outside", None, "")]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_loops_executors_tasks_and_callbacks(service, receiver, loop):
    for incoming in (S1, S2, {}):
        service.get(f"/loop?loop={loop}", incoming)
    service.get("/from_outside", S2)

    texts = {"default", "own", "to_thread", "task", "gather", "call_soon", "threadsafe"}
    receiver.wait(spans=4, logs=22)
    ids = {span.name + str(span.session): span.span_id for span in receiver.spans}
    assert set(told(receiver)) == {
        (text, session, ids[f"GET /loop{session}"]) for session in ("s1", "s2", None) for text in texts
    } | {("outside", None, "")}
    assert len(receiver.logs) == 22


def test_multiprocessings_pool_of_threads(service, receiver):
    for incoming in (S1, S2, {}):
        service.get("/thread_pool", incoming)
    service.get("/from_outside", S2)

    receiver.wait(spans=4, logs=22)
    ids = {span.name + str(span.session): span.span_id for span in receiver.spans}
    texts = {"apply", "apply_async", "map", "starmap", "imap", "imap_unordered"}
    logs = told(receiver)
    assert {line for line in logs if line[0] != "callback"} == {
        (text, session, ids[f"GET /thread_pool{session}"]) for session in ("s1", "s2", None) for text in texts
    } | {("outside", None, "")}
    assert {line for line in logs if line[0] == "callback"} == {("callback", None, "")}
    assert len(logs) == 22


def test_processes_work_for_whoever_submits_and_what_feeds_them_for_nobody(service):
    """Forked in a request's thread, they would work for it for ever."""
    assert [json.loads(service.get("/processes", each).text) for each in (S1, S2, {})] == [
        ["s1", None, "s1", None],
        ["s2", None, "s2", None],
        [None] * 4,
    ]


def test_an_exception_that_ends_a_thread_is_an_error(service, receiver):
    assert [service.get(f"/fails/{where}", S1).status for where in ("thread", "exit", "hooked")] == [200] * 3

    receiver.wait(spans=3, errors=2)
    assert [(error.type, error.message, error.session) for error in receiver.errors] == [
        ("ValueError", "thread", "s1"),
        ("ValueError", "hooked", "s1"),
    ]
    assert [span.status for span in receiver.spans] == ["UNSET"] * 3
    assert len(receiver.logs) == 2
    assert service.stderr.count("Exception in thread") == 1
    assert "the hook of the application: hooked" in service.stderr


def test_the_exception_of_a_job_is_its_callers(service, receiver, run_service):
    bare = run_service("python app.py", files={"app.py": APP}, bare=True)

    inside, outside = (json.loads(each.get("/fails/future", S1).text) for each in (service, bare))

    if sys.version_info < (3, 11):  # there a frame cannot be taken out of a traceback
        inside.remove("__call__")
    assert inside == outside
    receiver.wait(spans=1)
    assert receiver.errors == receiver.logs == []
