"""multiprocessing: a child's error and last records are sent before os._exit; a thread pool's jobs have their ids."""

from __future__ import annotations

import sys

from .. import active, lifecycle
from ..later import context, errors
from ..outside import outside
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("multiprocessing.process", "multiprocessing.util", "multiprocessing.pool")


def patch(module: ModuleType) -> None:
    if module.__name__ == "multiprocessing.process":
        # The whole life of a child, by any start method: its finalizers and its other threads are done after it.
        wrap(module.BaseProcess, "_bootstrap", sending)
    elif module.__name__ == "multiprocessing.pool":
        wrap(module.Pool, "__init__", outside)
        for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
            wrap(module.ThreadPool, name, handing_over)  # not Pool, whose jobs are pickled
    else:
        # Called while the exception that ends the child is under way; a wrapper of `run` would show in its traceback.
        wrap(module, "_exit_function", reporting)


def sending(call: Call) -> Generator[None, Any, Any]:
    yield
    lifecycle.close()


def reporting(call: Call) -> Generator[None, Any, Any]:
    error = sys.exc_info()[1]
    if error is not None:
        errors.record_uncaught(error)
    yield


def handing_over(call: Call) -> Generator[None, Any, Any]:
    if active.current() is not None:
        call["func"] = context.Carried(call["func"], context.snapshot())
        yield
