"""Metrics made of the lines of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.prometheus.exposition import Tail
from mlsysops_receivers.prometheus.scrape.encoding import (
    attribute_pair,
    fixed64_field,
    from_seconds,
    pack_value,
)
from mlsysops_receivers.prometheus.scrape.families import Part
from mlsysops_receivers.prometheus.scrape.groups import Collected, Group, Unsound
from mlsysops_receivers.prometheus.scrape.metrics import VALUE_TAG, Metric, number_end
from mlsysops_receivers.prometheus.scrape.series import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_receivers.prometheus.scrape.families import Families, Family
    from mlsysops_receivers.prometheus.scrape.metrics import MetricKey
    from mlsysops_receivers.prometheus.scrape.series import Place, Series

__all__ = ["CALM_PAGES", "Line", "MetricMaker", "Value", "collect"]

CALM_PAGES: Final = 60
"""After so many pages without a time or exemplar, a metric is taken for one that has none."""

Value = float | Tail
"""What a line says; more than a number only where it does say more."""
_OF_POINTS: Final = frozenset({Part.VALUE, Part.BUCKET, Part.QUANTILE, Part.SUM, Part.COUNT})
Line = tuple[int, "Series", Part, Value]
"""Where a line is, and what it is and says."""


def _number(value: Value) -> float:
    """The number of a line."""
    return value.value if isinstance(value, Tail) else value


def collect(lines: list[Line], *, is_histogram: bool) -> tuple[list[Collected], list[Series]]:
    """The groups of some lines, and the series that no group has room for."""
    groups: dict[tuple[bytes, ...], Collected] = {}
    left: list[Series] = []
    for _, series, part, value in lines:
        group = groups.get(series.attributes)
        if group is None:
            group = Collected(series.attributes, is_histogram=is_histogram)
            groups[series.attributes] = group
        if not group.take(series, part, value):
            left.append(series)
    return list(groups.values()), left


class MetricMaker:
    """Makes the metrics of a page. Takes over those of the ``former`` page where it can.

    Fills ``tails`` and ``infos`` as in `layout.Layout`. ``unmapped``: samples without a place.
    """

    def __init__(
        self,
        former: Mapping[MetricKey, Metric],
        tails: dict[int, Value],
        infos: dict[tuple[str, str], dict[str, str]],
        drafts: Mapping[MetricKey, list[Line]],
        families: Families,
    ) -> None:
        self._former = former
        self._tails = tails
        self._infos = infos
        self._families = families
        self._starts: dict[tuple[Place, str, tuple[bytes, ...]], bytes] = {}
        """The start fields of counters, by place, name of the family and attributes."""
        self.unmapped = 0
        for (place, base, _, type_), draft in drafts.items():
            if type_ == "counter":
                for _, series, part, value in draft:
                    if part is Part.CREATED:
                        self._starts[place, base, series.attributes] = _start_field(value)

    def make(self, key: MetricKey, draft: list[Line]) -> Metric | None:
        """The metric of some lines; ``None`` if none of them is left for one."""
        lines = self._without_others(draft)
        if not lines:
            return None
        family = self._families.of(lines[0][1].name)
        former = self._former.get(key)
        if former is not None:
            lines = _in_order(lines, former.members)
        starts = self._starts_of(key, lines)
        is_dynamic = (former is not None and former.is_dynamic and former.calm < CALM_PAGES) or any(
            line[3].__class__ is Tail for line in lines
        )
        if former is not None and not is_dynamic and _renewed(former, family, starts, lines):
            self.unmapped += former.unmapped
            return former
        metric = Metric(key[0], family)
        metric.members = [line[1] for line in lines]
        metric.starts = starts
        if is_dynamic:
            return self._open(metric, lines)
        if metric.frame.is_group:
            return self._grouped(metric, lines)
        return _numbers(metric, lines)

    def _starts_of(self, key: MetricKey, lines: list[Line]) -> dict[Series, bytes]:
        """The start fields of counters, and those that groups have among their lines."""
        place, base, _, type_ = key
        if type_ != "counter":
            return {line[1]: _start_field(line[3]) for line in lines if line[2] is Part.CREATED}
        if not self._starts:
            return {}
        found = {
            line[1]: self._starts.get((place, base, line[1].attributes), b"") for line in lines
        }
        return {series: start for series, start in found.items() if start}

    def _without_others(self, draft: list[Line]) -> list[Line]:
        """The lines that are of points; notes what the others are for."""
        if all(line[2] in _OF_POINTS for line in draft):
            return draft
        lines = []
        for line in draft:
            _, series, part, _ = line
            if part in _OF_POINTS or (part is Part.CREATED and not self._is_of_counter(series)):
                lines.append(line)
            elif part is Part.NOTHING:
                self.unmapped += 1
                series.kind = Kind.IGNORED
            elif part is Part.TARGET_INFO:
                self._inform(series)
                series.kind = Kind.IGNORED
            elif part is Part.CONSUMED:
                series.kind = Kind.IGNORED
            else:
                series.kind = Kind.FIXED
        return lines

    def _is_of_counter(self, series: Series) -> bool:
        return self._families.of(series.name).type == "counter"

    def _inform(self, series: Series) -> None:
        """Note the attributes of a resource; of several for a key, the first counts."""
        place = series.place
        if place is None:
            return
        found = self._infos.setdefault((place.job, place.instance), {})
        for pair in series.attributes:
            found.setdefault(*attribute_pair(pair))
        for key, value in (("le", series.le), ("quantile", series.quantile)):
            if value is not None:
                found.setdefault(key, value)

    def _open(self, metric: Metric, lines: list[Line]) -> Metric:
        """A metric that is written anew each time."""
        metric.is_dynamic = True
        metric.indices = [line[0] for line in lines]
        metric.parts = [line[2] for line in lines]
        for index, series, _, value in lines:
            series.kind = Kind.DYNAMIC
            self._tails[index] = value
        return metric

    def _grouped(self, metric: Metric, lines: list[Line]) -> Metric | None:
        """A metric of histograms or summaries; ``None`` if none of them is whole."""
        collected, left = collect(lines, is_histogram=metric.frame.is_histogram)
        for series in left:
            series.kind = Kind.IGNORED
        unmapped = len(left)
        points, groups = [], []
        for each in collected:
            rest = each.rest(0)
            if rest is None:
                unmapped += len(each.members)
                for part, series in each.members.items():
                    # Once the count is one, there is a point.
                    series.kind = Kind.FIXED if part is Part.COUNT else Kind.IGNORED
                continue
            try:
                group = Group(each)
            except Unsound:
                return self._open(metric, lines)
            numbers = group.pack(group.values)
            if not rest.startswith(numbers):
                return self._open(metric, lines)
            group.place_members(each)
            points.append((each.start, numbers, rest[len(numbers) :]))
            groups.append(group)
        metric.unmapped = unmapped
        self.unmapped += unmapped
        if not points:
            return None
        metric.groups = groups
        metric.set_points(points)
        return metric


def _numbers(metric: Metric, lines: list[Line]) -> Metric:
    """A metric of gauges or sums."""
    starts = metric.starts
    metric.set_points(
        [
            (
                starts.get(series, b""),
                pack_value(VALUE_TAG, _number(value)),
                number_end(series),
            )
            for _, series, _, value in lines
        ]
    )
    for series in metric.members:
        series.kind = Kind.NUMBER
    return metric


def _in_order(lines: list[Line], members: list[Series]) -> list[Line]:
    """The lines in the order that they had, if they are the same: some targets shuffle them."""
    if len(lines) != len(members) or [line[1] for line in lines] == members:
        return lines
    by_series = {line[1]: line for line in lines}
    if len(by_series) < len(lines) or by_series.keys() != set(members):
        return lines
    return [by_series[series] for series in members]


def _renewed(
    former: Metric, family: Family, starts: dict[Series, bytes], lines: list[Line]
) -> bool:
    """Whether nothing but values changed; gives the former metric new numbers."""
    if (
        former.members != [line[1] for line in lines]
        or former.family[2:] != family[2:]
        or former.starts != starts
        or former.unmapped  # there may be room for them now
        or former.is_dynamic
    ):
        return False
    if not former.frame.is_group:
        former.numbers = [pack_value(VALUE_TAG, _number(line[3])) for line in lines]
        return True
    for _, series, _, value in lines:
        if series.kind is Kind.MEMBER:
            series.target.values[series.at] = value
    try:
        former.numbers = [group.pack(group.values) for group in former.groups]
    except Unsound:
        return False
    for group in former.groups:
        group.is_dirty = False
    return True


def _start_field(value: Value) -> bytes:
    return fixed64_field(2, from_seconds(_number(value)))
