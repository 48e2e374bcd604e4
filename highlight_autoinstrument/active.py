"""Whether code runs in a unit of work: for hot paths, and without loading anything before the first one has begun."""

from __future__ import annotations

from . import guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .context import Unit

# Set by context.py, which the first unit of work loads.
current_unit: Callable[[], Unit | None] | None = None


def current() -> Unit | None:
    """The unit of work that this code runs in."""
    if current_unit is None:
        return None
    try:
        return current_unit()
    except Exception as error:  # noqa: BLE001 - the guard, for those whom the application calls
        guard.broken("the unit of work", error)
        return None


_OWN = "_highlight_own"


def mark_own(sender: Any) -> None:
    """Note that a connection, or a method of a channel, is what the agent itself sends by."""
    setattr(sender, _OWN, True)


def outside(sender: Any, host: Callable[[], object]) -> bool:
    """Whether a call is made outside any unit of work, and so left as it is; debugging tells where it goes."""
    if current() is not None:
        return False
    if guard.debugging and _OWN not in getattr(sender, "__dict__", ()):
        guard.debug(f"call to {host()}: no ids, it is made outside of any request, task and trace()")
    return True
