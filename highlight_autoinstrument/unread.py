"""A unit of work that nobody has asked for yet: where no span will be sent of it, only what came in is kept.

Most of the requests that a sampler leaves out neither log, nor fail, nor call anybody. Theirs is a context that reads
its headers when it is looked into, by us or by whoever uses OpenTelemetry's functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel

from . import context, guard, incoming, propagation, recording
from .propagation import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import SpanKind

    from .context import Asked
    from .propagation import Names


ALONE = 2  # how many references there are to what one attribute holds, while they are counted


class Unread(otel.Context):
    """A context that holds what came in, and becomes a usual one, with the unit of work, when it is looked into."""

    __slots__ = ()


def put_off(
    name: str,
    kind: SpanKind,
    get: Callable[[str], Any],
    names: Names,
    asked: Callable[[Any], Asked],
    place: Callable[..., Any],
    *request: Any,
) -> Unread | int:
    """The context of a unit of work that the sampler leaves out, and nothing is around.

    Where it has to begin now, the half of its trace's id that was drawn to decide so, or 0.

    `asked(place(*request))` says what an HTTP request asks for, in two steps: the context may live longer than the
    request (see `keep`). Only what is certain, and cheap to tell, is put off: it has to be decided as it would be when
    it is read.
    """
    if recording.keeps_all or guard.debugging:
        return 0
    half = 0  # of the id of a trace that begins here: the one that samplers read
    header, baggage, traceparent = get(names.request), get(names.baggage), get(names.traceparent)
    if traceparent is None:
        if recording.keeps_new or baggage is not None:
            return 0
        if header is None:
            half = recording.random_half()
        else:
            try:  # the browser's trace, where its id is there; whatever else can be read so makes as good a half
                half = int(header[-16:], 16)
            except (TypeError, ValueError):
                half = recording.random_half()
        if half < recording.bound:
            return max(0, half)
    elif not _is_left_out(traceparent, get, names):
        return 0
    # The headers now: middleware may take them away, and a server may use their mapping again for the next request.
    came = name, kind, header, baggage, get(names.cookie), traceparent, half, asked, place, request
    return Unread({context.CAME: came})


def keep(unread: Unread) -> None:
    """Copy what the context of a request that is over needs of it, for whoever has the context still."""
    came: Any = dict.get(unread, context.CAME)
    if came is not None:
        *first, asked, place, request = came
        dict.__setitem__(unread, context.CAME, (*first, asked, _kept, (place(*request),)))
        if type(unread) is not Unread:  # another thread has looked into it meanwhile
            dict.pop(unread, context.CAME, None)


def _kept(place: Any) -> Any:
    return place


def _is_left_out(traceparent: Any, get: Callable[[str], Any], names: Names) -> bool:
    """Whether the sampler leaves out the trace that is continued."""
    # The last digit alone says it of nearly all that are sent.
    if type(traceparent) is not str or (recording.by_parent and traceparent[-1:] in "13579bdf"):
        return False
    parent = propagation.parse_traceparent(traceparent)
    # What another vendor's tool says of its sample is told by the state.
    return parent is not None and get(names.tracestate) is None and not recording.sample(parent[2], parent[0])


def read(unread: Unread) -> None:
    """Begin the unit of work, and put it into its context; whichever thread does so first has begun it."""
    try:
        came: Any = dict.get(unread, context.CAME)
        if came is not None:
            name, kind, *headers, half, asked, place, request = came
            ids, parent = incoming.read(dict(zip(NAMES, headers)).get)  # noqa: B905 - no tracestate
            unit = incoming.unit(name, kind, ids, parent, {}, half=half)
            unit.span.sampled = False
            unit.asked = asked(place(*request))
            if place is _kept:
                unit.span.end()  # the request is over
            context.fill(unread, unit)
    except Exception as error:  # noqa: BLE001 - the guard, for those whom the application calls
        guard.broken("a unit of work", error)
    unread.__class__ = otel.Context  # type: ignore[assignment]  # has the same layout
    dict.pop(unread, context.CAME, None)


def _read_before(name: str) -> Callable[..., Any]:
    method = getattr(otel.Context, name)

    def look(self: Any, *args: Any) -> Any:
        if type(self) is Unread:
            read(self)
        return method(self, *args)

    return look


def _read_before_ours(name: str) -> Callable[..., Any]:
    method = getattr(otel.Context, name)

    def look(self: Any, key: object, *args: Any) -> Any:
        if type(self) is Unread and key in context.IN_UNIT:  # there will be no other key than these
            read(self)
        return method(self, key, *args)

    return look


for _name in ("__contains__", "__getitem__", "get"):
    setattr(Unread, _name, _read_before_ours(_name))
for _name in (
    *("__eq__", "__iter__", "__len__", "__ne__", "__or__", "__repr__", "__reversed__", "__ror__"),
    *("copy", "items", "keys", "values"),
):
    setattr(Unread, _name, _read_before(_name))
