"""Celery: a task works under the ids of whoever has sent it, and its failure is one error of theirs."""

from __future__ import annotations

import sys

from .. import active, lifecycle, messaging
from ..later import errors
from ..outside import outside
from ..patching import guarded, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..messaging import Processing
    from ..patching import Call

MODULES = (
    "celery.signals",
    "celery.app.trace",
    "celery.worker.request",
    "celery.concurrency.prefork",
    "celery.events.dispatcher",
    "celery.backends.rpc",
    "celery.utils.serialization",
)

OURS = ("x-highlight-request", "traceparent", "tracestate")


def patch(module: ModuleType) -> None:
    if module.__name__ == "celery.signals":
        # The headers themselves and the span are kombu's, by which every task is sent.
        module.before_task_publish.connect(drop_carried)
        module.task_failure.connect(record_failure)
        module.task_retry.connect(note_retry)
    elif module.__name__ == "celery.app.trace":
        # What a pool of any kind calls. The signals around a task are sent further in: what is logged between them and
        # its end has to have the ids as well.
        wrap(module, "fast_trace_task", work)
        wrap(module, "trace_task_ret", work)
    elif module.__name__ == "celery.worker.request":
        wrap(module.Request, "on_failure", work_in_vain)
    elif module.__name__ == "celery.concurrency.prefork":
        wrap(module, "process_destructor", last)
    elif module.__name__ == "celery.events.dispatcher":
        wrap(module.EventDispatcher, "_publish", outside)  # events for monitors, whichever way they are sent
    elif module.__name__ == "celery.backends.rpc":
        wrap(module.RPCBackend, "store_result", outside)  # a reply, which nobody works on
    else:
        wrap(module.UnpickleableExceptionWrapper, "restore", restore)


def processing(name: object, request: dict[str, Any]) -> Processing:
    """The unit of work of a task; a request for one has the headers of its message among its entries."""
    info = request.get("delivery_info") or {}
    destination = str(info.get("exchange") or info.get("routing_key") or "")
    shown = str(request.get("shadow") or name)
    return messaging.process("celery", destination, request, shown, is_error, **{"celery.task_name": str(name)})


def is_error(error: BaseException) -> bool:
    return not isinstance(error, sys.modules["celery.exceptions"].TaskPredicate)  # Retry, Ignore, Reject


def work(call: Call) -> Generator[None, Any, None]:
    name = call.get("task") or call["name"]
    with processing(name, call["request"]):
        yield


@guarded
def drop_carried(headers: Any = None, **_: object) -> None:
    """Have a retry say that this attempt has sent it: Celery copies the headers of the attempt that failed."""
    task = sys.modules["celery"].current_task
    came_with = task.request.headers if task and active.current() is not None else None
    if isinstance(came_with, dict) and headers:
        for name in OURS:
            if name in headers and headers[name] == came_with.get(name):
                del headers[name]


@guarded
def record_failure(sender: Any = None, exception: BaseException | None = None, einfo: Any = None, **_: object) -> None:
    unit = active.current()
    if unit is None or exception is None:  # an application may send the signal itself, with what it likes
        return
    request = sender.request
    # What failed, where Celery has put something in its place that can be pickled.
    in_task = request.called_directly is False
    error = (sys.exc_info()[1] if in_task else None) or exception
    expected = isinstance(sender.throws, (tuple, type)) and isinstance(error, sender.throws)
    if not request.is_eager and errors.is_error(error):
        unit.span.fail(errors.type_name(error))
    if not expected:
        errors.record_in(unit, error)
    for stand_in in (exception, getattr(einfo, "exception", None)):  # one of them is logged
        if isinstance(stand_in, BaseException) and stand_in is not error:
            errors.claim(stand_in, unit)


def restore(call: Call) -> Generator[None, Any, None]:
    """Hook for the error that is made anew of what stands for it, in order to be logged: it is the same one."""
    error = yield
    unit = active.current()
    if unit is not None and errors.mark_of(call.instance) is not None:
        errors.claim(error, unit)


@guarded
def note_retry(sender: Any = None, reason: Any = None, **_: object) -> None:
    unit = active.current()
    error = getattr(reason, "exc", None)
    if unit is not None and isinstance(error, BaseException) and not sender.request.is_eager:
        unit.span.fail(errors.type_name(error))


# In the parent of the pool's processes


def work_in_vain(call: Call) -> Generator[None, Any, None]:
    """Hook for a task's failure that its process could not report: it was killed, or ended, or took too long."""
    request, error = call.instance, call["exc_info"].exception
    error = getattr(error, "exc", error)
    if call.get("return_ok") or errors.mark_of(error) is not None or not is_error(error):
        return
    if is_stopped(request, error):
        return
    with processing(request.type, request.request_dict) as unit_of_work:
        if type(error).__name__ != "WorkerLostError" or "signal" not in str(error):
            # The process has not been killed but has ended in good order, and sent the task's span.
            span = unit_of_work.unit.span
            span.silent, span.span_id = True, span.parent_id or span.span_id
        yield


def is_stopped(request: Any, error: BaseException) -> bool:
    """Whether somebody has revoked the task."""
    return (
        type(error).__name__ == "Terminated"
        or getattr(request, "_already_revoked", False)
        or getattr(request, "_already_cancelled", False)
    )


def last(call: Call) -> Generator[None, Any, None]:
    try:
        yield
    finally:
        lifecycle.close()
