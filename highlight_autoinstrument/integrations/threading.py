"""threading: a thread works under the unit of work that started it, and its uncaught exception is reported."""

from __future__ import annotations

import sys

from .. import active
from ..later import context, errors
from ..patching import guarded, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

MODULES = ("threading",)


def patch(threading: ModuleType) -> None:
    replace(threading.Thread, "start", handing_over)
    # Not `run`, which subclasses replace: here the thread begins, and here its exception is handled.
    replace(threading.Thread, "_bootstrap_inner", taking_over)
    # What calls `threading.excepthook`, which the application may replace.
    replace(threading, "_make_invoke_excepthook", reporting)


def handing_over(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: threading.Thread) -> Any:
        if active.current() is not None:
            hand_over(self)
        return start(self)

    return wrapper


@guarded
def hand_over(thread: threading.Thread) -> None:
    thread.__dict__["_highlight_context"] = context.snapshot()


def taking_over(bootstrap_inner: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: threading.Thread) -> Any:
        handed_over = self.__dict__.pop("_highlight_context", None)
        if handed_over is None:
            return bootstrap_inner(self)
        return context.Carried(bootstrap_inner, handed_over)(self)

    return wrapper


def reporting(make_invoke: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper() -> Callable[[threading.Thread], Any]:
        invoke = make_invoke()

        def invoke_excepthook(thread: threading.Thread) -> Any:
            error = sys.exc_info()[1]
            if error is not None:
                record(error)
            return invoke(thread)

        return invoke_excepthook

    return wrapper


@guarded
def record(error: BaseException) -> None:
    errors.record_uncaught(error)
