"""A job for another process: the unit of work goes with it, in plain values that a Python without this agent reads."""

from __future__ import annotations

from functools import partial

from . import active
from .later import context, incoming
from .patching import guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME = "_highlight_unit"


class Job(partial):  # type: ignore[type-arg]
    """A function with values for another process, where it is a plain `partial` with an attribute.

    multiprocessing pickles a plain one without its attributes.
    """

    def __reduce__(self) -> Any:
        """Say how to make a `partial` of it."""
        return partial, (self.func,), (self.func, self.args, self.keywords, self.__dict__)


def job(function: Any) -> Any:
    """The function with the present unit of work; itself outside one, and what no job can be made of."""
    return (_job(function) or function) if active.current() is not None else function


@guarded
def _job(function: Any) -> Any:
    if not callable(function):
        return None
    made = Job(function)
    made.__dict__[_NAME] = incoming.packed()
    return made


def carried(function: Any) -> Any:
    """In the other process: the function in the unit of work that `job` has put to it, or itself if there is none."""
    return (_carried(function) or function) if type(function) is partial else function


@guarded
def _carried(function: Any) -> Any:
    values = function.__dict__.get(_NAME)
    return context.Carried(function, incoming.unpacked(values)) if values is not None else None


def put(namespace: dict[str, Any]) -> None:
    """Put the present unit of work into the attributes of what goes to another process as a whole."""
    namespace[_NAME] = incoming.packed()


def take(namespace: dict[str, Any]) -> Any:
    """Take it out again; None if there was none."""
    return namespace.pop(_NAME, None)
