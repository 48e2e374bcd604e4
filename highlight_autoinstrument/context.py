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
_attach: Callable[[Context], Any] = _variable.set if _is_variable else otel.attach

_SPAN_KEY = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, otel.Context())))
_KEY = otel.create_key("highlight-unit")
_CARRIED = otel.create_key("highlight-carried")
_SEALED = otel.create_key("highlight-sealed")
_SUPPRESSED = "suppress_instrumentation"  # how OpenTelemetry's own exporters ask to be left alone


class HighlightRequest(NamedTuple):
    """The two ids of the `x-highlight-request` header; None where one is unknown."""

    session_id: str | None
    request_id: str | None


class Unit:
    """A unit of work: a request, a message, a task, a `trace()`. Spans and headers go out only inside one.

    `span` is the unit's own span, the outermost in this process. `trace_id` is what Highlight joins a browser's
    request and a backend's error by; it is the same on every record of the unit, or on none. `request` is what a server
    that speaks neither WSGI nor ASGI is answering.
    """

    __slots__ = ("attributes", "ids", "request", "span", "trace_id")

    span: Span

    def __init__(self, ids: HighlightRequest | None, trace_id: str | None) -> None:
        self.request: Request | None = None
        # What every record of the unit is stamped with: one dict for all of them.
        self.attributes: dict[str, str] = {}
        self.take(ids, trace_id)

    def take(self, ids: HighlightRequest | None, trace_id: str | None) -> None:
        """Have ids: from the beginning, or as soon as they are known."""
        self.ids = ids
        self.trace_id = trace_id
        if ids is not None and ids.session_id is not None:
            self.attributes["highlight.session_id"] = ids.session_id
        if ids is not None and ids.request_id is not None:
            self.attributes["highlight.request_id"] = ids.request_id
        if trace_id is not None:
            self.attributes["highlight.trace_id"] = trace_id


def current() -> Unit | None:
    """The unit of work that this code runs in."""
    return unit_of(get_current())


active.current_unit = current


def unit_of(context: Context) -> Unit | None:
    """The unit of work in an OpenTelemetry context."""
    unit = context.get(_KEY)
    if unit is None:
        # One that OpenTelemetry's API has begun is known by its span alone.
        unit = getattr(context.get(_SPAN_KEY), "unit", None)
    return unit if isinstance(unit, Unit) else None


def carried(context: Context | None = None) -> Unit | None:
    """What `HighlightPropagator` has read into a context (the current one); it is no unit of work of this process."""
    unit = (get_current() if context is None else context).get(_CARRIED)
    return unit if isinstance(unit, Unit) else None


def carrying(unit: Unit, context: Context | None) -> Context:
    """A copy of a context (the current one) with what has been read."""
    return otel.set_value(_CARRIED, unit, context)


def holding(unit: Unit, context: Context | None = None) -> Context:
    """A copy of an OpenTelemetry context (the current one), with a unit of work and its span in it."""
    return otel.Context({**(get_current() if context is None else context), _KEY: unit, _SPAN_KEY: unit.span})


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
        return _attach(context) if isinstance(context, otel.Context) else None
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
        variable = getattr(token, "var", None)
        if variable is None:
            otel.detach(token)
        else:
            variable.reset(token)
    except (ValueError, RuntimeError):
        pass
    except Exception as error:  # noqa: BLE001 - the guard, for those whom the application calls
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
        inside.run(_attach, get_current())
        greenlet.gr_context = inside


def current_span() -> trace.Span:
    """OpenTelemetry's current span, ours or another's."""
    span = get_current().get(_SPAN_KEY)
    return span if isinstance(span, trace.Span) else trace.INVALID_SPAN


def span_context(trace_id: int, span_id: int, flags: int) -> trace.SpanContext:
    """The ids of a span elsewhere in OpenTelemetry's form, as a link needs them."""
    return trace.SpanContext(trace_id, span_id, True, trace.TraceFlags(flags))


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
