"""asyncio: an exception of a task that nobody awaited, or in a callback, is reported, with the ids of that task."""

from __future__ import annotations

from .. import loops
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MODULES = ("asyncio.base_events",)


def patch(base_events: ModuleType) -> None:
    wrap(base_events.BaseEventLoop, "call_exception_handler", loops.call_exception_handler)
