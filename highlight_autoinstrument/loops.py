"""What an event loop reports: an exception that nobody awaited belongs to the unit of work of its task, or to none."""

from __future__ import annotations

from .later import context, errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from opentelemetry.context import Context

    from .patching import Call

# The keys of an event that name what failed. Where one is there, the loop is speaking, and the present unit of work is
# that of whoever ran the garbage collection, or of whoever opened a connection that several requests use.
_OWNERS = ("task", "future", "handle", "asyncgen", "protocol", "transport", "socket")


def call_exception_handler(call: Call) -> Generator[None, Any, None]:
    """Hook for the loop's method of that name; what its handlers log belongs to the same unit of work."""
    event = call["context"]
    home = _home(event)
    error = event.get("exception")
    if isinstance(error, BaseException):
        errors.record_aside(context.unit_of(home), error)
    token = context.attach(home)
    try:
        yield
    finally:
        context.detach(token)


def _home(event: dict[str, Any]) -> Context:
    """The context of what failed; an empty one where that cannot be known."""
    kind = next((kind for kind in _OWNERS if event.get(kind) is not None), None)
    if kind is None:
        return context.snapshot()  # the application itself reports something
    owner = event[kind]
    if hasattr(owner, "get_context"):  # tasks and handles, since Python 3.12
        its_own = owner.get_context()
    else:
        its_own = getattr(owner, "_context", None) if kind == "handle" else None
    # A copy, since one that is being run in cannot be entered again.
    return context.empty() if its_own is None else its_own.copy().run(context.snapshot)
