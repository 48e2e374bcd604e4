"""concurrent.futures: a job in a thread pool works under the unit of work that submitted it."""

from __future__ import annotations

from .. import active
from ..later import context
from ..patching import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

MODULES = ("concurrent.futures.thread", "concurrent.futures.process")


def patch(module: ModuleType) -> None:
    if module.__name__ == "concurrent.futures.thread":
        replace(module.ThreadPoolExecutor, "submit", handing_over)
    else:
        replace(module.ProcessPoolExecutor, "submit", keeping_apart)


def handing_over(submit: Callable[..., Any]) -> Callable[..., Any]:
    from contextvars import Context

    def wrapper(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if active.current() is None:
            return submit(self, fn, *args, **kwargs)
        job = context.Carried(fn, context.snapshot())
        # Submitting may start a thread, which outlives this unit of work and must not begin in it.
        return Context().run(submit, self, job, *args, **kwargs)

    return wrapper


def keeping_apart(submit: Callable[..., Any]) -> Callable[..., Any]:
    from contextvars import Context

    def wrapper(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        # The same for processes that are forked and the thread that feeds them; into a process nothing is handed over.
        if active.current() is None:
            return submit(self, fn, *args, **kwargs)
        return Context().run(submit, self, fn, *args, **kwargs)

    return wrapper
