"""arq: a job carries the ids, and its run is a span under them."""

from __future__ import annotations

from contextvars import ContextVar

from .. import active, messaging
from ..patching import hide_frame, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("arq.connections", "arq.worker")

# The run of a job in this task, with the unit of work once the job has been read.
_run: ContextVar[dict[str, Any] | None] = ContextVar("highlight-arq-run", default=None)


def patch(module: ModuleType) -> None:
    if module.__name__ == "arq.connections":
        wrap(module.ArqRedis, "enqueue_job", send)
        wrap(module, "serialize_job", pack)
    else:
        wrap(module.Worker, "run_job", run)
        # What run_job calls: it reads the job itself and keeps its exception.
        wrap(module, "deserialize_job_raw", begin)
        wrap(module, "serialize_result", fail)


def send(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    queue = call.get("_queue_name") or call["self"].default_queue_name
    with messaging.send("arq", queue, call["function"]):
        yield


def pack(call: Call) -> Generator[None, Any, None]:
    headers = dict(messaging.headers()) if active.current() is not None else None
    if not headers:
        return
    import pickle

    serialize = call.get("serializer") or pickle.dumps

    def adding(job: dict[str, Any]) -> Any:
        try:
            return serialize({**headers, **job})  # a worker reads the keys that it knows
        except BaseException as error:
            hide_frame(error, __file__)
            raise

    call["serializer"] = adding
    yield


def run(call: Call) -> Generator[None, Any, None]:
    running: dict[str, Any] = {"worker": call["self"]}
    token = _run.set(running)
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:  # not the job's own, which is kept: the worker could not note how it ended
        error = raised
        raise
    finally:
        _run.reset(token)
        if "work" in running:
            running["work"].__exit__(None, error, None)


def begin(call: Call) -> Generator[None, Any, None]:
    running = _run.get()
    if running is None:
        return
    import pickle

    deserialize = call.get("deserializer") or pickle.loads
    read: list[Any] = []

    def remembering(data: bytes) -> Any:
        try:
            read.append(deserialize(data))
        except BaseException as error:
            hide_frame(error, __file__)
            raise
        return read[0]

    call["deserializer"] = remembering
    name = (yield)[0]
    running["work"] = messaging.process("arq", running["worker"].queue_name, read[0], name)
    running["work"].__enter__()


def fail(call: Call) -> Generator[None, Any, None]:
    error = call["result"]
    if isinstance(error, BaseException) and not call["success"]:
        messaging.failed(error)
    yield
