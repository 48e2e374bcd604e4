"""rq: a job carries the ids, its run is a span under them, and a work horse sends its records before it ends."""

from __future__ import annotations

import sys

from .. import active, lifecycle, messaging
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("rq.job", "rq.queue", "rq.worker")

# In a job's __dict__, and fields of its own in the job's hash: `meta` is the application's, which may replace it.
HEADERS = "_highlight_headers"
AGAIN = (
    "_highlight_again"  # whether it is tried again if it fails; some versions count down before they say that it did
)
NAMES = ("x-highlight-request", "traceparent", "tracestate")


def patch(module: ModuleType) -> None:
    if module.__name__ == "rq.job":
        wrap(module.Job, "create", create)
        wrap(module.Job, "to_dict", store)
        wrap(module.Job, "restore", restore)
    elif module.__name__ == "rq.queue":
        for name in ("enqueue_call", "enqueue_at", "enqueue_many"):
            wrap(module.Queue, name, send)
        wrap(module.Queue, "run_sync", perform_here)
        wrap(module.Queue, "run_job", failing)
    else:
        for name, hook in (
            ("perform_job", perform),
            ("handle_exception", fail),
            ("handle_work_horse_killed", killed),
        ):
            # The class that all workers have it from, which is another one in each version.
            wrap(next((kind for kind in module.Worker.__mro__ if name in vars(kind)), module.Worker), name, hook)


def create(call: Call) -> Generator[None, Any, None]:
    job = yield
    if active.current() is not None:
        vars(job)[HEADERS] = dict(messaging.headers())


def store(call: Call) -> Generator[None, Any, Any]:
    headers = vars(call["self"]).get(HEADERS)
    if not headers:
        return None
    fields = yield
    return {**headers, **fields}


def restore(call: Call) -> Generator[None, Any, None]:
    raw = call["raw_data"]
    yield
    vars(call["self"])[HEADERS] = {name: raw[name.encode()] for name in NAMES if name.encode() in raw}


def send(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    with messaging.send("rq", call["self"].name) as span:
        sent = yield
        if span is not None and not isinstance(sent, list):
            span.update_name(f"send {function_name(sent)}")


def work(job: Any) -> messaging.Processing:
    return messaging.process("rq", job.origin, vars(job).get(HEADERS), function_name(job))


def function_name(job: Any) -> str | None:
    try:
        name: str | None = job.func_name
    except sys.modules["rq.exceptions"].DeserializationError:
        return None  # the worker is about to find out
    return name


def perform(call: Call) -> Generator[None, Any, None]:
    job = call["job"]
    vars(job)[AGAIN] = bool(job.retries_left)
    try:
        with work(job):
            yield
    finally:
        if call["self"].is_horse:  # which ends by os._exit
            lifecycle.close()


def fail(call: Call) -> Generator[None, Any, None]:
    error = call.args[3]  # self, job, and what sys.exc_info() returns
    messaging.failed(error, again=vars(call["job"]).get(AGAIN, False))
    yield


def killed(call: Call) -> Generator[None, Any, None]:
    with work(call["job"]) as ended:  # the span that the work horse had has gone with it
        ended.unit.span.fail("killed")
        yield


def perform_here(call: Call) -> Generator[None, Any, None]:
    with work(call["job"]):
        yield


def failing(call: Call) -> Generator[None, Any, None]:
    try:
        yield
    except BaseException as error:
        messaging.failed(error)  # a queue that works at once does not try again
        raise
