"""HighlightRequest, and the unit of work that keeps it in the OpenTelemetry context."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry import context as otel
from opentelemetry import trace

from . import active, guard
from .patching import hide_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context

    from .messaging import Received
    from .recording import Span
    from .serving import Request

# OpenTelemetry keeps the current context in a variable, and each of its functions is several calls around that. Where
# it is another kind of runtime context, or has the variable no longer, its functions are called.
_variable: Any = getattr(getattr(otel, "_RUNTIME_CONTEXT", None), "_current_context", None)
_is_variable = isinstance(_variable, contextvars.ContextVar)
get_current: Callable[[], Context] = _variable.get if _is_variable else otel.get_current
set_current: Callable[[Context], Any] = _variable.set if _is_variable else otel.attach  # unguarded, for hot paths
reset: Callable[[Any], object] = _variable.reset if _is_variable else otel.detach  # the same; raises what stands below
NOT_HERE = (ValueError, RuntimeError)  # where a token is given back in another context, or twice

_SPAN_KEY = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, otel.Context())))
_KEY = otel.create_key("highlight-unit")
CAME = otel.create_key("highlight-came")  # what came in, of a unit of work that nobody has asked for: see unread.py
_CARRIED = otel.create_key("highlight-carried")
_SEALED = otel.create_key("highlight-sealed")
IN_UNIT = (_SPAN_KEY, _KEY)  # what a unit of work puts into its context
_OURS = {*IN_UNIT, CAME, _CARRIED, _SEALED}
_SUPPRESSED = "suppress_instrumentation"  # how OpenTelemetry's own exporters ask to be left alone


class HighlightRequest(NamedTuple):
    """The two ids of the `x-highlight-request` header; None where one is unknown."""

    session_id: str | None
    request_id: str | None


Asked = tuple[str, str, str]  # an HTTP request's method, host and path


class Stamp(dict[str, str]):
    """What every record of a unit of work is stamped with, and the same as the encoder has written it last.

    No key is ever taken away, and what changes one adds others after it (`Unit.take`): their number says whether what
    was written is still all, whichever threads are at it. Exceptions hold one, and may be unpickled where this package
    is not: it is pickled as a plain dict.
    """

    on_logs: tuple[int, bytes] | None = None
    on_spans: tuple[int, bytes] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def _stamp(stamp: Stamp, ids: HighlightRequest | None, trace_id: str | None) -> Stamp:
    # First, since it may be there already: see Stamp.
    if trace_id is not None:
        stamp["highlight.trace_id"] = trace_id
    if ids is not None and ids.session_id is not None:
        stamp["highlight.session_id"] = ids.session_id
    if ids is not None and ids.request_id is not None:
        stamp["highlight.request_id"] = ids.request_id
    return stamp


class Unit:
    """A unit of work: a request, a message, a task, a `trace()`. Spans and headers go out only inside one.

    `span` is the unit's own span, the outermost in this process. `trace_id` is what Highlight joins a browser's
    request and a backend's error by; it is the same on every record of the unit, or on none. `request` is what a server
    that speaks neither WSGI nor ASGI is answering, `asked` what an HTTP request asks for.
    """

    __slots__ = ("asked", "ids", "request", "span", "stamp", "trace_id")

    span: Span

    def __init__(self, ids: HighlightRequest | None, trace_id: str | None) -> None:
        self.request: Request | None = None
        self.asked: Asked | None = None
        self.ids = ids
        self.trace_id = trace_id
        self.stamp: Stamp | None = None  # a unit of which nothing is recorded needs none

    @property
    def attributes(self) -> Stamp:
        """What each of its records is stamped with: one for all of them."""
        stamp = self.stamp
        return self._stamped() if stamp is None else stamp

    def _stamped(self) -> Stamp:
        while True:
            known = self.ids, self.trace_id
            stamp = self.stamp = _stamp(Stamp(), *known)
            if (self.ids, self.trace_id) == known:  # else another thread has been told more meanwhile
                return stamp

    def take(self, ids: HighlightRequest, trace_id: str | None) -> None:
        """Have ids that came late."""
        self.trace_id = trace_id
        self.ids = ids
        if self.stamp is not None:
            _stamp(self.stamp, ids, trace_id)


def again(span: Span, ids: HighlightRequest | None, trace_id: str | None, stamp: Stamp | None) -> Unit:
    """A unit that says the same as the one whose span this is, which may be gone."""
    unit = Unit(ids, trace_id)
    unit.span = span
    unit.stamp = stamp
    return unit


def current() -> Unit | None:
    """The unit of work that this code runs in."""
    try:
        context = get_current()
        if not context:
            return None
        unit = context.get(_KEY)
        return unit if type(unit) is Unit else unit_of(context)
    except Exception as error:  # noqa: BLE001 - the guard, for those whom the application calls
        guard.broken("the unit of work", error)
        return None


def sampled_span() -> Span | None:
    """The span of the unit of work that this code runs in; None where none will be sent of it."""
    try:
        if dict.__contains__(get_current(), CAME):
            return None  # without looking into it: see unread.py
        unit = current()
    except Exception as error:  # noqa: BLE001 - the guard, for those whom the application calls
        guard.broken("the unit of work", error)
        return None
    return unit.span if unit is not None and unit.span.sampled else None


active.begun = True
active.current = current
active.span = sampled_span


def unit_of(context: Context) -> Unit | None:
    """The unit of work in an OpenTelemetry context."""
    unit = context.get(_KEY)
    if unit is None:
        # One that OpenTelemetry's API has begun is known by its span alone.
        unit = getattr(context.get(_SPAN_KEY), "unit", None)
    return unit if isinstance(unit, Unit) else None


def begun_in(context: Context) -> Unit:
    """The same of one that has it."""
    unit = unit_of(context)
    if unit is None:
        raise LookupError
    return unit


def carried(context: Context | None = None) -> Unit | None:
    """What `HighlightPropagator` has read into a context (the current one); it is no unit of work of this process."""
    unit = (get_current() if context is None else context).get(_CARRIED)
    return unit if isinstance(unit, Unit) else None


def carrying(unit: Unit, context: Context | None) -> Context:
    """A copy of a context (the current one) with what has been read."""
    return otel.set_value(_CARRIED, unit, context)


def is_context(value: object) -> bool:
    """Whether something can be made the current context."""
    return isinstance(value, otel.Context)


def holding(unit: Unit, context: Context | None = None) -> Context:
    """A copy of an OpenTelemetry context (the current one), with a unit of work and its span in it."""
    return otel.Context({**(get_current() if context is None else context), _KEY: unit, _SPAN_KEY: unit.span})


def without_unit(context: Context) -> Context:
    """A copy of a context that has what the application keeps there, and nothing of ours."""
    return otel.Context({key: value for key, value in context.items() if key not in _OURS})


def fill(context: Context, unit: Unit) -> Unit:
    """Put a unit of work into a context that is there already, unless another thread has; return the one there."""
    first: Any = dict.setdefault(context, _KEY, unit)
    dict.setdefault(context, _SPAN_KEY, first.span)
    filled: Unit = first
    return filled


def reading() -> Context:
    """The current context as it is without us, for whoever reads headers: some compare it with what they have read."""
    found = get_current()
    if getattr(found.get(_SPAN_KEY), "unit", None) is None:
        return found
    return otel.Context({key: value for key, value in found.items() if key != _SPAN_KEY})


def continuing(extracted: Context) -> Context | None:
    """A context that was read from the headers of the present unit of work, with that unit in it; None for others.

    It may be a new one, with nothing in it but what was read. Whoever makes it the current one has not left the unit.
    """
    unit = current()
    if unit is None:
        return None
    if extracted.get(_KEY) is unit:  # a copy of the current one
        return None if _SPAN_KEY in extracted else otel.Context({**extracted, _SPAN_KEY: trace.get_current_span()})
    read, span = trace.get_current_span(extracted).get_span_context(), unit.span
    if read.is_valid and (read.trace_id, read.span_id) != (span.trace_id, span.parent_id):
        return None  # another's, such as a message's
    return otel.Context({**extracted, _KEY: unit})


def with_span(span: trace.Span) -> Context:
    """A copy of the current context, with another span as the current one."""
    return otel.Context({**get_current(), _SPAN_KEY: span})


def suppressed() -> bool:
    """Whether OpenTelemetry's switch for "do not instrument this" is on, or ours."""
    current = get_current()
    return bool(current.get(_SUPPRESSED) or current.get(_SEALED))


def sealed() -> Context:
    """A copy of the current context in which calls get neither spans nor headers from us; others do as they would."""
    return otel.set_value(_SEALED, True)


def snapshot() -> Context:
    """The current context, to be attached elsewhere."""
    return get_current()


def empty() -> Context:
    """A context without a unit of work."""
    return otel.Context()


def attach(context: Context) -> object:
    """Make a context the current one, until `detach` is given the token that this returns."""
    try:
        return set_current(context) if isinstance(context, otel.Context) else None
    except Exception as error:  # noqa: BLE001 - the guard, for those whom the application calls
        guard.broken("the context", error)
        return None


def detach(token: Any) -> None:
    """Go back to the context before `attach`, unless this is not where it was attached.

    OpenTelemetry's own `detach` logs an error into the application's log when a generator or a coroutine is closed
    in another context than it ran in. Then there is nothing to go back from.
    """
    if token is None:
        return
    try:
        reset(token)
    except NOT_HERE:
        pass
    except Exception as error:  # noqa: BLE001 - the guard, for those whom the application calls
        try:  # a signal's handler may have raised it before anything was done
            reset(token)
        except NOT_HERE:
            pass
        guard.broken("the context", error)


class Carried:
    """A callable together with the context that it was handed over in; what its thread had before is put back after."""

    __slots__ = ("__wrapped__", "context")

    def __init__(self, function: Callable[..., Any], context: Context) -> None:
        self.__wrapped__ = function
        self.context = context

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function there."""
        token = attach(self.context)
        try:
            return self.__wrapped__(*args, **kwargs)
        except BaseException as error:
            hide_frame(error, __file__)
            raise
        finally:
            detach(token)


# The message that the code here works on, from one receive to the next: see messaging.py.
_received: contextvars.ContextVar[Received | None] = contextvars.ContextVar("highlight-received", default=None)


def received() -> Received | None:
    """The message that was received here last, and is being worked on."""
    return _received.get()


def set_received(message: Received | None) -> None:
    """Note which message is being worked on here."""
    _received.set(message)


def give(greenlet: Any) -> None:
    """Have a greenlet that has not begun run in the present unit of work, unless it has got a context of its own.

    Nothing else of the current context goes along: to the application's variables a new greenlet is a new thread.
    """
    if greenlet.gr_context is None:
        inside = contextvars.Context()
        inside.run(set_current, get_current())
        greenlet.gr_context = inside


def current_span() -> trace.Span:
    """OpenTelemetry's current span, ours or another's."""
    return span_of(get_current())


def span_of(context: Context) -> trace.Span:
    """The same of any context."""
    span = context.get(_SPAN_KEY)
    return span if span is not None and isinstance(span, trace.Span) else trace.INVALID_SPAN


def span_context(trace_id: int, span_id: int, flags: int) -> trace.SpanContext:
    """The ids of a span elsewhere in OpenTelemetry's form, as a link needs them."""
    return trace.SpanContext(trace_id, span_id, True, trace.TraceFlags(flags))


def ids_in(unit: Unit) -> tuple[int, int, int]:
    """Trace id, span id and flags of the span that code of a unit of work runs in."""
    span = get_current().get(_SPAN_KEY)
    if getattr(span, "unit", None) is not None:  # ours
        own: tuple[int, int, int] = span.parent  # type: ignore[attr-defined]
        return own
    return span_ids(current_span()) or unit.span.parent


def span_ids(span: trace.Span) -> tuple[int, int, int] | None:
    """Trace id, span id and flags of a span, ours or another's; None for OpenTelemetry's invalid one."""
    if getattr(span, "unit", None) is not None:  # ours has them at hand
        own: tuple[int, int, int] = span.parent  # type: ignore[attr-defined]
        return own
    context = span.get_span_context()
    return (context.trace_id, context.span_id, context.trace_flags) if context.is_valid else None


def trace_state(span: trace.Span) -> str:
    """A span's `tracestate` header; empty for none."""
    if getattr(span, "unit", None) is not None:
        return span.trace_state or ""  # type: ignore[attr-defined]
    state = span.get_span_context().trace_state
    return state.to_header() if state else ""
