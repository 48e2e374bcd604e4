"""multiprocessing: the ids go to other processes with the work, whose errors and last records are sent from there."""

from __future__ import annotations

import sys

from .. import active, lifecycle, processes
from ..later import context, errors, incoming
from ..outside import outside
from ..patching import guarded, hide_frame, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = (
    "multiprocessing.managers",
    "multiprocessing.pool",
    "multiprocessing.process",
    "multiprocessing.queues",
    "multiprocessing.util",
)

# Libraries that keep the processes which they start, for the jobs of others.
POOLS = ("joblib", "loky", "pebble")


def patch(module: ModuleType) -> None:
    if module.__name__ == "multiprocessing.process":
        wrap(module.BaseProcess, "start", starting)
        # The whole life of a child, by any start method: its finalizers and its other threads are done after it.
        ends_inside = "_exit_function" in module.BaseProcess._bootstrap.__code__.co_names  # noqa: SLF001
        wrap(module.BaseProcess, "_bootstrap", living if ends_inside else living_and_reporting)
    elif module.__name__ == "multiprocessing.pool":
        wrap(module.Pool, "__init__", outside)
        for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
            wrap(module.ThreadPool, name, handing_over)  # first, since it inherits them
            wrap(module.Pool, name, sending)
        wrap(module, "worker", working)
    elif module.__name__ == "multiprocessing.managers":
        wrap(module.BaseManager, "start", outside)
    elif module.__name__ == "multiprocessing.queues":
        wrap(module.Queue, "_start_thread", outside)  # at the first `put`; it feeds the queue for everybody
    else:
        # Called while the exception that ends the child is under way, before Python 3.13.
        wrap(module, "_exit_function", reporting)


def starting(call: Call) -> Generator[None, Any, None]:
    attributes = vars(call.instance)
    if active.current() is None or is_kept(type(call.instance)) or is_kept(attributes.get("_target")):
        return
    processes.put(attributes)
    try:
        yield
    finally:
        processes.take(attributes)


def is_kept(started: Any) -> bool:
    return str(getattr(started, "__module__", "")).partition(".")[0] in POOLS


def living(call: Call) -> Generator[None, Any, None]:
    values = processes.take(vars(call.instance))
    if values is not None:
        context.attach(incoming.unpacked(values))
    elif active.current() is not None:  # forked in somebody's work
        context.attach(context.empty())
    yield
    lifecycle.close()


def living_and_reporting(call: Call) -> Generator[None, Any, Any]:
    run = call.instance.run

    def run_and_report() -> Any:
        try:
            return run()
        except BaseException as error:
            report(error)
            hide_frame(error, __file__)
            raise

    vars(call.instance)["run"] = run_and_report  # in this process only
    yield from living(call)


@guarded
def report(error: BaseException) -> None:
    errors.record_uncaught(error)


def reporting(call: Call) -> Generator[None, Any, Any]:
    error = sys.exc_info()[1]
    if error is not None:
        errors.record_uncaught(error)
    yield


def handing_over(call: Call) -> Generator[None, Any, Any]:
    if active.current() is not None:
        call["func"] = context.Carried(call["func"], context.snapshot())
        yield


def sending(call: Call) -> Generator[None, Any, None]:
    if active.current() is not None:
        call["func"] = processes.job(call["func"])
        yield


def working(call: Call) -> Generator[None, Any, None]:
    queue = call["inqueue"]
    if hasattr(queue, "_writer"):  # a queue between processes, and this one's own copy
        get = queue.get

        def get_task() -> Any:
            task = get()
            return taken_over(task) or task

        queue.get = get_task
    yield


@guarded
def taken_over(task: Any) -> Any:
    if task is None:  # the end
        return None
    job, number, function, arguments, options = task
    if len(arguments) == 1 and type(arguments[0]) is tuple and len(arguments[0]) == 2:  # `map`: function and items
        arguments = ((processes.carried(arguments[0][0]), arguments[0][1]),)
    return job, number, processes.carried(function), arguments, options
