"""The application's own OpenTelemetry: its spans are stamped, their exceptions counted with ours, and sent along.

Its provider stays the global one, and our spans never enter it: what it exports elsewhere is what it always exported,
with the session's ids on it.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, SpanProcessor
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from . import active, context, errors, pipeline
from .patching import guarded

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan

    from .context import Unit
    from .recording import Span


class _Open:
    """What is known of a span of the application's while it is open."""

    __slots__ = ("errors", "unit")

    def __init__(self, unit: Unit | None) -> None:
        self.unit = unit
        # For each exception event in turn: its attributes in our form, or None for one that has been reported.
        self.errors: list[dict[str, str] | None] = []


# Global state: under `opentelemetry-instrument` it exports the spans itself; we stamp and repair them, and send none.
sends = True

# By span id. Spans that are never ended are forgotten, the oldest first.
_open: dict[int, _Open] = {}
_MOST_OPEN = 10_000


class HighlightSpanProcessor(SpanProcessor):
    """Stamps and sends the spans of a provider that the application has set up."""

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        """Stamp a span with the ids of the unit of work that it starts in."""
        start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Send a span."""
        end(span)

    def shutdown(self) -> None:
        """Do nothing: what is queued is sent by the pipeline, which outlives the provider."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what has been recorded until now."""
        return pipeline.flush(timeout_millis / 1000)


@guarded
def start(span: SdkSpan, parent_context: Context | None) -> None:
    """Note a span that begins, stamp it, and let it stand for the request if it is its server span."""
    # The context that it names may be one that was just read from headers, and hold nothing else.
    unit = (context.unit_of(parent_context) if parent_context is not None else None) or active.current()
    unit = unit or context.carried(parent_context) or context.carried()
    if len(_open) >= _MOST_OPEN:
        _open.pop(next(iter(_open)), None)
    _open[span.get_span_context().span_id] = _Open(unit)
    if unit is None:
        return
    for key, value in unit.attributes.items():
        span.set_attribute(key, value)
    if _is_same_request(span, unit.span):
        give_way(unit.span, span)


# These make a server span only where they find no span about, and an internal one below another's. Ours is about.
_SERVERS = frozenset(
    f"opentelemetry.instrumentation.{name}"
    for name in (
        "aiohttp_server",
        "asgi",
        "django",
        "falcon",
        "fastapi",
        "flask",
        "pyramid",
        "starlette",
        "tornado",
        "wsgi",
    )
)


def _is_same_request(span: SdkSpan, server: Span) -> bool:
    """Whether a span of the application's is its server span for the request that ours is about."""
    if server.kind is not SpanKind.SERVER or server.silent or server.end_ns:
        return False
    if span.kind is SpanKind.SERVER:
        # It began below ours, or read the same headers.
        return span.parent is None or span.parent.span_id in (server.span_id, server.parent_id)
    scope = getattr(span.instrumentation_scope, "name", "")
    below = span.parent is not None and span.parent.span_id == server.span_id
    return below and span.kind is SpanKind.INTERNAL and scope in _SERVERS


def give_way(server: Span, span: SdkSpan) -> None:
    """Let the application's own server span stand for the request: one request is one span."""
    step_aside(server, span)
    ids = span.get_span_context()
    server.silent = True
    server.trace_id, server.span_id = ids.trace_id, ids.span_id


def step_aside(server: Span, span: SdkSpan) -> None:
    """Where ours is the parent of the application's own server span, put our parent there.

    The application's telemetry is as it was without the agent.
    """
    if span.parent is not None and span.parent.span_id == server.span_id:
        parent = None
        if server.parent_id:
            parent = SpanContext(server.trace_id, server.parent_id, is_remote=True, trace_flags=TraceFlags(1))
        span._parent = parent  # noqa: SLF001 - there is no public way
        span._kind = SpanKind.SERVER  # noqa: SLF001 - the same


def started(span: object) -> None:
    """See to a span of a provider that is not the global one: it is not ours to send, nor to be changed by us."""
    unit = active.current()
    if unit is None or not isinstance(span, SdkSpan):
        return
    if not known(span.get_span_context().span_id) and _is_same_request(span, unit.span):
        step_aside(unit.span, span)


def known(span_id: int) -> bool:
    """Whether an open span of the application's is one that will be sent by us."""
    return span_id in _open


@guarded
def record_exception(span: SdkSpan, error: BaseException) -> None:
    """Note an exception that one of the application's spans records, and whether it is news."""
    opened = _open.get(span.get_span_context().span_id)
    if opened is None:
        return
    # A call that failed may be tried again: where its exception leaves the application's hands, it is reported.
    news = span.kind is not SpanKind.CLIENT and errors.is_error(error) and errors.claim(error, opened.unit)
    if not news:
        opened.errors.append(None)
        return
    values = errors.reported(error)
    opened.errors.append(values)
    if sends:
        errors.keep(opened.unit, values)


@guarded
def end(span: ReadableSpan) -> None:
    """Queue a span that has ended, with its exceptions as ours are, and without those that were reported before."""
    ids = span.get_span_context()
    if ids is None:
        return
    opened = _open.pop(ids.span_id, None)
    recorded = iter(opened.errors if opened is not None else ())
    events = []
    for event in span.events:
        attributes = dict(event.attributes or {})
        if event.name == "exception":
            repaired = next(recorded, _repaired(attributes))
            if repaired is None:
                continue
            attributes.update(repaired)
        events.append((event.name, event.timestamp, attributes))
    if span.name == _LOG_SPAN and not events:
        return
    if not sends:
        span._events = [Event(name, attributes, time_ns) for name, time_ns, attributes in events]  # noqa: SLF001 - there is no public way
        return
    pipeline.add_span(
        SimpleNamespace(
            is_log=False,
            unit=_NO_UNIT,
            name=span.name,
            kind=span.kind,
            trace_id=ids.trace_id,
            span_id=ids.span_id,
            parent_id=span.parent.span_id if span.parent is not None else 0,
            trace_state=ids.trace_state.to_header() if ids.trace_state else None,
            sampled=True,
            start_ns=span.start_time or 0,
            end_ns=span.end_time or 0,
            attributes=_stamped(dict(span.attributes or {}), opened.unit if opened is not None else None),
            events=events,
            links=[(link.context, dict(link.attributes or {})) for link in span.links],
            status=span.status.status_code.value,
            status_message=span.status.description or "",
        )
    )


def _stamped(attributes: dict[str, Any], unit: Unit | None) -> dict[str, Any]:
    """The attributes with the unit's ids, also where another SDK has put an empty one in its place."""
    for key in ("highlight.session_id", "highlight.trace_id"):
        if key in attributes and not attributes[key]:
            del attributes[key]
    return {**unit.attributes, **attributes} if unit is not None else attributes


# Of highlight_io, around each log record outside a span; Highlight stores none of that name.
_LOG_SPAN = "highlight.log"
_NO_UNIT = SimpleNamespace(attributes=context.Stamp())  # the ids are among the span's own attributes


def _repaired(attributes: dict[str, Any]) -> dict[str, str]:
    """An event that the application made itself: Highlight drops one without a message."""
    message = attributes.get("exception.message") or attributes.get("exception.type") or "exception"
    return {"exception.message": str(message)}


class HighlightLogRecordProcessor:
    """Stamps the log records of a provider that the application has set up; they are its own to send."""

    def on_emit(self, data: Any) -> None:
        """Stamp a record with the ids of the unit of work that it was written in."""
        stamp(getattr(data, "log_record", data))

    emit = on_emit  # its name until OpenTelemetry 1.35

    def shutdown(self) -> None:
        """Do nothing."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: nothing waits here."""
        return True


@guarded
def stamp(record: Any) -> None:
    """Put the ids on a log record of OpenTelemetry's."""
    unit = active.current() or context.carried()
    given = record.attributes or {}
    attributes = dict(given)
    if not sends and "exception.type" in attributes:
        _repair_log(attributes, unit)
    if unit is not None:
        attributes.update(unit.attributes)
    if attributes != given:
        limit = getattr(given, "maxlen", None)  # its exporters ask the attributes how many of them were dropped
        record.attributes = BoundedAttributes(limit, attributes, immutable=False)


def _repair_log(attributes: dict[str, Any], unit: Unit | None) -> None:
    """Leave a record's exception out where it has been reported, and put it in our form where it has not."""
    error = sys.exc_info()[1]
    if error is None or type(error).__name__ != attributes["exception.type"].rpartition(".")[2]:
        attributes.update(_repaired(attributes))
        return
    news = errors.is_error(error) and errors.claim(error, unit)
    for key in [key for key in attributes if key.startswith("exception.")]:
        del attributes[key]
    if news:
        attributes.update(errors.reported(error))


# Where the processors of a provider are; there is no public way to take one out again.
_PROCESSORS = (
    ("_active_span_processor", "_span_processors"),
    ("_multi_log_record_processor", "_log_record_processors"),
)


def send_alone(provider: Any) -> None:
    """Leave to a provider no processors but ours: what another SDK of Highlight's would send is sent by us, once."""
    for holder, name in _PROCESSORS:
        processors = getattr(provider, holder, None)
        for processor in getattr(processors, name, ()):
            if not isinstance(processor, (HighlightSpanProcessor, HighlightLogRecordProcessor)):
                setattr(processors, name, tuple(one for one in getattr(processors, name) if one is not processor))
                processor.shutdown()
