"""A unit of work that nobody has asked for yet: where no span will be sent of it, only what came in is kept.

Most of the requests that a sampler leaves out neither log, nor fail, nor call anybody. Theirs is a context that reads
its headers when it is looked into, by us or by whoever uses OpenTelemetry's functions.
"""

from __future__ import annotations

import os
from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel

from . import context, guard, incoming, propagation, recording
from .propagation import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import SpanKind

    from .context import Asked, Unit


class Unread(otel.Context):
    """A context that holds what came in, and becomes a usual one, with the unit of work, when it is looked into."""

    __slots__ = ()


def put_off(
    name: str,
    kind: SpanKind,
    asked: Callable[[Any], Asked],
    place: tuple[Any, ...],
    header: str | None,
    baggage: str | None,
    cookie: str | None,
    traceparent: str | None,
    tracestate: str | None,
) -> Unread | int:
    """The context of a unit of work that the sampler leaves out, and nothing is around.

    Where it has to begin now, the half of its trace's id that was drawn to decide so, or 0.

    `asked(place)` says what an HTTP request asks for. Only what is certain, and cheap to tell, is put off: it has to be
    decided as it would be when it is read. All of it is given now: middleware may take headers away or write another
    path, and a server may use its mapping again for the next request.
    """
    if recording.keeps_all or guard.debugging:
        return 0
    half = 0  # of the id of a trace that begins here: the one that samplers read
    if traceparent is None:
        if recording.keeps_new or baggage is not None:
            return 0
        if header is None:
            half = recording.random_half()
        elif type(header) is str:
            first = header if "," not in header else header.partition(",")[0].rstrip()
            slash = first.find("/")
            size = len(first) - slash - 1 if slash >= 0 else 0
            if size > 32:  # may hold a trace's id, in one of the forms that are read as well
                return 0
            try:
                half = int(first[-16:], 16) if size == 32 else recording.random_half()
            except ValueError:  # no trace's id
                half = recording.random_half()
        else:
            return 0
        if half < recording.bound:
            return max(0, half)
    elif not _is_left_out(traceparent, tracestate):
        return 0
    now_ns = time_ns() if cookie is not None else 0  # how old a session in a cookie is
    return Unread({context.CAME: [name, kind, asked, place, half, now_ns, False, header, baggage, cookie, traceparent]})


_OVER = 6  # where it is noted that the request is over


def _is_left_out(traceparent: Any, tracestate: str | None) -> bool:
    """Whether the sampler leaves out the trace that is continued."""
    # The last digit alone says it of nearly all that are sent.
    if type(traceparent) is not str or (recording.by_parent and traceparent[-1:] in "13579bdf"):
        return False
    parent = propagation.parse_traceparent(traceparent)
    # What another vendor's tool says of its sample is told by the state.
    return parent is not None and tracestate is None and not recording.sample(parent[2], parent[0])


def over(unread: Unread) -> None:
    """Note that the request is over: whoever has its context still may look into it, and does not begin it again."""
    came: Any = dict.get(unread, context.CAME)
    if came is not None:
        came[_OVER] = True
    if dict.__len__(unread) != 1:  # another thread has looked into it meanwhile, and may not have seen that
        unit: Any = dict.get(unread, context.IN_UNIT[1])
        if unit is not None:
            unit.span.end()


def begun(inside: otel.Context) -> Unit:
    """The unit of work of a context, which begins now if nobody has asked for it before."""
    if type(inside) is Unread:
        _begin(inside)
    return context.begun_in(inside)


def read(unread: Unread) -> None:
    """Begin the unit of work, and put it into its context; the next one who looks tries again where that fails."""
    try:
        _begin(unread)
    except Exception as error:  # noqa: BLE001 - the guard, for those whom the application calls
        guard.broken("a unit of work", error)


def _begin(unread: Unread) -> None:
    """The same, unguarded. Threads may do so at once: the first to have one puts it there."""
    came: Any = dict.get(unread, context.CAME)
    if came is not None:
        name, kind, asked, place, half, now_ns, _, *headers = came
        ids, parent = incoming.read(dict(zip(NAMES, headers)).get, now_ms=now_ns // 1_000_000)  # noqa: B905 - no tracestate
        unit = incoming.unit(name, kind, ids, parent, {}, half=half)
        unit.span.sampled = False
        unit.asked = asked(place)
        if context.fill(unread, unit) is not unit or came[_OVER]:
            unit.span.end()
        dict.pop(unread, context.CAME, None)
    # Last: who finds it a usual one goes through it.
    unread.__class__ = otel.Context  # type: ignore[assignment]  # has the same layout


def _read_current() -> None:
    """Before a fork: the request goes on in both processes, and is to be the same one."""
    inside = context.get_current()
    if type(inside) is Unread:
        read(inside)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_read_current)


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
