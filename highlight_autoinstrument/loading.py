"""Importing the agent's later parts: whole, whichever thread asks first, and never half-way when the process forks."""

from __future__ import annotations

import _thread
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

# A child has only the thread that forked: a module that another thread was importing stays half-made and locked there,
# and whoever imports it waits for ever. So a fork waits for those that load something here.
_lock = _thread.RLock()
_fork_holds_it = False

# No lock that an import may be waiting behind is waited for without end.
_PATIENCE_SECONDS = 1.0


class Held:
    """Hold off forks for the time of a `with` block."""

    __slots__ = ("_acquired",)

    def __enter__(self) -> None:
        self._acquired = _lock.acquire(timeout=_PATIENCE_SECONDS)

    def __exit__(self, *_: object) -> None:
        if self._acquired:
            _lock.release()


def load(name: str) -> ModuleType:
    """A module of this package."""
    full = f"{__package__}.{name}"
    with Held():
        __import__(full)  # also if it is there: another thread may be in the midst of it
    return sys.modules[full]


def before_fork() -> None:
    """Wait until nothing is being loaded."""
    global _fork_holds_it  # noqa: PLW0603 - from before a fork to after it
    _fork_holds_it = _lock.acquire(timeout=_PATIENCE_SECONDS)


def after_fork_in_parent() -> None:
    """Let loading go on."""
    if _fork_holds_it:
        _lock.release()


def after_fork_in_child() -> None:
    """Begin with a lock that nobody holds."""
    global _lock  # noqa: PLW0603
    _lock = _thread.RLock()
