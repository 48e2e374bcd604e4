"""Numbers that an application records: aggregated by name and attributes, and sent with the next batch."""

from __future__ import annotations

from copy import copy
from time import time_ns
from typing import TYPE_CHECKING, Any

from . import guard, logs, native, otlp, pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_SERIES = 2000  # of a name with its attributes; what is beyond them is not recorded, and that is said

# OpenTelemetry's default buckets; Highlight drops exponential ones.
BOUNDS = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000)

GAUGE, COUNTER, UP_DOWN_COUNTER, HISTOGRAM = "gauge", "counter", "up-down counter", "histogram"


class Series:
    """What has been recorded under one name and one set of attributes since it was last sent."""

    __slots__ = ("attributes", "buckets", "changed", "count", "kind", "name", "start_ns", "value")

    def __init__(self, kind: str, name: str, attributes: dict[str, Any]) -> None:
        self.kind = kind
        self.name = name
        self.attributes = attributes
        self.start_ns = time_ns()
        self.value: float = 0  # the last one of a gauge, else the sum
        self.changed = False
        self.count = 0
        self.buckets = [0] * (len(BOUNDS) + 1) if kind is HISTOGRAM else []

    def add(self, value: float) -> None:
        """Take one value in."""
        self.changed = True
        if self.kind is GAUGE:
            self.value = value
            return
        self.value += value
        if self.kind is HISTOGRAM:
            self.count += 1
            self.buckets[sum(value > bound for bound in BOUNDS)] += 1


# Global state, under the lock; a forked child begins with none, for what it holds is its parent's to send.
_series: dict[tuple[str, str, tuple[tuple[str, str], ...]], Series] = {}
_lock = native.allocate_rlock()


def record(kind: str, name: str, value: float, attributes: Mapping[str, Any] | None) -> None:
    """Record a number; what is none, or goes down where it must not, is ignored and said."""
    if type(value) not in (int, float) or value != value or (kind is COUNTER and value < 0):  # noqa: PLR0124 - a NaN
        expected = "a number of at least 0" if kind is COUNTER else "a number"
        guard.say_once(f"the {kind} {name!r} takes {expected}, not {value!r:.100}; it is ignored")
        return
    plain: dict[str, Any] = {}
    logs.add_extra(plain, attributes or {})
    key = (kind, name, tuple(sorted((label, str(item)) for label, item in plain.items())))
    with _lock:
        series = _series.get(key)
        if series is None:
            if len(_series) >= MOST_SERIES:
                guard.say_once(f"the {kind} {name!r} is ignored: there are {MOST_SERIES} sets of attributes already")
                return
            series = _series[key] = Series(kind, name, plain)
        series.add(value)
    pipeline.touch()


def collect() -> list[bytes]:
    """What has changed since the last time, encoded."""
    now_ns = time_ns()
    taken = []
    with _lock:  # the application's threads wait for it: what takes longer comes after
        for series in list(_series.values()):  # a garbage collection here may record something
            if series.changed:
                taken.append(copy(series))
                series.changed = False
                if series.kind in (COUNTER, HISTOGRAM):  # the receiver adds up what it gets
                    series.value, series.count, series.start_ns = 0, 0, now_ns
                    series.buckets = [0] * len(series.buckets)
    return [otlp.metric(series, BOUNDS, now_ns) for series in taken]


def after_fork() -> None:
    """In a forked child: begin with nothing."""
    global _lock  # noqa: PLW0603
    _lock = native.allocate_rlock()
    _series.clear()


pipeline.collect_metrics = collect
