"""Whether code runs in a unit of work: for hot paths, and without loading anything before the first one has begun."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Unit

# Set by context.py, which the first unit of work loads.
current_unit: Callable[[], Unit | None] | None = None


def current() -> Unit | None:
    """The unit of work that this code runs in."""
    return None if current_unit is None else current_unit()
