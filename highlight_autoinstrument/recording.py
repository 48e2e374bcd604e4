"""Span: what OpenTelemetry's API calls one, as light as a request can bear, handed to the exporter when it ends."""

from __future__ import annotations

import os
from random import Random
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags, TraceState

from . import config, guard, pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import SpanKind, Status

    from .context import Unit

# The application's own `random` stays untouched: a program that seeds it expects its numbers back.
_random = Random()  # noqa: S311 - ids, not secrets

MAX_ATTRIBUTES = 128
MAX_EVENTS = 128


# Global state: how often this process and those before it have forked. A span that was begun before the last time is
# the parent's to send, and what happens to the child in its work is sent beside it.
_forks = 0
_pid = 0  # 0: to be asked for, which is a call of the system's


def after_fork() -> None:
    """Give a forked child ids of its own."""
    global _forks, _pid  # noqa: PLW0603 - once in a process
    _forks += 1
    _pid = 0
    _random.seed()


def is_elsewhere(pid: object) -> bool:
    """Whether a process id is another process's than this one's."""
    global _pid  # noqa: PLW0603
    if pid == _pid:
        return False
    _pid = os.getpid()
    return pid != _pid


def random_half() -> int:
    """The half of a new trace's id that samplers read."""
    return _random.getrandbits(64)


def new_uid() -> str:
    """An id for one record, 32 hexadecimal digits."""
    return f"{_random.getrandbits(128):032x}"


class Span(trace.Span):
    """A span of ours. `trace.get_current_span()` returns it, so the application may add to it as to any other."""

    __slots__ = (
        "_clock_ns",
        "_context",
        "_forks",
        "_over",
        "attributes",
        "end_ns",
        "events",
        "flags",
        "kind",
        "links",
        "name",
        "parent_id",
        "sampled",
        "silent",
        "span_id",
        "start_ns",
        "status",
        "status_message",
        "trace_id",
        "trace_state",
        "unit",
    )
    is_log = False

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        unit: Unit,
        attributes: dict[str, Any],
        parent: tuple[int, int, int] | None,
        trace_state: str | None = None,
        trace_id: int = 0,
    ) -> None:
        self.name = name
        self.kind = kind
        self.unit = unit
        self.attributes = attributes
        if parent is None:
            self.trace_id = trace_id or _random.getrandbits(128) or 1
            self.parent_id = 0
            self.sampled = sample(None, self.trace_id)
        else:
            self.trace_id, self.parent_id, flags = parent
            others = trace_state is not None and _is_others(self.parent_id, trace_state)
            self.sampled = sample(None if others else flags, self.trace_id)
        self.span_id = _random.getrandbits(64) or 1
        self.trace_state = trace_state
        self.events: list[tuple[str, int, Mapping[str, Any]]] = []
        self.links: list[tuple[SpanContext, Mapping[str, Any]]] = []
        self.status = 0
        self.status_message = ""
        self.end_ns = 0
        self.silent = False  # another instrumentation's span is sent for this work, or none at all
        self._context: SpanContext | None = None
        self._forks = _forks
        # The wall clock may be set back while the span lasts: durations come from the other one.
        self.start_ns = time_ns()
        self._clock_ns = perf_counter_ns()

    def __getattr__(self, name: str) -> Any:
        # After its end a unit's own span has the unit no longer: whoever asks for it gets one that says the same.
        if name == "unit":
            from .context import again

            return again(self, *self._over)
        msg = f"{type(self).__name__!r} object has no attribute {name!r}"
        raise AttributeError(msg)

    def now_ns(self) -> int:
        """The time of day in nanoseconds, never before the span's start."""
        return self.start_ns + perf_counter_ns() - self._clock_ns

    def start_at(self, start_ns: int) -> None:
        """Set the time at which the span began, nanoseconds since 1970."""
        self._clock_ns -= self.start_ns - start_ns
        self.start_ns = start_ns

    @property
    def parent(self) -> tuple[int, int, int]:
        """The ids under which a child of this span begins."""
        return self.trace_id, self.span_id, 1 if self.sampled else 0

    # OpenTelemetry's interface

    def end(self, end_time: int | None = None) -> None:
        """End the span and hand it to the exporter; only the first call counts."""
        if not self.end_ns:
            try:
                self.end_ns = end_time or self.now_ns()
                if self.sampled and not self.silent and self._forks == _forks:
                    pipeline.add_span(self)
                unit = self.unit
                if unit.span is self:
                    # Until now each has held the other, which would leave both to the garbage collector.
                    self._over = unit.ids, unit.trace_id, unit.stamp
                    try:
                        del self.unit
                    except AttributeError:  # another thread has ended it as well
                        pass
            except Exception as error:  # noqa: BLE001 - the guard, for those whom the application calls
                guard.broken("a span", error)

    def get_span_context(self) -> SpanContext:
        """The ids in OpenTelemetry's form."""
        if self._context is None:
            flags = TraceFlags(TraceFlags.SAMPLED if self.sampled else TraceFlags.DEFAULT)
            state = TraceState.from_header([self.trace_state]) if self.trace_state else None
            self._context = SpanContext(self.trace_id, self.span_id, False, flags, state)
        return self._context

    def is_recording(self) -> bool:
        """Whether what is added will be sent."""
        lasts = not self.silent and not self.end_ns and self._forks == _forks
        return self.sampled and lasts and pipeline.exports

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute."""
        if type(key) is not str:
            key = f"{key}" if isinstance(key, (int, float)) else type(key).__name__
        if not self.end_ns and (len(self.attributes) < MAX_ATTRIBUTES or key in self.attributes):
            self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        try:
            for key, value in attributes.items():
                self.set_attribute(key, value)
        except Exception as error:  # noqa: BLE001 - the guard, for those whom the application calls
            guard.broken("a span", error)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        """Add an event, `timestamp` in nanoseconds since 1970."""
        try:
            if not self.end_ns and len(self.events) < MAX_EVENTS:
                self.events.append((name, timestamp or self.now_ns(), dict(attributes or {})))
        except Exception as error:  # noqa: BLE001 - the guard, for those whom the application calls
            guard.broken("a span", error)

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        """Link another span."""
        try:
            if not self.end_ns and len(self.links) < MAX_EVENTS:
                self.links.append((context, dict(attributes or {})))
        except Exception as error:  # noqa: BLE001 - the guard, for those whom the application calls
            guard.broken("a span", error)

    def update_name(self, name: str) -> None:
        """Rename the span."""
        if not self.end_ns:
            self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status; as in OpenTelemetry OK is final, and UNSET says nothing."""
        try:
            if isinstance(status, StatusCode):
                code, message = status.value, description
            else:
                code, message = status.status_code.value, status.description
            if not self.end_ns and code and self.status != StatusCode.OK.value:
                self.status = code
                self.status_message = (message or "") if code == StatusCode.ERROR.value else ""
        except Exception as error:  # noqa: BLE001 - the guard, for those whom the application calls
            guard.broken("a span", error)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Record an exception as an event, unless it has been recorded already."""
        try:
            from . import errors

            errors.record_on(self, exception, attributes, timestamp)
        except Exception as error:  # noqa: BLE001 - the guard, for those whom the application calls
            guard.broken("a span", error)

    # Ours

    def fail(self, error_type: str, message: str = "") -> None:
        """Mark the span as failed."""
        if not self.end_ns and self.status != StatusCode.OK.value:
            self.status = StatusCode.ERROR.value
            self.status_message = message
            self.attributes.setdefault("error.type", error_type)


def _is_others(parent_id: int, trace_state: str) -> bool:
    """Whether another vendor's tool has sent a parent: the first entry of the state is by whom it was sent last.

    Datadog's names the parent, New Relic's is known by its key. Such a tool may sample a few traces a minute; that is
    for its own spans, and none of ours are left out for it.
    """
    last = trace_state.partition(",")[0]
    return "@nr=" in last or f"{parent_id:016x}" in last


# OTEL_TRACES_SAMPLER. OpenTelemetry's specification: the lower 64 bits of the trace id decide.
_settings = config.get()
_ratio = {"on": 1.0, "off": 0.0}.get(_settings.sampler.rpartition("_")[2], _settings.sampler_arg)
bound = int(_ratio * (1 << 64))  # halves of ids below it are kept
by_parent = _settings.sampler.startswith("parentbased")
keeps_new = _ratio >= 1  # every trace that begins here
keeps_all = keeps_new and not by_parent


def sample(flags: int | None, trace_id: int) -> bool:
    """Whether spans of a trace are sent: by the parent's flags (None: no parent) and the trace id."""
    if by_parent and flags is not None:
        return bool(flags & 1)
    return (trace_id & 0xFFFFFFFFFFFFFFFF) < bound
