"""multiprocessing and process pools: the ids go to other processes with the work, and stay behind in none."""

from __future__ import annotations

import json
import re
import sys

import pytest

from tests.support.services import BIN

METHODS = ["fork", "spawn", "forkserver"]

PROCESSES = """
import logging, multiprocessing, sys, threading
from highlight_autoinstrument import trace

log = logging.getLogger("app")

def work(text):
    log.warning(text)

def fail(text):
    log.warning(text)
    raise LookupError(text)

def logged(text):
    try:
        fail(text)
    except LookupError:
        log.exception("it failed")

def nested(context):
    run(context, work, "nested")

class Process(multiprocessing.get_context(sys.argv[1]).Process):
    def run(self):
        work("subclass")

def run(context, *job):
    process = context.Process(target=job[0], args=job[1:])
    attributes = set(vars(process))
    process.start()
    assert "highlight" not in " ".join(vars(process)), vars(process)
    process.join()
    print(process.exitcode)

def through_a_queue(context):
    queue = context.Queue()
    queue.put(1)  # which starts a thread that feeds it
    print(queue.get())
    return queue

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with trace("one", session_secure_id="s1", request_id="r1") as span:
        run(context, work, "target")
        run(context, nested, context)
        process = Process()
        process.start()
        process.join()
        run(context, fail, "fails")
        run(context, logged, "caught")
        queue = through_a_queue(context)
    run(context, work, "outside")
"""
POOLS = """
import json, logging, multiprocessing, os, re, sys, time, traceback
from concurrent.futures import ProcessPoolExecutor
import joblib
from highlight_autoinstrument import active, trace

log = logging.getLogger("app")

def session(*_):
    unit = active.current()
    return [unit and unit.ids and unit.ids.session_id, os.getpid()]

def fail(how, _=None):
    try:
        raise LookupError(how)
    except LookupError:
        if how == "logged":
            log.exception("it failed")
        raise

def ask(pool, executor):
    found = [
        pool.apply(session), *pool.map(session, [1]), *pool.starmap(session, [(1, 2)]), *pool.imap(session, [1]),
        *pool.imap(session, [1, 2], 2), *pool.imap_unordered(session, [1]), pool.apply_async(session).get(),
        executor.submit(session).result(), *executor.map(session, [1]), *executor.map(session, [1, 2], chunksize=2),
    ]
    return found

def main():
    context = multiprocessing.get_context(sys.argv[1])
    answers = []
    with trace("one", session_secure_id="s1"):
        executor, pool = ProcessPoolExecutor(1, context), context.Pool(1)
        answers.append(ask(pool, executor))
    with trace("two", session_secure_id="s2"):
        answers.append(ask(pool, executor))
    answers.append(ask(pool, executor))
    print(json.dumps(answers))
    for job in (lambda how: pool.apply(fail, (how,)), lambda how: executor.submit(fail, how).result()):
        for how in ("raised", "logged"):
            with trace(how, session_secure_id="s3"):
                job(how)
    pool.close()
    pool.join()
    executor.shutdown()

def tell():
    # What both do with errors of all kinds, to be compared with a run without the agent.
    context = multiprocessing.get_context(sys.argv[1])
    executor, pool = ProcessPoolExecutor(1, context), context.Pool(1)
    with trace("tell", session_secure_id="s1"):
        for function, arguments in (
            (lambda: 1, ()), (fail, ("raised",)), (fail, ()), (session, (lambda: 1,)), (7, ()),
        ):
            for job in (
                lambda: executor.submit(function, *arguments).result(),
                lambda: pool.apply(function, arguments),
                lambda: pool.map(function, arguments),
                lambda: list(pool.imap(function, arguments)),
                lambda: context.Process(target=function, args=arguments).start(),
            ):
                try:
                    result = job()
                except BaseException as error:
                    result = "".join(traceback.format_exception(error))
                print(re.sub("0x[0-9a-f]+|[0-9]+(?=, )", "", str(result)))
    pool.terminate()
    executor.shutdown()

def keep():
    found = []
    for name in ("s1", "s2"):
        with trace(name, session_secure_id=name):
            found += joblib.Parallel(2)(joblib.delayed(session)(number) for number in range(4))
    print(json.dumps([session for session, pid in found]))

def manage():
    context = multiprocessing.get_context(sys.argv[1])
    with trace("one", session_secure_id="s1"):
        manager = context.Manager()
        pool = manager.Pool(1)  # a pool in the manager's process
        shared = manager.dict()
        shared["a"] = pool.apply(session)[0]
    print(json.dumps(dict(shared)))
    manager.shutdown()

if __name__ == "__main__":
    try:
        globals()[sys.argv[2]]()
    except LookupError as error:
        print("stopped by", error)
        raise
"""


def told(receiver):
    return sorted((log.body, log.session or "") for log in receiver.logs if log.logger == "app")


def errors(receiver):
    return sorted((error.type, error.message, error.session) for error in receiver.errors)


@pytest.mark.parametrize("method", METHODS)
def test_a_process_works_for_whoever_started_it(run_python, receiver, method):
    done = run_python(["app.py", method], files={"app.py": PROCESSES})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "0", "0", "1", "0", "1", "0"]
    assert done.stderr.count("Traceback") == 2  # of what ended a process, and of what was logged

    receiver.wait(spans=1, logs=6, errors=2)
    (span,) = receiver.spans
    assert (span.name, span.session, span.status) == ("one", "s1", "UNSET")
    assert told(receiver) == [
        ("caught", "s1"),
        ("fails", "s1"),
        ("it failed", "s1"),
        ("nested", "s1"),
        ("outside", ""),
        ("subclass", "s1"),
        ("target", "s1"),
    ]
    assert errors(receiver) == [("LookupError", "caught", "s1"), ("LookupError", "fails", "s1")]
    for log in receiver.logs:
        same = (span.trace_id, span.span_id, span.highlight_trace)
        assert (log.trace_id, log.span_id, log.highlight_trace) == (("", "", None) if log.body == "outside" else same)


@pytest.mark.parametrize("method", METHODS)
def test_a_pools_processes_work_for_whoever_submits(run_python, receiver, method):
    done = run_python(["app.py", method, "main"], files={"app.py": POOLS})
    assert done.stdout.splitlines()[1:] == ["stopped by raised"], done.stderr

    answers = json.loads(done.stdout.splitlines()[0])
    assert [{session for session, _ in each} for each in answers] == [{"s1"}, {"s2"}, {None}]
    assert [len(each) for each in answers] == [12] * 3
    assert len({pid for each in answers for _, pid in each}) == 2
    receiver.wait(spans=3, errors=1)
    (error,) = receiver.errors
    assert (error.type, error.message, error.session) == ("LookupError", "raised", "s3")
    there, here = error.stacktrace.split("During handling of the above exception, another exception occurred:")
    assert "in fail\n    raise LookupError(how)\nLookupError: raised" in there
    assert "in apply\n" in here
    assert here.endswith("LookupError: raised\n")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_fails_fails_as_ever(run_python, method):
    runs = [
        run_python(["app.py", method, "tell"], files={"app.py": POOLS}, under_agent=under_agent)
        for under_agent in (True, False)
    ]

    outputs = [run.stdout for run in runs]
    if sys.version_info < (3, 11):  # there a frame cannot be taken out of a traceback
        outputs[0] = re.sub(r'  File ".*highlight_autoinstrument/.*\n .*\n', "", outputs[0])
    assert outputs[0] == outputs[1]
    assert runs[0].stdout.count("LookupError") > 4


def test_pools_of_others_and_managers_keep_nothing(run_python):
    done = run_python(["app.py", "spawn", "keep"], files={"app.py": POOLS})
    assert json.loads(done.stdout) == [None] * 8, done.stderr
    done = run_python(["app.py", "fork", "manage"], files={"app.py": POOLS})
    assert json.loads(done.stdout) == {"a": None}, done.stderr


def test_a_child_without_the_agent_understands_its_work(run_python):
    """Where it is another interpreter's, or was switched off."""
    source = POOLS.replace(
        "def session(*_):\n", "def session(*_):\n    return 'PYTHONPATH' in os.environ, os.getpid()\n"
    ).replace(
        "def main():\n", "def main():\n    multiprocessing.set_executable(__file__.replace('app.py', 'without'))\n"
    )
    without = f'#!/bin/sh\nunset PYTHONPATH\nexec {BIN / "python"} "$@"\n'
    run_python("import os; os.chmod('without', 0o755)", files={"app.py": source, "without": without})
    done = run_python(["app.py", "spawn", "main"])

    answers = json.loads(done.stdout.splitlines()[0])
    assert {there for each in answers for there, _ in each} == {False}
    assert done.stdout.splitlines()[1:] == ["stopped by raised"], done.stderr


def test_what_goes_to_another_process_names_nothing_of_ours(run_python):
    source = """
from multiprocessing.reduction import ForkingPickler
from highlight_autoinstrument import processes, trace
with trace("one", session_secure_id="s1"):
    text = bytes(ForkingPickler.dumps(processes.job(print)))
print(b"s1" in text, b"highlight_autoinstrument" in text)
"""
    assert run_python(source).stdout == "True False\n"
