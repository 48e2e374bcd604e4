"""A call that starts threads or tasks of a library's own: they outlive the unit of work that happens to make it."""

from __future__ import annotations

from . import active
from .later import context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from .patching import Call


def outside(call: Call) -> Generator[None, object, None]:
    """Hook for such a call: it happens outside any unit of work, so that nothing of one stays behind."""
    if active.current() is None:
        return
    token = context.attach(context.empty())
    try:
        yield
    finally:
        context.detach(token)
