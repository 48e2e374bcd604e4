"""What an event loop reports: once, with the ids of the task that failed, or with none."""

from __future__ import annotations

import sys

import pytest

APP = '''
import asyncio, gc, json, logging, os, threading
from flask import Flask, request

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
loops = {}

def loop_of(kind):
    """A loop that runs in a thread of its own, as those of servers do."""
    if kind not in loops:
        if kind == "uvloop":
            import uvloop
            loop = uvloop.new_event_loop()
        else:
            loop = asyncio.new_event_loop()
        loops[kind] = loop
        if os.environ.get("OWN_HANDLER"):
            loop.set_exception_handler(lambda loop, event: logging.getLogger("own").warning("handled"))
        threading.Thread(target=loop.run_forever, daemon=True).start()
    return loops[kind]

async def fail(text):
    raise LookupError(text)

kept = []

async def forget(text):
    task = asyncio.create_task(fail(text))
    task.cycle = [task]  # only a garbage collection gets rid of it
    while not task.done():
        await asyncio.sleep(0)

async def call_soon(text):
    def callback():
        raise LookupError(text)
    asyncio.get_running_loop().call_soon(callback)
    await asyncio.sleep(0.01)

async def awaited(text):
    try:
        await asyncio.create_task(fail(text))
    except LookupError:
        pass

async def cancelled(text):
    task = asyncio.create_task(asyncio.sleep(10))
    await asyncio.sleep(0)
    task.cancel()

async def said(text):
    try:
        await fail(text)
    except LookupError as error:
        asyncio.get_running_loop().call_exception_handler({"message": "said so", "exception": error})

@app.get("/<kind>/<what>")
def run(kind, what):
    gc.disable()
    asyncio.run_coroutine_threadsafe(globals()[what](what), loop_of(kind)).result()
    return ""

@app.get("/collect")
def collect():
    return str(gc.collect() > 0)

app.run(port=int(os.environ["PORT"]))
'''
S1 = {"x-highlight-request": "s1/r1"}
S2 = {"x-highlight-request": "s2/r2"}
KNOWN = sys.version_info >= (3, 12)  # whether a task tells its context


def told(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


@pytest.fixture
def start(run_service):
    def run(**env):
        return run_service("python app.py", files={"app.py": APP}, env=env)

    return run


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_task_that_nobody_awaited(start, receiver, loop):
    service = start()
    service.get(f"/{loop}/forget", S1)
    service.get(f"/{loop}/awaited", S1)
    service.get(f"/{loop}/cancelled", S1)
    assert service.get("/collect", S2).text == "True"

    receiver.wait(spans=4, logs=2, errors=1)
    session = "s1" if KNOWN else None
    assert told(receiver) == [("LookupError", "forget", session)]
    # The error, and the line that asyncio writes: neither is of the request that ran the collection.
    assert [(log.logger, log.session) for log in receiver.logs] == [("", session), ("asyncio", session)]
    assert [span.status for span in receiver.spans] == ["UNSET"] * 4
    assert service.stderr.count("Task exception was never retrieved") == 1


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_exception_in_a_callback(start, receiver, loop):
    service = start()
    service.get(f"/{loop}/call_soon", S1)
    service.get(f"/{loop}/call_soon")

    receiver.wait(spans=2, logs=4, errors=2)
    # uvloop's handles keep their context to themselves
    session = "s1" if loop == "asyncio" else None
    assert told(receiver) == [("LookupError", "call_soon", session), ("LookupError", "call_soon", None)]
    assert [(log.logger, log.session) for log in receiver.logs] == [
        ("", session),
        ("asyncio", session),
        ("", None),
        ("asyncio", None),
    ]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_the_application_reports_itself_and_its_own_handler(start, receiver, loop):
    service = start(OWN_HANDLER="1")
    service.get(f"/{loop}/said", S1)

    receiver.wait(spans=1, logs=2, errors=1)
    assert told(receiver) == [("LookupError", "said", "s1")]
    assert [(log.logger, log.body, log.session) for log in receiver.logs] == [
        ("", "LookupError: said", "s1"),
        ("own", "handled", "s1"),
    ]


def test_a_program_without_any_unit_of_work(receiver, run_python):
    result = run_python(
        """
import asyncio, gc
async def fail(): raise LookupError("alone")
async def main():
    task = asyncio.create_task(fail())
    await asyncio.sleep(0.01)
    del task
    gc.collect()
asyncio.run(main())
"""
    )

    assert result.returncode == 0, result.stderr
    receiver.wait(logs=2, errors=1)
    assert told(receiver) == [("LookupError", "alone", None)]
    assert [log.logger for log in receiver.logs] == ["", "asyncio"]
    assert receiver.spans == []
