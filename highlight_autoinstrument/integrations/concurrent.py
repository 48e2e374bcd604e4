"""concurrent.futures: a job in a pool of threads or processes works under the unit of work that submitted it."""

from __future__ import annotations

from .. import active, messaging, processes
from ..later import context
from ..patching import guarded, on_read, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType
    from typing import Any

MODULES = ("concurrent.futures.thread", "concurrent.futures.process")


def patch(module: ModuleType) -> None:
    if module.__name__ == "concurrent.futures.thread":
        replace(module.ThreadPoolExecutor, "submit", handing_over)
        # Where a job's exception is put into its future; there is no door between a job and the next one.
        replace(module._WorkItem, "run", leaving_no_message)  # noqa: SLF001
    else:
        replace(module.ProcessPoolExecutor, "submit", sending)
        # In the process that works: where it reads the function, which is what it calls.
        on_read(module._CallItem, "fn", module._process_worker, taking_over)  # noqa: SLF001


def handing_over(submit: Callable[..., Any]) -> Callable[..., Any]:
    from contextvars import Context

    def wrapper(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if active.current() is None:
            return submit(self, fn, *args, **kwargs)
        job = handed_over(fn) or fn
        # Submitting may start a thread, which outlives this unit of work and must not begin in it.
        return Context().run(submit, self, job, *args, **kwargs)

    return wrapper


@guarded
def handed_over(function: Any) -> Any:
    return context.Carried(function, context.snapshot())


def leaving_no_message(run: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any) -> Any:
        result = run(self, *args)
        # The job may have taken a message from a queue; the thread's next job does not work on that.
        if active.begun:
            messaging.abandoned(self.future)
        return result

    return wrapper


def sending(submit: Callable[..., Any]) -> Callable[..., Any]:
    from contextvars import Context

    def wrapper(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if active.current() is None:
            return submit(self, fn, *args, **kwargs)
        # Submitting may fork processes and start the thread that feeds them: the same holds for those.
        return Context().run(submit, self, processes.job(fn), *args, **kwargs)

    return wrapper


def taking_over(function: Any, frame: FrameType) -> Any:
    return processes.carried(function)
