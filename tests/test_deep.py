"""An application that has used up its stack, or its memory, meets its own failure, and the agent goes on afterwards."""

from __future__ import annotations

DEEP = """
import json, logging, sys, threading

logging.basicConfig(format="%(message)s")
log = logging.getLogger("deep")
logging.raiseExceptions = False
results = []


def dig(depth, what):
    if depth:
        return dig(depth - 1, what)
    return what()


class Quiet(logging.Handler):
    def handle(self, record):
        return True


log.propagate = False
log.addHandler(Quiet())


def base():
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def at_the_edge(what):
    # The outcome of each of the last frames, before there is none left: from where on it fails is the application's.
    found = []
    free = sys.getrecursionlimit() - base()
    for depth in range(free - 60, free + 2):
        try:
            found.append(dig(depth, what))
        except BaseException as error:
            found.append(type(error).__name__)
    return found


def failing():
    try:
        raise KeyError("deep")
    except KeyError:
        log.exception("failed in the deep")
        return "logged"


def thread():
    started = threading.Thread(target=lambda: None)
    started.start()
    started.join()
    return "started"


for what in (lambda: log.warning("deep"), failing, thread):
    found = at_the_edge(what)
    assert set(map(str, found)) <= {"None", "logged", "started", "RecursionError"}, found
    first = found.index("RecursionError")
    # One failure after another: nothing that succeeds deeper than what fails.
    assert set(found[first:]) == {"RecursionError"}, found
    print(len(found) - first)
log.error("after all")
try:
    {}["after"]
except KeyError:
    log.exception("the end")
"""


def test_a_stack_that_is_used_up_is_the_applications_and_nothing_goes_off(run_python, receiver):
    bare = run_python(DEEP, under_agent=False)
    run = run_python(DEEP, env={"HIGHLIGHT_RAISE_ERRORS": "false"}, measured=False)

    assert (run.returncode, run.stderr) == (bare.returncode, bare.stderr) == (0, "")
    # What the agent does itself on the stack is a few frames of the application's.
    counts = list(zip(map(int, bare.stdout.split()), map(int, run.stdout.split()), strict=True))
    assert all(ours <= own + 5 for own, ours in counts), counts
    assert "after all" in [log.body for log in receiver.logs]
    assert [error.message for error in receiver.errors][-1] == "'after'"


MEMORY = """
import logging

logging.basicConfig(format="%(message)s")


class Big:
    def __str__(self):
        raise MemoryError


class Quiet(logging.Handler):
    def emit(self, record):
        print("a record")


logging.getLogger().handlers[:] = [Quiet()]
try:
    raise MemoryError("no more")
except MemoryError as error:
    logging.exception("%s", Big())
logging.error("after all")
"""


def test_memory_that_is_used_up_turns_nothing_off(run_python, receiver):
    run = run_python(MEMORY, env={"HIGHLIGHT_RAISE_ERRORS": "false"})

    assert (run.returncode, run.stdout, run.stderr) == (0, "a record\n" * 2, "")
    assert [log.body for log in receiver.logs][-1] == "after all"
