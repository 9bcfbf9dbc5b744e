"""Pages: Prometheus text 0.0.4 and OpenMetrics 1.0, made piece by piece (TX-1 to OM-4).

`pieces` may be left alone between two pieces for as long as one likes, while points arrive and
series end. Each series is on a page at most once, with one of its values as a whole; each name has
one TYPE, in front of its samples. The page is right when it is complete, so nobody is given a part.

Names whose samples another name has taken (a gauge `a_count` beside a histogram `a`; for
OpenMetrics, where names go without their endings, also a gauge `a` beside a counter `a_total`) are
left out and reported: two of them would make the whole page wrong. The older one stays.

Start times are not shown. OpenMetrics would have them as samples, ``a_created``, which Prometheus
stores as series of their own, one for each counter; the Collector does not write them either.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from mlsysops_exporters.prometheus.wording import (
    bound_words,
    escaped,
    float_word,
    label_text,
    quoted,
    readable,
    rewritten,
    special,
)
from mlsysops_pipeline.prometheus.escaping import Escaping, escape, is_legacy_name
from mlsysops_pipeline.prometheus.negotiation import Page
from mlsysops_pipeline.prometheus.points import Type
from mlsysops_pipeline.prometheus.translate import TARGET_INFO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from mlsysops_exporters.prometheus.store import Group, Series, Store
    from mlsysops_pipeline.prometheus.negotiation import Format
    from mlsysops_pipeline.prometheus.points import Exemplar

PIECE_LINES: Final = 250
"""A piece is handed over when it has this many lines: a millisecond's work or two."""
_SLICE: Final = 125
_LOOKED_AT_MAX: Final = 2_000
"""Or when this many series and names were looked at that have nothing to show."""

_WHOLE_MAX: Final = 10**15
_UNIT: Final = re.compile("[a-zA-Z0-9_:]+")
"""What can be a unit in OpenMetrics; where names are not escaped, units are not either."""

_TEXT_TYPES: Final = {
    Type.UNKNOWN: "untyped",
    Type.INFO: "gauge",
    Type.STATESET: "gauge",
}
_TEXT_NAMES: Final = {
    Type.HISTOGRAM: ("", "_bucket", "_count", "_sum"),
    Type.SUMMARY: ("", "_count", "_sum"),
}
_OPEN_NAMES: Final = {
    Type.COUNTER: ("", "_total", "_created"),
    Type.HISTOGRAM: ("", "_bucket", "_count", "_sum", "_created"),
    Type.SUMMARY: ("", "_count", "_sum", "_created"),
    Type.INFO: ("", "_info"),
}
_ENDINGS: Final = {Type.COUNTER: "_total", Type.INFO: "_info"}
"""What the samples of an OpenMetrics family have at the end of their names."""


def pieces(
    store: Store,
    page: Format,
    *,
    alive_s: float,
    has_timestamps: bool,
    is_legacy: bool,
    report: Callable[[str], None],
) -> Iterator[str]:
    """A page of what is in the store, piece by piece; a piece may be empty.

    Series that were not updated after ``alive_s`` are not shown. ``is_legacy``: all names in the
    store are of the old alphabet. ``report`` is told the names that had to be left out.
    """
    writer = _Writer(
        page, alive_s, has_timestamps=has_timestamps, is_legacy=is_legacy, report=report
    )
    return writer.pieces(store)


class _Writer:
    """One page in the making."""

    def __init__(
        self,
        page: Format,
        alive_s: float,
        *,
        has_timestamps: bool,
        is_legacy: bool,
        report: Callable[[str], None],
    ) -> None:
        self._is_open = page.page is Page.OPEN_METRICS
        self._scheme = page.escaping
        self._alive_s = alive_s
        self._has_timestamps = has_timestamps
        self._report = report
        self._rewrites = page.escaping is Escaping.DOTS or (
            not is_legacy and page.escaping is not Escaping.ALLOW_UTF_8
        )
        self._taken: set[str] = set()
        self._lines: list[str] = []
        self._looked_at = 0

    def pieces(self, store: Store) -> Iterator[str]:
        """See `pieces`."""
        groups = list(store.groups.values())
        # What describes a target stands in front of what was measured there.
        target = store.groups.get(TARGET_INFO.name)
        if target is not None:
            yield from self._family([target])
        for alike in self._by_name(groups):
            if alike and alike[0] is not target:
                yield from self._family(alike)
            self._looked_at += 1
            if self._is_full:
                yield self._piece()
        if self._is_open:
            self._lines.append("# EOF\n")
        yield self._piece()

    @property
    def _is_full(self) -> bool:
        return len(self._lines) >= PIECE_LINES or self._looked_at >= _LOOKED_AT_MAX

    def _piece(self) -> str:
        text = "".join(self._lines)
        self._lines.clear()
        self._looked_at = 0
        return text

    def _by_name(self, groups: list[Group]) -> Iterator[list[Group]]:
        """Groups that have one name and type on this page; empty lists while they are looked for.

        Names that the reader cannot take may become one (HELP and UNIT conflicts keep the points,
        PO-15).
        """
        if not self._rewrites:
            yield from ([group] for group in groups)
            return
        found: dict[tuple[str, Type], list[Group]] = {}
        for group in groups:
            key = (escape(group.name, self._scheme), group.type)
            found.setdefault(key, []).append(group)
            yield []
        yield from found.values()

    def _family(self, groups: list[Group]) -> Iterator[str]:
        """The lines of one name."""
        if not any(group.live for group in groups):
            return
        group = groups[0]
        members = list(group.members.values())
        for other in groups[1:]:
            members += other.members.values()
        type_ = self._type(group, members)
        name = escape(group.name, self._scheme) if self._rewrites else group.name
        ending = _ENDINGS.get(type_, "") if self._is_open else ""
        name = name.removesuffix(ending)
        if not self._claim(name, type_):
            self._report(group.name)
            return
        header = self._header(name, type_, group)
        write = _WRITERS.get(type_, _Writer._numbers)
        seen: set[str] | None = set() if self._rewrites else None
        for start in range(0, len(members), _SLICE):
            members_here = members[start : start + _SLICE]
            shown = self._shown(members_here, group.type, seen)
            if shown:
                self._lines.append(header)
                header = ""
                if type_ is Type.COUNTER and self._is_open:
                    self._counters(name + ending, shown)
                else:
                    write(self, name + ending, shown)
            self._looked_at += len(members_here)
            if self._is_full:
                yield self._piece()

    def _shown(
        self, members: list[Series], type_: Type, seen: set[str] | None
    ) -> list[tuple[Series, str]]:
        """The series that are on the page, with their labels.

        Since the page was begun a series may have ended, and another type may have come.
        """
        alive_s = self._alive_s
        shown = [
            (series, series.text)
            for series in members
            if series.value is not None
            and series.updated_s > alive_s
            and series.group is not None
            and series.group.type is type_
        ]
        if seen is None:
            return shown
        found = []
        for series, text in shown:
            labels = rewritten(text, self._scheme)
            if labels not in seen:
                seen.add(labels)
                found.append((series, labels))
        return found

    def _type(self, group: Group, members: list[Series]) -> Type:
        """The type as which a family is written: its own, if it keeps to the rules for it."""
        if self._is_open and group.type is Type.INFO:
            is_right = all(series.value in {None, 1} for series in members)
        elif self._is_open and group.type is Type.STATESET:
            state = f'{group.name}="'
            is_right = all(
                series.value is None or (series.value in {0, 1} and state in series.text)
                for series in members
            )
        else:
            is_right = True
        return group.type if is_right else Type.GAUGE

    def _claim(self, name: str, type_: Type) -> bool:
        """Whether the samples of a family have names that no other family has."""
        endings = (_OPEN_NAMES if self._is_open else _TEXT_NAMES).get(type_, ("",))
        names = [name + ending for ending in endings]
        if not self._taken.isdisjoint(names):
            return False
        self._taken.update(names)
        return True

    def _header(self, name: str, type_: Type, group: Group) -> str:
        """What stands in front of the samples of a family."""
        shown = name if is_legacy_name(name) else quoted(name)
        help_ = readable(group.help)
        if "\r" in help_:
            help_ = help_.replace("\r\n", "\n").replace("\r", "\n")
        if not self._is_open:
            help_ = help_.replace("\\", "\\\\").replace("\n", "\\n")
            help_line = f"# HELP {shown} {help_}\n" if help_ else ""
            return f"{help_line}# TYPE {shown} {_TEXT_TYPES.get(type_, type_.value)}\n"
        unit = group.unit
        has_unit = (
            type_ not in {Type.INFO, Type.STATESET}
            and name.endswith(f"_{unit}")
            and _UNIT.fullmatch(unit) is not None
        )
        unit_line = f"# UNIT {shown} {unit}\n" if has_unit else ""
        help_line = f"# HELP {shown} {escaped(help_)}\n" if help_ else ""
        return f"# TYPE {shown} {type_.value}\n{unit_line}{help_line}"

    # Samples.

    def _numbers(self, name: str, shown: list[tuple[Series, str]]) -> None:
        head, bare = _heads(name)
        lines, stamp = self._lines, self._stamp
        for series, text in shown:
            start = f"{head}{text}}}" if text else bare
            word = _word(series.value)
            lines.append(f"{start} {word}{stamp(series) if self._has_timestamps else ''}\n")

    def _counters(self, name: str, shown: list[tuple[Series, str]]) -> None:
        """Counters of OpenMetrics are not negative, and numbers; they may have an example."""
        head, bare = _heads(name)
        for series, text in shown:
            value: Any = series.value
            if not value >= 0:
                continue
            start = f"{head}{text}}}" if text else bare
            stamp = self._stamp(series) if self._has_timestamps else ""
            example = ""
            if series.exemplars:
                newest = max(series.exemplars, key=lambda exemplar: exemplar.timestamp_ns)
                example = self._example(newest)
            self._lines.append(f"{start} {_word(value)}{stamp}{example}\n")

    def _histograms(self, name: str, shown: list[tuple[Series, str]]) -> None:
        bucket_head, _ = _heads(f"{name}_bucket")
        sums, counts = _heads(f"{name}_sum"), _heads(f"{name}_count")
        lines, is_open = self._lines, self._is_open
        for series, text in shown:
            value: Any = series.value
            words = bound_words(value.bounds, is_canonical=is_open)
            start = f'{bucket_head}{text}{"," if text else ""}le="'
            stamp = self._stamp(series) if self._has_timestamps else ""
            if is_open and series.exemplars:
                examples = self._examples(value.bounds, series.exemplars)
                for index, (word, count) in enumerate(zip(words, value.buckets, strict=True)):
                    lines.append(f'{start}{word}"}} {count}{stamp}{examples.get(index, "")}\n')
            else:
                lines += [
                    f'{start}{word}"}} {count}{stamp}\n'
                    for word, count in zip(words, value.buckets, strict=True)
                ]
            has_sum = value.sum is not None
            if is_open and has_sum:
                has_sum = value.sum >= 0 and not (value.bounds and value.bounds[0] < 0)
            if has_sum:
                lines.append(f"{_start(sums, text)} {_word(value.sum)}{stamp}\n")
            if has_sum or not is_open:
                lines.append(f"{_start(counts, text)} {value.buckets[-1]}{stamp}\n")

    def _summaries(self, name: str, shown: list[tuple[Series, str]]) -> None:
        head, _ = _heads(name)
        sums, counts = _heads(f"{name}_sum"), _heads(f"{name}_count")
        for series, text in shown:
            value: Any = series.value
            start = f'{head}{text}{"," if text else ""}quantile="'
            stamp = self._stamp(series) if self._has_timestamps else ""
            for quantile, number in value.quantiles:
                if number < 0 and self._is_open:
                    continue  # OpenMetrics has no such summaries
                word = float_word(quantile, is_canonical=self._is_open)
                self._lines.append(f'{start}{word}"}} {_word(number)}{stamp}\n')
            if value.sum >= 0 or not self._is_open:
                self._lines.append(f"{_start(sums, text)} {_word(value.sum)}{stamp}\n")
            self._lines.append(f"{_start(counts, text)} {value.count}{stamp}\n")

    def _stamp(self, series: Series) -> str:
        """The time of a sample: milliseconds in text, seconds in OpenMetrics (OM-3)."""
        if not self._is_open:
            return f" {series.timestamp_ns // 1_000_000}"
        return f" {_seconds(series.timestamp_ns)}"

    def _examples(self, bounds: Sequence[float], exemplars: Sequence[Exemplar]) -> dict[int, str]:
        """By bucket, the newest of those that lie in it (PO-7)."""
        newest: dict[int, Exemplar] = {}
        for exemplar in exemplars:
            if math.isnan(exemplar.value):
                continue
            index = bisect_left(bounds, exemplar.value)
            if index not in newest or exemplar.timestamp_ns >= newest[index].timestamp_ns:
                newest[index] = exemplar
        return {index: self._example(exemplar) for index, exemplar in newest.items()}

    def _example(self, exemplar: Exemplar) -> str:
        labels = rewritten(label_text(exemplar.labels), self._scheme)
        time = f" {_seconds(exemplar.timestamp_ns)}" if exemplar.timestamp_ns else ""
        return f" # {{{labels}}} {_word(exemplar.value)}{time}"


_WRITERS: Final = {
    Type.HISTOGRAM: _Writer._histograms,  # noqa: SLF001  its own table
    Type.SUMMARY: _Writer._summaries,  # noqa: SLF001  the same
}


def _heads(name: str) -> tuple[str, str]:
    """What stands in front of the labels of a sample, and instead of them if there are none."""
    if is_legacy_name(name):
        return f"{name}{{", name
    return f"{{{quoted(name)},", f"{{{quoted(name)}}}"


def _start(heads: tuple[str, str], text: str) -> str:
    return f"{heads[0]}{text}}}" if text else heads[1]


def _word(value: Any) -> str:
    """A sample's value; without a fraction where it has none, as Go writes it."""
    if value - value != 0:
        return special(value)
    if -_WHOLE_MAX < value < _WHOLE_MAX and value == (whole := int(value)):
        return str(whole)
    return repr(value)


def _seconds(time_ns: int) -> str:
    return f"{time_ns // 1_000_000_000}.{time_ns // 1_000_000 % 1_000:03d}"
