"""uvloop: what its loops report, a task's exception that nobody awaited, is recorded as with asyncio's own loops."""

from __future__ import annotations

from .. import loops
from ..patching import hooked, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

MODULES = ("uvloop",)


def patch(uvloop: ModuleType) -> None:
    replace(uvloop.Loop, "call_exception_handler", reporting)


def reporting(method: Callable[..., Any]) -> Callable[..., Any]:
    # A function of Python's, since the one in C would need wrapt, which is slow to load.
    def call_exception_handler(self: Any, context: dict[str, Any]) -> Any:
        return method(self, context)

    return hooked(call_exception_handler, loops.call_exception_handler, "uvloop.Loop.call_exception_handler")
