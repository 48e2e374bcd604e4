"""Forks, whenever they happen: each record arrives once, from whichever process made it, and nobody hangs."""

from __future__ import annotations

import functools
import signal

import pytest

from tests.support.services import wait_until


@pytest.fixture
def run_python(run_python):
    # coverage has a lock of its own, which a child may inherit from a thread that is not there.
    return functools.partial(run_python, measured=False)


def bodies(receiver):
    return [log.body for log in receiver.logs]


def check(program):
    assert program.returncode == 0, program.stderr
    assert "highlight: " not in program.stderr, program.stderr
    assert "Traceback" not in program.stderr, program.stderr


def test_the_parents_records_are_the_parents_to_send(run_python, receiver):
    program = run_python(
        """
import logging, os, sys
logging.warning("parent before")
pid = os.fork()
if not pid:
    logging.warning("child %s", os.getppid())
    sys.exit(0)
os.waitpid(pid, 0)
logging.warning("parent after")
""",
        env={"OTEL_BSP_SCHEDULE_DELAY": "3600000"},
    )
    check(program)
    parent = receiver.logs[0].resource["process.pid"]
    assert bodies(receiver) == ["parent before", f"child {parent}", "parent after"]
    first, child, last = (log.resource["process.pid"] for log in receiver.logs)
    assert first == last != child


def test_a_child_that_records_nothing_sends_nothing(run_python, receiver):
    program = run_python("""
import logging, os, sys
logging.warning("parent")
pid = os.fork()
if not pid:
    sys.exit(0)
os.waitpid(pid, 0)
""")
    check(program)
    assert bodies(receiver) == ["parent"]


def test_the_ids_of_parent_and_child_differ(run_python, receiver):
    program = run_python("""
import os, sys
from highlight_autoinstrument import trace
with trace("before"):
    pass
pid = os.fork()
with trace("after"):
    pass
if not pid:
    sys.exit(0)
os.waitpid(pid, 0)
""")
    check(program)
    assert sorted(span.name for span in receiver.spans) == ["after", "after", "before"]
    assert len({span.span_id for span in receiver.spans}) == 3
    assert len({span.trace_id for span in receiver.spans}) == 3


def test_forks_while_other_threads_record_and_export(run_python, receiver):
    program = run_python(
        """
import logging, os, signal, sys, threading
from highlight_autoinstrument import flush, trace
# Not a stream: a child would inherit the lock of its buffer, held by a thread that is not there.
logging.basicConfig(handlers=[logging.NullHandler()])
forks = 200
over = threading.Event()
counts = [0, 0, 0]

def work(number):
    while not over.is_set():
        with trace("work"):
            logging.warning("thread")
        counts[number] += 1
        over.wait(0.0005)

threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(3)]
for thread in threads:
    thread.start()
pids = []
for number in range(forks):
    pid = os.fork()
    if not pid:
        signal.alarm(30)  # a child that hangs dies by it, and is seen
        logging.warning("child %s", number)
        os._exit(0 if flush(20) else 3)
    pids.append(pid)
    if len(pids) == 4:
        for pid in pids:
            status = os.waitpid(pid, 0)[1]
            assert status == 0, status
        pids.clear()
over.set()
for thread in threads:
    thread.join()
print(sum(counts))
""",
        env={"OTEL_BSP_SCHEDULE_DELAY": "0", "OTEL_BSP_MAX_QUEUE_SIZE": "1000000"},
        timeout=120,
    )
    check(program)
    children = [log.body for log in receiver.logs if log.body.startswith("child")]
    assert sorted(children, key=lambda body: int(body.split()[1])) == [f"child {number}" for number in range(200)]
    assert bodies(receiver).count("thread") == len(receiver.spans) == int(program.stdout)
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans)


def test_a_fork_in_a_thread(run_python, receiver):
    program = run_python("""
import logging, os, sys, threading
logging.warning("parent")
def work():
    pid = os.fork()
    if not pid:
        logging.warning("child")
        from highlight_autoinstrument import flush
        os._exit(0 if flush(20) else 3)
    assert os.waitpid(pid, 0)[1] == 0
thread = threading.Thread(target=work)
thread.start()
thread.join()
""")
    check(program)
    assert bodies(receiver) == ["parent", "child"]


# multiprocessing

PROCESSES = """
import logging, multiprocessing, sys, threading

def work(number):
    logging.warning("child %s", number)
    threading.Thread(target=late, args=(number,)).start()

def late(number):
    threading.main_thread().join(0.2)
    logging.warning("late %s", number)

def fail():
    raise LookupError("in a child")

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    if sys.argv[2] == "before":
        logging.warning("parent")
    processes = [context.Process(target=work, args=(number,)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0, process.exitcode
    process = context.Process(target=fail)
    process.start()
    process.join()
    assert process.exitcode == 1
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("parent", ["before", "never"])
def test_children_of_multiprocessing(run_python, receiver, method, parent):
    program = run_python(
        ["app.py", method, parent], files={"app.py": PROCESSES}, env={"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    )
    assert program.returncode == 0, program.stderr
    assert "highlight" not in program.stderr, program.stderr
    expected = ["LookupError: in a child", "child 0", "child 1", "late 0", "late 1"]
    assert sorted(bodies(receiver)) == sorted([*expected, *(["parent"] if parent == "before" else [])])
    assert [(error.type, error.message) for error in receiver.errors] == [("LookupError", "in a child")]
    assert program.stderr.count("LookupError: in a child") == 1


def test_a_pool_of_processes(run_python, receiver):
    source = """
import logging, multiprocessing
from concurrent.futures import ProcessPoolExecutor

def work(number):
    logging.warning("child %s", number)
    return number

if __name__ == "__main__":
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        assert sum(pool.map(work, range(10))) == 45
    with multiprocessing.get_context("fork").Pool(2) as pool:  # which ends its children by SIGTERM
        assert sum(pool.map(work, range(10, 20))) == 145
"""
    program = run_python(["app.py"], files={"app.py": source}, env={"OTEL_BSP_SCHEDULE_DELAY": "3600000"})
    check(program)
    receiver.wait(logs=20)
    assert sorted(bodies(receiver)) == sorted(f"child {number}" for number in range(20))


def test_the_session_of_the_request_that_started_a_child(run_python, receiver):
    source = """
import logging, multiprocessing
from highlight_autoinstrument import trace
def work():
    logging.warning("child")
if __name__ == "__main__":
    with trace("job", session_secure_id="session"):
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join()
"""
    check(run_python(["app.py"], files={"app.py": source}))
    assert [(log.body, log.session) for log in receiver.logs] == [("child", "session")]
    assert [(span.name, span.session) for span in receiver.spans] == [("job", "session")]


# Servers that fork their workers

PREFORK = """
import logging, os, signal, sys, time
workers = []

def stop(number, frame):
    for pid in workers:
        os.kill(pid, signal.SIGTERM)

logging.warning("master")
for number in range(2):
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGTERM, signal.default_int_handler if number else lambda *_: sys.exit(0))
        logging.warning("worker %s", number)
        print("ready", flush=True)
        try:
            while True:
                time.sleep(60)
        except KeyboardInterrupt:
            sys.exit(0)
    workers.append(pid)
signal.signal(signal.SIGTERM, stop)
for pid in workers:
    while True:
        try:
            assert os.waitpid(pid, 0)[1] == 0
            break
        except InterruptedError:
            pass
logging.warning("master at the end")
"""


def test_a_server_that_forks_its_workers(run_service, receiver):
    service = run_service(
        ["python", "app.py"],
        files={"app.py": PREFORK},
        wait=lambda service: service.stdout.count("ready") == 2,
        env={"OTEL_BSP_SCHEDULE_DELAY": "3600000"},
    )
    assert service.stop(signal.SIGTERM) == 0
    assert sorted(bodies(receiver)) == ["master", "master at the end", "worker 0", "worker 1"]
    by_process = {log.body: log.resource["process.pid"] for log in receiver.logs}
    assert by_process["master"] == by_process["master at the end"]
    assert len(set(by_process.values())) == 3


def test_a_child_that_goes_on_after_its_parent(run_python, receiver):
    program = run_python("""
import logging, os, sys
reader, writer = os.pipe()
if not os.fork():
    if not os.fork():
        os.setsid()
        os.read(reader, 1)  # until the parent has ended
        logging.warning("daemon")
        sys.exit(0)
    os._exit(0)
os.wait()
os.close(reader)
logging.warning("parent")
os.write(writer, b"x")
""")
    check(program)
    wait_until(lambda: len(receiver.logs) == 2)
    receiver.settle()
    assert sorted(bodies(receiver)) == ["daemon", "parent"]
