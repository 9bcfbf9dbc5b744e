"""What goes in and what comes out of aggregation, as plain data."""

from __future__ import annotations

import fnmatch
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeAlias

S = 1_000_000_000
CUMULATIVE, DELTA = 2, 1

Labels: TypeAlias = "tuple[tuple[str, str], ...]"


@dataclass(frozen=True)
class Values:
    """A histogram: ``layout`` is its bounds or its scale, ``cells`` what is counted where.

    A cell is the number of a bucket, or a sign and an index; zero is ``(0, 0)``.
    """

    layout: Any
    cells: tuple[tuple[Any, int], ...]
    sum: float | None = None
    least: float | None = None
    greatest: float | None = None

    @property
    def count(self) -> int:
        return sum(count for _, count in self.cells)

    @property
    def is_exponential(self) -> bool:
        return isinstance(self.layout, int)

    def fits(self, other: Values) -> bool:
        """Whether both can be added."""
        return self.is_exponential or self.layout == other.layout

    def at(self, scale: int) -> Counter[Any]:
        """The cells at a lower scale."""
        found: Counter[Any] = Counter()
        for (sign, index), count in self.cells:
            found[sign, index >> (self.layout - scale)] += count
        return found


@dataclass(frozen=True)
class Series:
    """What tells an input from all others (DM-1)."""

    name: str
    kind: str
    unit: str = ""
    temporality: int = 0
    is_monotonic: bool = False
    resource: Labels = ()
    attributes: Labels = ()

    @property
    def metric(self) -> tuple[Any, ...]:
        return self.name, self.kind, self.unit, self.temporality, self.is_monotonic

    @property
    def is_counter(self) -> bool:
        return self.temporality == CUMULATIVE and (self.kind != "sum" or self.is_monotonic)


@dataclass(frozen=True)
class Point:
    """A data point. No value: its series has ended."""

    series: Series
    start: int
    time: int
    value: Any


@dataclass(frozen=True)
class Rule:
    """As it is configured."""

    metrics: tuple[str, ...]
    functions: tuple[str, ...]
    by: tuple[str, ...] | None = None
    without: tuple[str, ...] | None = None
    match: Labels = ()
    rename: str = ""

    def name(self, name: str, function: str) -> str:
        template = self.rename or "{name}"
        if len(self.functions) > 1 and "{function}" not in template:
            template += ".{function}"
        return template.replace("{name}", name).replace("{function}", function)

    def names(self, series: Series) -> bool:
        """Whether it is about metrics of that name."""
        return any(fnmatch.fnmatchcase(series.name, glob) for glob in self.metrics)

    def can(self, series: Series) -> bool:
        """Whether one of the functions means anything for metrics of that kind."""
        return any(is_possible(function, series) for function in self.functions)

    def means(self, series: Series) -> bool:
        """Whether it makes a result of a series."""
        labels = {**dict(series.resource), **dict(series.attributes)}
        matches = all(labels.get(key) == value for key, value in self.match)
        return self.names(series) and matches and self.can(series)

    def group(self, series: Series) -> tuple[Labels, Labels]:
        """What results keep of the resource and of the point."""
        if self.without is not None:
            gone = set(self.without)
            kept = [
                tuple(pair for pair in labels if pair[0] not in gone)
                for labels in (series.resource, series.attributes)
            ]
            return kept[0], kept[1]
        wanted = set(self.by or ())
        of_point = tuple(pair for pair in series.attributes if pair[0] in wanted)
        wanted -= {key for key, _ in of_point}
        return tuple(pair for pair in series.resource if pair[0] in wanted), of_point


def is_possible(function: str, series: Series) -> bool:
    """Whether a function means anything for a kind."""
    if series.kind == "summary":
        return function in {"first", "last"}
    if series.kind != "gauge" and not series.temporality:
        return False
    if function in {"increase", "rate"}:
        return series.temporality == DELTA or series.is_counter
    if series.kind not in {"gauge", "sum"}:
        is_extreme = function in {"min", "max"}
        return function != "stddev" and not (is_extreme and series.is_counter)
    return True


@dataclass(frozen=True)
class Setup:
    """A processor's configuration, in nanoseconds."""

    interval: int
    lateness: int
    rules: tuple[Rule, ...]
    forwards_late: bool = False
    withholds: bool = False
    keeps_original: bool = False
    drops_impossible: bool = False


@dataclass(frozen=True)
class Result:
    """A point that comes out. ``value``: a number, `Values`, or `Within`."""

    metric: tuple[Any, ...]
    resource: Labels
    attributes: Labels
    is_partial: bool
    start: int
    time: int
    value: Any


@dataclass(frozen=True)
class Within:
    """A number that is known up to an error."""

    low: float
    high: float
