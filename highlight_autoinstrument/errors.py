"""Recording an exception: once, whoever sees it, with the unit of work that it belongs to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.trace import SpanKind

from . import active, context, pipeline, recording, tracebacks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .context import Unit
    from .recording import Span

_MARK = "_highlight_recorded"
_HOME = "_highlight_home"

# Of a group's members, those that are looked at: a class may answer `exceptions` by itself again and again.
_MOST_MEMBERS = 2000
_MOST_LEAVES, _DEEPEST = 50, 3

# How frameworks and servers say that the client went away.
_DISCONNECTS = (
    "starlette.requests.ClientDisconnect",
    "starlette.websockets.WebSocketDisconnect",
    "uvicorn.protocols.utils.ClientDisconnected",
    "falcon.errors.WebSocketDisconnected",
    "litestar.exceptions.websocket_exceptions.WebSocketDisconnect",
)

# How a program ends or a task is stopped; none is an error. CancelledError is looked up: asyncio may not be loaded.
_NO_ERRORS = (KeyboardInterrupt, SystemExit, GeneratorExit)


def is_error(error: BaseException) -> bool:
    """Whether an exception is an error at all, and not the way a program or a task is stopped."""
    # Groups may be nested as deep as no recursion can follow.
    to_do, seen = [error], 0
    while to_do and seen < _MOST_MEMBERS:
        one = to_do.pop()
        seen += 1
        if _may_be_error(one):
            leaves = _leaves(one)
            if not leaves:
                return True
            to_do += leaves[:_MOST_MEMBERS]
    return False


def _may_be_error(error: BaseException) -> bool:
    """Whether an exception is an error, or a group that may hold one."""
    kind = type(error)  # isinstance() would ask the exception itself
    if issubclass(kind, _NO_ERRORS):
        return False
    asyncio = sys.modules.get("asyncio.exceptions")
    if asyncio is not None and issubclass(kind, asyncio.CancelledError):
        return False
    name = type_name(error)
    if not issubclass(kind, Exception) and name.rpartition(".")[2] in ("GreenletExit", "Cancelled"):
        return False  # gevent's and trio's way to stop one
    return name not in _DISCONNECTS


def _leaves(error: BaseException) -> tuple[BaseException, ...]:
    """The exceptions of a group."""
    leaves = tracebacks.attribute(error, "exceptions")
    if type(leaves) is tuple and all(issubclass(type(leaf), BaseException) for leaf in leaves):
        return leaves
    return ()


def claim(error: BaseException, unit: Unit | None) -> bool:
    """Mark an exception as recorded; False if it has been already, so that it is reported once.

    An exception object that a program raises again in another request (a module's constant, a cached failure) is that
    request's error as well: the mark holds for a trace.
    """
    # A task group wraps what may have been reported where it was raised: it is new if something in it is. Every one of
    # them is marked.
    new = False
    to_do, seen = [error], 0
    while to_do and seen < _MOST_MEMBERS:
        one = to_do.pop()
        seen += 1
        mark = mark_of(one)
        if mark is not None and (unit is None or _is_same_work(mark, unit)):
            continue
        leaves = _leaves(one)
        to_do += [leaf for leaf in leaves[:_MOST_MEMBERS] if _may_be_error(leaf)]
        new = new or not leaves
        _set(one, _MARK, unit)
    return new


def bind(error: BaseException, unit: Unit) -> None:
    """Note where an exception comes from that is leaving its unit of work: whoever reports it may be in none."""
    _set(error, _HOME, unit)


def _set(error: BaseException, name: str, unit: Unit | None) -> None:
    # Plain values: an exception may be pickled, and read where this package is not.
    values = (*unit.span.parent, unit.attributes) if unit is not None else (0, 0, 0, {})
    try:
        object.__setattr__(error, name, values)  # past a __setattr__ of its own
    except (AttributeError, TypeError):
        pass


def _is_same_work(mark: Mark, unit: Unit) -> bool:
    if mark.trace_id in (0, unit.span.trace_id):
        return True
    # A session alone, as a cookie gives it, is that of every page load.
    return "highlight.trace_id" in mark.attributes and mark.attributes == unit.attributes


class Mark(NamedTuple):
    """Where an exception was recorded: the ids of the unit's span, and what its records are stamped with."""

    trace_id: int
    span_id: int
    flags: int
    attributes: dict[str, str]


def mark_of(error: BaseException) -> Mark | None:
    """Where an exception has been recorded; None if nowhere."""
    return _get(error, _MARK)


def home_of(error: BaseException, depth: int = 0) -> Mark | None:
    """Where an exception comes from that is seen outside any unit of work, as far as that is known."""
    messaging = sys.modules.get(f"{__package__}.messaging")
    unit = messaging.unit_left_by(error) if messaging is not None else None
    if unit is not None:
        return _place(unit)
    leaves = _leaves(error) if depth < _DEEPEST else ()
    found = [home_of(leaf, depth + 1) for leaf in leaves] if len(leaves) <= _MOST_LEAVES else []
    return found[0] if found and all(home == found[0] for home in found) else _get(error, _HOME)


def _place(unit: Unit) -> Mark:
    trace_id, span_id, flags = unit.span.parent
    return Mark(trace_id, span_id, flags, unit.attributes)


def _get(error: BaseException, name: str) -> Mark | None:
    try:
        return Mark(*object.__getattribute__(error, name))
    except (AttributeError, TypeError):
        return None


def record(error: BaseException, attributes: Mapping[str, Any] | None = None) -> None:
    """Report an exception that fails the present unit of work, unless it has been reported.

    It becomes an event of the unit's span while that lasts; else, and outside a unit, a log record of its own.
    """
    record_in(active.current(), error, attributes)


def record_in(unit: Unit | None, error: BaseException, attributes: Mapping[str, Any] | None = None) -> None:
    """Report an exception that fails a unit of work."""
    if is_error(error) and claim(error, unit):
        if unit is not None and unit.span.is_recording():
            _add_event(unit.span, error, attributes)
        else:
            _log(unit, error, attributes)


def record_aside(unit: Unit | None, error: BaseException, attributes: Mapping[str, Any] | None = None) -> None:
    """Report an exception that happened beside a unit of work and does not fail it, as in a thread that it started."""
    if is_error(error) and claim(error, unit):
        _log(unit, error, attributes)


def record_uncaught(error: BaseException) -> None:
    """Report an exception that ends a thread, or the program, where it was not caught.

    It fails the message that was being worked on there, if any. Another unit of work has only started the thread.
    """
    unit = active.current()
    message = context.received() if unit is not None else None
    if message is not None and message.work.unit is unit:
        message.work.fail(error)
    else:
        record_aside(unit, error)


def record_on(
    span: Span, error: BaseException, attributes: Mapping[str, Any] | None = None, time_ns: int | None = None
) -> None:
    """Report an exception as an event of one span; on a call's it is none yet, for it may be tried again."""
    if span.kind is SpanKind.CLIENT:
        span.fail(type_name(error))
        return
    if is_error(error) and claim(error, span.unit):
        if span.is_recording():
            _add_event(span, error, attributes, time_ns)
        else:
            _log(span.unit, error, attributes)


def _add_event(
    span: Span, error: BaseException, attributes: Mapping[str, Any] | None = None, time_ns: int | None = None
) -> None:
    # Highlight stores each event alone, so that it has to hold the ids itself.
    values = {**reported(error), **span.unit.attributes, **(attributes or {})}
    span.add_event("exception", values, time_ns)
    keep(span.unit, values)


def _log(unit: Unit | None, error: BaseException, attributes: Mapping[str, Any] | None) -> None:
    from . import logs

    home = _place(unit) if unit is not None else home_of(error)
    logs.emit_error(home, {**reported(error), **(attributes or {})})


def keep(unit: Unit | None, attributes: Mapping[str, Any]) -> None:
    """Keep an error on disk that goes out with a span: the process may be killed before that ends."""
    from . import logs

    logs.keep_error(_place(unit) if unit is not None else None, attributes)


def reported(error: BaseException) -> dict[str, str]:
    """An exception's attributes where it is reported as an error."""
    values = described(error)
    values[pipeline.UID] = recording.new_uid()
    return values


def described(error: BaseException) -> dict[str, str]:
    """An exception as OpenTelemetry's attributes, in the form that wire formats and viewers need."""
    text = tracebacks.describe(error)
    return {
        "exception.type": text.type,
        "exception.message": text.message,
        "exception.stacktrace": text.stacktrace,
        "exception.structured_stacktrace": text.structured,
    }


def type_name(error: BaseException) -> str:
    """The qualified name of an exception's type, for `error.type`."""
    return tracebacks.type_name(error)
