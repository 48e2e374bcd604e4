"""The tracer of OpenTelemetry's API where the application has set up none: its spans inside a unit of work are ours."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from . import active, context, incoming
from .recording import Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.context import Context


class Tracer(trace.NoOpTracer):
    """Makes spans inside a unit of work, and nothing outside one.

    A server or consumer span begins a unit of work where there is none: an instrumentation that knows a framework of
    which we do not.
    """

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[trace.Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        """Begin a span."""
        span = _begin(name, context, kind, dict(attributes or {}))
        if span is None:
            return super().start_span(name, context, kind)
        for link in links or ():
            span.add_link(link.context, link.attributes)
        if isinstance(start_time, int) and isinstance(span, Span):
            span.start_at(start_time)
        return span

    @contextmanager
    def start_as_current_span(  # type: ignore[override]  # the original is a context manager by another decorator
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[trace.Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[trace.Span]:
        """Begin a span and make it the current one."""
        span = self.start_span(name, context, kind, attributes, links, start_time)
        # An exception that leaves a piece of a unit's work fails that; whether it is an error, the unit tells.
        record_exception = record_exception and isinstance(span, Span) and span.unit.span is span
        with trace.use_span(span, end_on_exit, record_exception, set_status_on_exception):
            yield span


def _begin(name: str, around: Context | None, kind: SpanKind, attributes: dict[str, Any]) -> trace.Span | None:
    unit = (context.unit_of(around) if around is not None else None) or active.current()
    parent_span = trace.get_current_span(around)
    parent = context.span_ids(parent_span)
    if unit is None:
        if kind not in (SpanKind.SERVER, SpanKind.CONSUMER):
            return None
        carried = context.carried(around)
        remote = parent if parent_span.get_span_context().is_remote else None
        return incoming.start(name, kind, carried.ids if carried is not None else None, remote, attributes).unit.span
    if kind is SpanKind.SERVER and unit.span.kind is SpanKind.SERVER and not unit.span.end_ns:
        return _TheRequests(unit.span, attributes)
    if context.suppressed():
        return None
    if kind is SpanKind.CLIENT and getattr(parent_span, "kind", None) is SpanKind.CLIENT:
        return _PartOfCall(parent_span.get_span_context())
    if parent is None or parent_span.get_span_context().is_remote:
        parent = unit.span.parent
    return Span(name, kind, unit, attributes, parent, unit.span.trace_state)


class _PartOfCall(trace.NonRecordingSpan):
    """What a library below another one would say of the same call."""

    kind = SpanKind.CLIENT


class _TheRequests(trace.NonRecordingSpan):
    """Another instrumentation's server span for a request that has ours already: what it knows goes on that one.

    It does not end it: that is done where the request ends.
    """

    def __init__(self, span: Span, attributes: dict[str, Any]) -> None:
        super().__init__(span.get_span_context())
        self._span = span
        for key, value in attributes.items():
            if key not in span.attributes:
                span.set_attribute(key, value)

    def is_recording(self) -> bool:
        """Whether what is added will be sent."""
        return self._span.is_recording()

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute."""
        self._span.set_attribute(key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        self._span.set_attributes(attributes)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        """Add an event."""
        self._span.add_event(name, attributes, timestamp)

    def add_link(self, context: trace.SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        """Link another span."""
        self._span.add_link(context, attributes)

    def update_name(self, name: str) -> None:
        """Rename the request."""
        self._span.update_name(name)

    def set_status(self, status: Any, description: str | None = None) -> None:
        """Set the status."""
        self._span.set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Report an exception as the request's, unless it has been reported."""
        self._span.record_exception(exception, attributes, timestamp)


# Looked up by those that load this file with the first span.
_TRACER = Tracer()
start_span = _TRACER.start_span
start_as_current_span = _TRACER.start_as_current_span
