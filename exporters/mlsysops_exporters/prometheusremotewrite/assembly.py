"""One payload as remote write requests: what is valid, in order, in requests of limited size.

Nothing here waits or sends. What was delivered before is asked of `Latest`, which nothing here
changes: it learns of samples when they have arrived.

Nearly every series has one sample in a payload. That is kept as ``samples[head]``, and a request is
the concatenation of the dict's keys and values. Everything else (several samples of a series,
exemplars, native histograms) is in ``several``, by series and time.
"""

from __future__ import annotations

import enum
import operator
import struct
from collections import Counter
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final

from mlsysops_exporters.prometheusremotewrite.encoding import (
    SAMPLE_START,
    STALE,
    TIME_MS_MAX,
    TIME_MS_MIN,
    USUAL_SAMPLE_BYTES,
    exemplar,
    native_histogram,
    pack_double,
    sample,
    time_bytes,
)
from mlsysops_exporters.prometheusremotewrite.packing import Packing, Request, Unusual, pack
from mlsysops_exporters.prometheusremotewrite.series import Parts
from mlsysops_pipeline.prometheus.points import (
    Columns,
    Exponentials,
    Histograms,
    Numbers,
    Summaries,
)
from mlsysops_pipeline.prometheus.translate import TARGET_INFO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mlsysops_exporters.prometheusremotewrite.order import Latest
    from mlsysops_exporters.prometheusremotewrite.series import Series
    from mlsysops_pipeline.prometheus.points import (
        Batch,
        Exemplar,
        ExponentialPoint,
        Family,
        HistogramPoint,
        NumberPoint,
        SummaryPoint,
    )

AHEAD_MS_MAX: Final = 600_000
"""Samples further in the future than this are not sent: receivers refuse them, and one that did not
would refuse all later samples of the series until then."""

_NS_PER_MS: Final = 1_000_000


class Unsent(enum.StrEnum):
    """Why a sound point is not sent."""

    NO_TIME = "no_time"
    """It does not say when it was."""
    FUTURE = "future"
    """It is more than ten minutes ahead of this machine's clock."""
    DUPLICATE = "duplicate"
    """The series has a sample of that time."""
    OUT_OF_ORDER = "out_of_order"
    """A newer sample of the series was delivered."""


class Assembly:
    """Collects the points of one payload, or of a part of it.

    ``unsent`` counts OTLP data points that will not be sent, and ``examples`` has the head of one
    series for each cause.
    """

    def __init__(self, latest: Latest, now_ms: int) -> None:
        self._latest = latest
        self._ahead_ms = min(now_ms + AHEAD_MS_MAX, TIME_MS_MAX)
        self._samples: dict[bytes, bytes] = {}
        self._time_ms: dict[bytes, int] = {}
        """By the end of a sample. Hardly ever more than one."""
        self._ends: dict[int, bytes] = {}
        """The other way round."""
        self._several: dict[bytes, dict[int, bytes]] = {}
        self._exemplars: dict[bytes, list[tuple[int, bytes]]] = {}
        self._beside: set[bytes] = set()
        """Series that are no items of their own: all parts but one, target infos."""
        self._unusual_items = 0
        self._usual_parts = 0
        self.unsent: Counter[Unsent] = Counter()
        self.examples: dict[Unsent, bytes] = {}

    def take_some(
        self,
        batches: Iterator[Columns[Series] | Batch[Series]],
        points_max: int,
        see: Callable[[Family], None] | None,
    ) -> bool:
        """Take points until there are ``points_max`` or no more; whether there may be more.

        ``see`` is told of the metrics.
        """
        left = points_max
        for batch in batches:
            if isinstance(batch, Columns):
                left -= len(batch)
                if see is not None:
                    for family in dict.fromkeys(batch.families):
                        see(family)
                if not self._take_usual(batch):
                    self._take_numbers(_points(batch))
            else:
                left -= len(batch.points)
                if see is not None:
                    see(batch.family)
                self._take_others(batch)
            if left <= 0:
                return True
        return False

    def _take_usual(self, columns: Columns[Series]) -> bool:
        """Take points that are the first and newest of their series: nearly all that there are.

        ``False``, and none is taken, if that is not so of all. This is the loop that they go
        through; it has a call for each step instead of a step for each point.
        """
        heads: Any = columns.series  # series are heads, for numbers
        times_ns = columns.times_ns
        known: Any = list(map(self._latest.get, heads))
        if None in known:
            older = self._latest.older
            known = [
                older(head) if before_ms is None else before_ms
                for head, before_ms in zip(heads, known, strict=True)
            ]
        ends: dict[int, bytes] = {}
        for time_ns in set(times_ns):
            ends[time_ns] = end = self._time(time_ns // _NS_PER_MS)
            if not end:
                return False
        if len(ends) == 1:
            ((time_ns, end),) = ends.items()
            if max(known) >= time_ns // _NS_PER_MS:
                return False
            contents = [value + end for value in columns.values]
        else:
            if not all(map(operator.lt, known, [one // _NS_PER_MS for one in times_ns])):
                return False
            contents = list(map(operator.add, columns.values, map(ends.__getitem__, times_ns)))
        samples = dict(zip(heads, contents, strict=True))
        if len(samples) != len(heads) or not self._samples.keys().isdisjoint(heads):
            return False
        self._samples.update(samples)
        return True

    def _take_numbers(self, points: Any) -> None:
        """Take any points that are numbers."""
        samples, known, older = self._samples, self._latest.get, self._latest.older
        for head, time_ns, _, value, exemplars in points:
            time_ms = time_ns // _NS_PER_MS
            before_ms = known(head)
            if before_ms is None:
                before_ms = older(head)
            is_first = value is not None and not exemplars and head not in samples
            end = self._time(time_ms) if is_first and time_ms > before_ms else b""
            if end:
                samples[head] = pack_double(value) + end
            elif self._is_sendable(head, time_ms, before_ms):
                content = STALE if value is None else pack_double(value)
                self._unusual_items += 1
                self._add(head, time_ms, sample(content, time_ms))
                self._add_exemplars(head, exemplars)

    def _take_others(self, batch: Batch[Series]) -> None:
        """The points of one metric."""
        match batch:
            case Numbers(family, points):
                take = self._take_numbers
                if family is TARGET_INFO:
                    take = self._take_target_infos
                take(points)
            case Histograms(_, points):
                for histogram in points:
                    self._take_histogram(histogram)
            case Exponentials(_, points):
                for exponential in points:
                    self._take_exponential(exponential)
            case Summaries(_, points):
                for summary in points:
                    self._take_summary(summary)

    def _time(self, time_ms: int) -> bytes:
        """The end of a sample; empty if the usual form is not for such a time."""
        end = self._ends.get(time_ms)
        if end is None:
            if not TIME_MS_MIN <= time_ms <= self._ahead_ms:
                return b""
            end = self._ends[time_ms] = time_bytes(time_ms)
            self._time_ms[end] = time_ms
        return end

    def _is_sendable(self, head: bytes, time_ms: int, before_ms: int) -> bool:
        """Whether a sample can be valid; counted if not."""
        if not time_ms:
            why = Unsent.NO_TIME
        elif time_ms > self._ahead_ms:
            why = Unsent.FUTURE
        elif time_ms < before_ms:
            why = Unsent.OUT_OF_ORDER
        elif time_ms == before_ms or self._has(head, time_ms):
            why = Unsent.DUPLICATE
        else:
            return True
        self.unsent[why] += 1
        self.examples.setdefault(why, head)
        return False

    def _before_ms(self, head: bytes) -> int:
        before_ms = self._latest.get(head)
        return self._latest.older(head) if before_ms is None else before_ms

    def _has(self, head: bytes, time_ms: int) -> bool:
        if head in self._several:
            return time_ms in self._several[head]
        found = self._samples.get(head)
        return found is not None and found[8:] == time_bytes(time_ms)

    def _add(self, head: bytes, time_ms: int, content: bytes) -> None:
        """A sample or histogram of a series that may have others."""
        times = self._several.get(head)
        if times is None:
            times = self._several[head] = {}
            first = self._samples.get(head)
            if first:
                times[self._time_ms[first[8:]]] = SAMPLE_START + first
            else:
                self._samples[head] = b""  # so that the next one is not taken for the first
                self._usual_parts += 1
        times.setdefault(time_ms, content)

    def _add_exemplars(self, head: bytes, exemplars: Iterable[Exemplar]) -> None:
        for one in exemplars:
            time_ms = one.timestamp_ns // _NS_PER_MS
            if time_ms and time_ms <= self._ahead_ms and head in self._samples:
                encoded = exemplar(one.labels, one.value, time_ms)
                self._exemplars.setdefault(head, []).append((time_ms, encoded))

    def _part(self, head: bytes, time_ms: int, value: float | None) -> None:
        """A series beside the one that counts as the item; ``None`` ends it."""
        self._beside.add(head)
        if time_ms <= self._before_ms(head) or self._has(head, time_ms):
            return
        content = STALE if value is None else pack_double(value)
        time = self._time(time_ms)
        if time and head not in self._samples:
            self._samples[head] = content + time
            self._usual_parts += 1
        else:
            self._add(head, time_ms, sample(content, time_ms))

    def _take_target_infos(self, points: Iterable[NumberPoint[Series]]) -> None:
        for head, time_ns, _, value, _ in points:
            time_ms = time_ns // _NS_PER_MS
            if isinstance(head, bytes) and time_ms and time_ms <= self._ahead_ms:
                self._part(head, time_ms, value)

    def _take_count(self, parts: Series, time_ms: int, count: float | None) -> Parts | None:
        """The series that says whether a histogram or summary is sent, and counts as its item."""
        if not isinstance(parts, Parts):
            return None  # not for these families: see `SeriesMaker`
        head = parts.count
        if not self._is_sendable(head, time_ms, self._before_ms(head)):
            return None
        self._unusual_items += 1
        self._part(head, time_ms, count)
        self._beside.discard(head)
        return parts

    def _is_known(self, parts: Series) -> bool:
        """Whether a histogram or summary was sent before, as far as we know."""
        return isinstance(parts, Parts) and self._was_sent(parts.count)

    def _was_sent(self, head: bytes) -> bool:
        return head in self._samples or self._before_ms(head) >= 0

    def _end(self, heads: Iterable[bytes], time_ms: int, *, is_known: bool) -> None:
        """End the parts that were sent; all there can be, if we do not know which these are."""
        for head in heads:
            if not is_known or self._was_sent(head):
                self._part(head, time_ms, None)

    def _take_histogram(self, point: HistogramPoint[Series]) -> None:
        time_ms, is_stale = point.timestamp_ns // _NS_PER_MS, point.is_stale
        is_known = self._is_known(point.series)
        parts = self._take_count(point.series, time_ms, None if is_stale else point.count)
        if parts is None:
            return
        heads = parts.varying((*point.bounds, float("inf")))
        if is_stale:
            self._end({*heads, *parts.known(), parts.sum}, time_ms, is_known=is_known)
            return
        if point.sum is not None:
            self._part(parts.sum, time_ms, point.sum)
        for head, count in zip(heads, point.buckets, strict=True):
            self._part(head, time_ms, count)
        for one in point.exemplars:
            at = next((i for i, b in enumerate(point.bounds) if one.value <= b), len(point.bounds))
            self._add_exemplars(heads[at], (one,))

    def _take_summary(self, point: SummaryPoint[Series]) -> None:
        time_ms, is_stale = point.timestamp_ns // _NS_PER_MS, point.is_stale
        is_known = self._is_known(point.series)
        parts = self._take_count(point.series, time_ms, None if is_stale else point.count)
        if parts is None:
            return
        heads = parts.varying(tuple([quantile for quantile, _ in point.quantiles]))
        if is_stale:
            self._end({*heads, *parts.known(), parts.sum}, time_ms, is_known=is_known)
            return
        self._part(parts.sum, time_ms, point.sum)
        for head, (_, value) in zip(heads, point.quantiles, strict=True):
            self._part(head, time_ms, value)

    def _take_exponential(self, point: ExponentialPoint[Series]) -> None:
        head, time_ms = point.series, point.timestamp_ns // _NS_PER_MS
        if not isinstance(head, bytes):
            return  # not for these families: see `SeriesMaker`
        if not self._is_sendable(head, time_ms, self._before_ms(head)):
            return
        self._unusual_items += 1
        content = native_histogram(
            count=point.count,
            sum_=STALE if point.is_stale else pack_double(point.sum),
            schema=point.scale,
            zero_threshold=point.zero_threshold,
            zero_count=point.zero_count,
            positive=point.positive,
            negative=point.negative,
            time_ms=time_ms,
        )
        self._add(head, time_ms, content)
        self._add_exemplars(head, point.exemplars)

    @property
    def items(self) -> int:
        """OTLP data points that will be sent."""
        return len(self._samples) - self._usual_parts + self._unusual_items

    def __len__(self) -> int:
        """Series so far."""
        return len(self._samples)

    def __repr__(self) -> str:
        return f"<Assembly series={len(self)} items={self.items} unsent={self.unsent.total()}>"

    def lanes(self, bytes_max: int, metadata: bytes = b"") -> list[list[Request]]:
        """The requests, of ``bytes_max`` unless a single sample is larger.

        Those of one lane have to follow one another; lanes have no series in common. ``metadata``
        comes first. The assembly is used up.
        """
        items = self.items
        unusual = [
            self._take_out(head) for head in dict.fromkeys(chain(self._several, self._exemplars))
        ]
        times_ms = self._times()
        size = sum(map(len, self._samples)) + USUAL_SAMPLE_BYTES * len(self._samples)
        size += len(metadata) + sum([len(one.wire) for one in unusual])
        if size <= bytes_max:
            usual = chain.from_iterable(self._samples.items())
            body = b"".join([metadata, *usual, *[one.wire for one in unusual]])
            newest = [(one.head, one.fields[-1][0]) for one in unusual]
            return [[Request(body, items, chain(times_ms, newest))]] if body else []
        lanes = pack(self._samples, list(times_ms), self._beside, bytes_max, metadata)
        packing = Packing(bytes_max, b"" if lanes else metadata)
        for one in unusual:
            packing.add(one)
        return lanes + packing.finish()

    def _times(self) -> Iterable[tuple[bytes, int]]:
        """The usual series, each with the time of its sample."""
        if len(self._time_ms) == 1:
            return zip(self._samples, repeat(*self._time_ms.values()))
        time_ms = self._time_ms
        return [(head, time_ms[content[8:]]) for head, content in self._samples.items()]

    def _take_out(self, head: bytes) -> Unusual:
        """A series that is not of the usual form, out of ``samples``."""
        usual = self._samples.pop(head, b"")
        times = self._several.get(head, {})
        if usual and not times:
            times = {self._time_ms[usual[8:]]: SAMPLE_START + usual}
        exemplars = [one for _, one in sorted(self._exemplars.get(head, ()))]
        return Unusual(head, sorted(times.items()), exemplars, is_item=head not in self._beside)


def _points(columns: Columns[Series]) -> Iterable[tuple[Series, int, int, float, tuple[()]]]:
    """The points of columns, one by one."""
    values = struct.unpack(f"<{len(columns)}d", b"".join(columns.values))
    return zip(columns.series, columns.times_ns, repeat(0), values, repeat(()), strict=False)
