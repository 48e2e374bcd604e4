"""A unit of work that comes from elsewhere: its ids and its trace are those of what came in, and nobody else's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from . import context, errors, guard, propagation, recording, spans
from .context import HighlightRequest, Unit
from .propagation import NAMES
from .recording import Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry import trace
    from opentelemetry.context import Context

    from .propagation import Names


class Work:
    """A unit of work that has begun; its context is attached wherever its code runs, and its span ended once."""

    __slots__ = ("context", "unit")

    def __init__(self, unit: Unit, inside: Context) -> None:
        if not context.is_context(inside):
            raise TypeError(inside)  # before it becomes the application's current one
        self.unit = unit
        self.context = inside

    def attach(self) -> object:
        """Make this the unit of work that the following code runs in; give what this returns to `detach`."""
        return context.attach(self.context)

    detach = staticmethod(context.detach)

    def fail(self, error: BaseException) -> None:
        """Report an exception that left the work, and mark its span as failed; what is no error is neither."""
        if errors.is_error(error):
            self.unit.span.fail(errors.type_name(error))
            errors.record_in(self.unit, error)


def begin(
    name: str,
    kind: SpanKind,
    get: Callable[[str], str | None],
    attributes: dict[str, Any] | Callable[[], dict[str, Any]],
    names: Names = NAMES,
    half: int = 0,
) -> Work:
    """Begin a unit of work.

    `get` returns what came in under a header, or None; it is asked for the `names`, in lower case unless others are
    given. The attributes may be a function, which is called only where the span will be sent. `half` is that of its
    trace's id that samplers read, where it was drawn already and nothing that came in says another: see `unit`.
    """
    ids, parent = read(get, names)
    state = propagation.parse_tracestate(get(names.tracestate)) if parent is not None else None
    work = start(name, kind, ids, parent, attributes if isinstance(attributes, dict) else {}, state, half)
    span = work.unit.span
    if "http.request.method" in span.attributes:
        method, host, path = map(span.attributes.get, ("http.request.method", "server.address", "url.path"))
        work.unit.asked = str(method), str(host), str(path)
    if span.sampled or guard.debugging:
        if not isinstance(attributes, dict):
            span.attributes.update(attributes())
        if spans.RECORDED and kind is SpanKind.SERVER and "http.request.method" in span.attributes:
            span.attributes.update(spans.request_headers(get))
        if guard.debugging:
            guard.debug(f"{name} {span.attributes.get('url.path', '')}: {_told(ids, parent, get, names)}")
    return work


def read(
    get: Callable[[str], str | None], names: Names = NAMES, now_ms: int = 0
) -> tuple[HighlightRequest | None, tuple[int, int, int] | None]:
    """The ids of what came in, and trace id, span id and flags of what it continues.

    `now_ms` is the Unix time when it came; 0: now.
    """
    ids = propagation.extract(get, (lambda: now_ms), names) if now_ms else propagation.extract(get, names=names)
    parent = get(names.traceparent)
    return ids, None if parent is None else propagation.parse_traceparent(parent)


def start(
    name: str,
    kind: SpanKind,
    ids: HighlightRequest | None,
    parent: tuple[int, int, int] | None,
    attributes: dict[str, Any],
    trace_state: str | None = None,
    half: int = 0,
) -> Work:
    """Begin a unit of work with ids and a parent that are known."""
    outside = context.get_current()
    if not outside:
        begun = unit(name, kind, ids, parent, attributes, trace_state, half=half)
        return Work(begun, context.holding(begun, outside))
    around = _span_around(outside)
    local = context.span_ids(around) if around is not None else None
    begun = unit(name, kind, ids, parent, attributes, trace_state, local)
    if around is not None and kind is SpanKind.SERVER:
        _join(begun, around)
    return Work(begun, context.holding(begun, _base(outside)))


def unit(
    name: str,
    kind: SpanKind,
    ids: HighlightRequest | None,
    parent: tuple[int, int, int] | None,
    attributes: dict[str, Any],
    trace_state: str | None = None,
    local: tuple[int, int, int] | None = None,
    half: int = 0,
) -> Unit:
    """A unit of work with its span, below that of the `parent`, or below a `local` one that stands for it.

    A trace that begins here has the `half`, if it is not 0, so that a second draw does not decide on it again.
    """
    request_id = ids.request_id if ids is not None else None
    unit = Unit(ids, f"{parent[0]:032x}" if parent is not None else request_id)
    # Without a traceparent the browser's own trace id, where the request id is one, makes this trace the browser's.
    trace_id = _as_trace_id(request_id) if parent is None and request_id is not None else 0
    if half and not trace_id:
        trace_id = recording.random_half() << 64 | half
    unit.span = Span(name, kind, unit, attributes, local or parent, trace_state, trace_id)
    return unit


def adopt(get: Callable[[str], str | None]) -> None:
    """Let the present unit of work have the ids of what it turns out to bring, if it came without any.

    Its span has begun a trace already, and is linked to the one that it would have continued.
    """
    unit = context.current()
    ids, parent = read(get)
    if unit is None or unit.ids is not None or ids is None:
        return
    if parent is not None:
        unit.span.add_link(context.span_context(*parent))
    unit.take(ids, f"{parent[0]:032x}" if parent is not None else ids.request_id)


def packed() -> tuple[Any, ...] | None:
    """The present unit of work in plain values, to be continued in another process of this program."""
    unit = context.current()
    if unit is None:
        return None
    parent = context.ids_in(unit)
    return (tuple(unit.ids) if unit.ids is not None else None), unit.trace_id, parent, unit.span.trace_state


def unpacked(values: tuple[Any, ...]) -> Context:
    """The context for such a unit: its spans belong to the span over there, which is that process's to send."""
    ids, trace_id, parent, state = values
    unit = Unit(HighlightRequest(*ids) if ids is not None else None, trace_id)
    unit.span = Span("", SpanKind.INTERNAL, unit, {}, parent, state)
    unit.span.silent = True
    unit.span.span_id = parent[1]
    return context.holding(unit, context.empty())


def _span_around(outside: Context) -> trace.Span | None:
    """The span of another OpenTelemetry instrumentation that is open around this work, and has read the headers."""
    span = context.span_of(outside)
    return span if span.is_recording() and not isinstance(span, Span) else None


def _join(unit: Unit, around: trace.Span) -> None:
    """Where the application's own instrumentation has begun a span for this request, that one stands for it."""
    otel = sys.modules.get(f"{__package__}.otel")
    span_id = around.get_span_context().span_id
    if getattr(around, "kind", None) is SpanKind.SERVER and otel is not None and otel.known(span_id):
        for key, value in unit.attributes.items():
            around.set_attribute(key, value)
        unit.span.silent = True
        unit.span.span_id = span_id


def _base(outside: Context) -> Context:
    """The context that the work's is made of: the one around it, without what is another unit's there."""
    if context.unit_of(outside) is None:
        return outside
    base = context.without_unit(outside)
    if base:
        from opentelemetry import baggage

        for name in baggage.get_all(base):
            if name.lower() in propagation.BAGGAGE:  # whoever forwards it would name the other one's session
                base = baggage.remove_baggage(name, base)
    return base


def _as_trace_id(request_id: str) -> int:
    # int() reads signs, spaces, underscores and 0x as well.
    if len(request_id) != 32 or not request_id.isalnum() or request_id[1] in "xX":
        return 0
    try:
        return int(request_id, 16)
    except ValueError:
        return 0


def _told(
    ids: HighlightRequest | None, parent: tuple[int, int, int] | None, get: Callable[[str], str | None], names: Names
) -> str:
    trace_words = "traceparent continued" if parent is not None else "no traceparent"
    if ids is None:
        return f"no session came in; {trace_words}"
    carriers = ((names.request, NAMES.request), (names.baggage, NAMES.baggage), (names.cookie, NAMES.cookie))
    source = next(shown for name, shown in carriers if _says(name, get, names))
    return f"session {ids.session_id or '-'} request {ids.request_id or '-'} from {source}; {trace_words}"


def _says(name: str, get: Callable[[str], str | None], names: Names) -> bool:
    """Whether the ids are in this carrier; one may be there and hold none."""
    return propagation.extract(lambda asked: get(asked) if asked == name else None, names=names) is not None
