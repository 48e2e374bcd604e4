"""Whether code runs in a unit of work: for hot paths, and without loading anything before the first one has begun."""

from __future__ import annotations

from . import guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .context import Unit
    from .recording import Span


def _none_yet() -> None:
    return None


# Whether there may have been a unit of work in this process; the one that the code which asks runs in, and its span, if
# it will be sent. Set by context.py, which the first unit of work loads.
begun = False
current: Callable[[], Unit | None] = _none_yet
span: Callable[[], Span | None] = _none_yet


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
