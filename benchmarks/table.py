"""What was measured, as rows: each environment beside the bare program, and this agent beside the others."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

from environments import BARE, OURS
from figures import BOUNDS, LAUNCHER, PER_SECOND, SLOWEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from figures import Bound
    from measure import Measured

ENOUGH = 0.98  # of the records that were due: an agent that sent fewer is no measure of what sending them costs


class Row(NamedTuple):
    """A figure in one environment."""

    figure: str
    unit: str
    environment: str
    median: float
    added: float  # the median of the differences to the bare program in the same round
    low: float
    high: float
    times: float | None  # the bare program's
    arrived: float | None  # the least part of the due records in a round
    records: str  # their kind


class Comparison(NamedTuple):
    """This agent's figure beside the best of the other agents that did the same."""

    figure: str
    ours: float
    other: str
    best: float | None
    ratio: float | None
    bound: float | None
    absolute: bool

    @property
    def met(self) -> bool | None:
        if self.bound is None:
            return None
        if self.absolute:
            return self.ours <= self.bound
        return None if self.ratio is None else self.ratio <= self.bound


def rows(measured: Measured, environments: Sequence[str]) -> list[Row]:
    found = []
    for figure, by_environment in measured.values.items():
        bare = by_environment[BARE.name]
        base = statistics.median(bare)
        for name in environments:
            values = by_environment[name]
            low, middle, high = quartiles([value - base for value, base in zip(values, bare, strict=True)])
            median = statistics.median(values)
            part = measured.arrived.get(figure, {}).get(name)
            times = median / base if base else None
            kind = measured.kinds.get(figure, "")
            found.append(Row(figure, measured.units[figure], name, median, middle, low, high, times, part, kind))
    return found


def quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def comparisons(found: Sequence[Row]) -> list[Comparison]:
    """Of each cost of this agent that is one: throughput cannot be divided, and not everybody has a launcher."""
    figures: dict[str, dict[str, Row]] = {}
    for row in found:
        figures.setdefault(row.figure, {})[row.environment] = row
    compared = []
    for figure, by_environment in figures.items():
        if OURS.name in by_environment and not figure.startswith((LAUNCHER.name, PER_SECOND, SLOWEST)):
            compared.append(compare(figure, by_environment, figures, BOUNDS.get(figure)))
    return compared


def compare(
    figure: str, by_environment: dict[str, Row], figures: dict[str, dict[str, Row]], bound: Bound | None
) -> Comparison:
    absolute = bound is not None and bound.absolute
    needs = [figure, *(bound.needs if bound else ())]
    costs = {
        name: row.added
        for name, row in by_environment.items()
        if name == OURS.name or (name != BARE.name and all(did_it(figures.get(need, {}).get(name)) for need in needs))
    }
    ours = costs.pop(OURS.name)
    other = min(costs, key=costs.__getitem__, default="")
    best = costs.get(other)
    # Less than nothing is noise: nobody can be compared with it.
    ratio = ours / best if best is not None and best > 0 else None
    return Comparison(figure, ours, other, best, ratio, bound.most if bound else None, absolute)


def did_it(row: Row | None) -> bool:
    """Whether an agent's records arrived, where any are due."""
    return row is not None and (not row.records or (row.arrived or 0) >= ENOUGH)


def text(found: Sequence[Row], compared: Sequence[Comparison]) -> str:
    by_figure = {comparison.figure: comparison for comparison in compared}
    lines = [f"{'':52} {'':14} {'median':>9} {'added':>9}   {'quartiles':>19}   {'times':>5}   arrived"]
    for number, row in enumerate(found):
        first = number == 0 or found[number - 1].figure != row.figure
        last = number + 1 == len(found) or found[number + 1].figure != row.figure
        name = f"{row.figure}{', ' if row.unit else ''}{row.unit}" if first else ""
        line = f"{name:52} {row.environment:14} {row.median:9.1f}"
        if row.environment != BARE.name:
            times = "" if row.times is None else f"{row.times:.2f}"
            line += f" {row.added:+9.1f}   {f'{row.low:+.1f} .. {row.high:+.1f}':>19}   {times:>5}   {arrived(row)}"
        lines.append(line.rstrip())
        if last and row.figure in by_figure and by_figure[row.figure].ratio is not None:
            lines.append(f"{'':52} {ratio(by_figure[row.figure])}")
    lines += ["", *(f"{verdict(one)}: {one.figure}: {said(one)}" for one in compared if one.bound is not None)]
    return "\n".join(lines)


def arrived(row: Row) -> str:
    if row.arrived is None:
        return ""
    return f"no {row.records}" if row.arrived == 0 else f"{row.arrived:.0%} of {row.records}"


def ratio(comparison: Comparison) -> str:
    return f"{OURS.name} adds {comparison.ratio:.2f} of what {comparison.other} adds, the best other that did the same"


def verdict(comparison: Comparison) -> str:
    return {True: "met", False: "NOT met", None: "not measured"}[comparison.met]


def said(comparison: Comparison) -> str:
    if comparison.absolute:
        return f"{comparison.ours:+.1f}, bound {comparison.bound:g}"
    if comparison.ratio is None:
        needs = " and ".join(BOUNDS[comparison.figure].needs)
        without = f" (that takes the figures {needs})" if needs else ""
        return f"no other that can be compared{without}, bound {comparison.bound:.2f}"
    return f"{comparison.ratio:.2f} of {comparison.other}, bound {comparison.bound:.2f}"


def markdown(found: Sequence[Row], compared: Sequence[Comparison], environments: Sequence[str]) -> str:
    """Two tables: what each agent adds, and what this one's share of the best other is."""
    figures: dict[str, dict[str, Row]] = {}
    for row in found:
        figures.setdefault(row.figure, {})[row.environment] = row
    lines = [f"| figure | {' | '.join(environments)} |", f"|---|{'---|' * len(environments)}"]
    for figure, by_environment in figures.items():
        unit = by_environment[BARE.name].unit
        lines.append(f"| {figure}{', ' if unit else ''}{unit} | {' | '.join(map(cell, by_environment.values()))} |")
    lines += ["", "| figure | this agent | the best other | ratio | bound |", "|---|---|---|---|---|"]
    for one in compared:
        if one.bound is None and one.ratio is None:
            continue
        other = "" if one.best is None else f"{one.best:+,.1f} ({one.other})"
        shown = "" if one.ratio is None else f"{one.ratio:.2f}"
        bound = "" if one.bound is None else f"{one.bound:g}: {verdict(one)}"
        lines.append(f"| {one.figure} | {one.ours:+,.1f} | {other} | {shown} | {bound} |")
    return "\n".join(lines) + "\n"


def cell(row: Row) -> str:
    if row.environment == BARE.name:
        return f"{row.median:,.1f}"
    note = "" if row.arrived is None or row.arrived >= ENOUGH else f" ({arrived(row)})"
    return f"{row.added:+,.1f} ({row.low:,.1f} .. {row.high:,.1f}){note}"
