"""Lines that are one point together: histograms and summaries (PI-4).

A group is read twice over. `Collected` takes any lines and leaves out what OTLP cannot say; what it
gives is right, and slow. `Group` remembers where the numbers of a sound group stand and packs new
ones; what is not sound any more is `Unsound`, and collected anew. Both give the rest of a point:
what follows its time.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from operator import sub
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.pdata.wire import varint
from mlsysops_pipeline.prometheus.exposition import ExpositionError, Tail, read_number
from mlsysops_receivers.prometheus.scrape.encoding import (
    STALE_FLAG,
    attributes,
    exemplar,
    fixed64_field,
    from_seconds,
    pack_double,
)
from mlsysops_receivers.prometheus.scrape.families import Part
from mlsysops_receivers.prometheus.scrape.series import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlsysops_pipeline.prometheus.exposition import Exemplar
    from mlsysops_receivers.prometheus.scrape.series import Series

__all__ = ["Collected", "Group", "Unsound", "key_of"]

_COUNT_MAX: Final = float(1 << 64)
_COUNT_TAG, _SUM_TAG, _BUCKETS_TAG, _BOUNDS_TAG = 0x21, 0x29, b"\x32", b"\x3a"
_QUANTILE: Final = (0x32, 18, 0x09)
"""What stands before a quantile: tag and length of the pair, and the tag of its first half."""
_VALUE_TAG: Final = 0x11
_STRUCTS_MAX: Final = 200


class Unsound(Exception):  # noqa: N818  it is an answer of this module, not an error of the program
    """The numbers of a group do not fit each other."""


def key_of(series: Series, part: Part) -> float | None:
    """The bound or quantile of a line, ``None`` if it has none that is a number."""
    text = series.le if part is Part.BUCKET else series.quantile
    try:
        found = read_number(text.encode()) if text is not None else math.nan
    except ExpositionError:
        return None
    if math.isnan(found) or (part is Part.QUANTILE and not 0 <= found <= 1):
        return None
    return found


class Collected:
    """The lines of one point. ``count`` and ``total`` (the sum): the values, ``None`` without."""

    __slots__ = (
        "attributes",
        "count",
        "created",
        "exemplars",
        "is_histogram",
        "keys",
        "members",
        "timestamp_ms",
        "total",
    )

    def __init__(self, attributes_: tuple[bytes, ...], *, is_histogram: bool) -> None:
        self.attributes = attributes_
        self.is_histogram = is_histogram
        self.keys: dict[float, float] = {}
        self.count: float | None = None
        self.total: float | None = None
        self.created: float | None = None
        self.timestamp_ms: int | None = None
        self.exemplars: list[Exemplar] = []
        self.members: dict[float | Part, Series] = {}
        """The series of each key, count and sum."""

    def take(self, series: Series, part: Part, value: float | Tail) -> bool:
        """Take a line; whether there was room for it. Of several times the first one counts."""
        key = key_of(series, part) if part in {Part.BUCKET, Part.QUANTILE} else part
        if key is None or key in self.members:
            return False
        self.members[key] = series
        if isinstance(value, Tail):
            value, at_ms, found = value
            if self.timestamp_ms is None:
                self.timestamp_ms = at_ms
            if found is not None:
                self.exemplars.append(found)
        if not isinstance(key, Part):
            self.keys[key] = value
        elif part is Part.COUNT:
            self.count = value
        elif part is Part.SUM:
            self.total = value
        else:
            self.created = value
        return True

    @property
    def start(self) -> bytes:
        """The field of the start time (PI-2)."""
        return fixed64_field(2, 0 if self.created is None else from_seconds(self.created))

    def rest(self, time_ns: int) -> bytes | None:
        """The rest of the point; ``None`` if it lacks a count that is one."""
        count = self.count
        if count is None or not -1 < count < _COUNT_MAX:
            return None
        if not self.is_histogram:
            pairs = [*sorted(self.keys.items())]
            return _summary(int(count), self.total or 0.0, pairs) + self._end()
        bounds: list[float] = []
        counts: list[int] = []
        last = 0
        for bound, value in sorted(self.keys.items()):
            # Not what is no number, less than the one before, or more than a count can be.
            if bound < math.inf and -1 < value < _COUNT_MAX and int(value) >= last:
                bounds.append(bound)
                counts.append(int(value) - last)
                last = int(value)
        whole = max(int(count), last)
        counts.append(whole - last)
        return b"".join(
            (
                _histogram(whole, self.total, counts),
                _bounds(bounds),
                *[exemplar(8, found, time_ns) for found in self.exemplars],
                self._end(),
            )
        )

    def stale(self) -> bytes:
        """The rest of a point that says that there is none: bounds or quantiles, and no numbers."""
        keys = sorted(self.keys)
        if self.is_histogram:
            bounds = [bound for bound in keys if bound < math.inf]
            numbers = _histogram(0, None, [0] * (len(bounds) + 1)) + _bounds(bounds)
        else:
            numbers = _summary(0, 0.0, [(key, 0.0) for key in keys])
        return numbers + self._end() + (b"\x50" if self.is_histogram else b"\x40") + STALE_FLAG

    def _end(self) -> bytes:
        return attributes(0x4A if self.is_histogram else 0x3A, self.attributes)


class Group:
    """The numbers of a sound point. Raises `Unsound`.

    ``values``: of the keys from the lowest, then count and, where there is one, sum. ``pack``:
    their bytes, always as many. They belong at place ``at`` of ``target``, the pieces of a
    template. ``is_dirty``: a value changed since they were written there.
    """

    __slots__ = ("at", "is_dirty", "pack", "target", "values")

    def __init__(self, collected: Collected) -> None:
        keys = sorted(key for key in collected.keys if key < math.inf)
        self.values = [collected.keys[key] for key in keys]
        if collected.count is None:
            raise Unsound
        self.values.append(collected.count)
        has_sum = collected.total is not None
        if collected.total is not None:
            self.values.append(collected.total)
        self.pack: Callable[[list[float]], bytes]
        if collected.is_histogram:
            self.pack = _histogram_packer(len(keys), has_sum)
        else:
            self.pack = _summary_packer(tuple(keys), has_sum)
        self.pack(self.values)
        self.target: list[bytes] = []
        self.at = 0
        self.is_dirty = False

    def place_members(self, collected: Collected) -> None:
        """Tell the series of the lines where their values are."""
        keys = sorted(key for key in collected.keys if key < math.inf)
        places: dict[float | Part, int] = {key: place for place, key in enumerate(keys)}
        places[Part.COUNT] = len(keys)
        places[Part.SUM] = len(keys) + 1
        for key, series in collected.members.items():
            place = places.get(key)
            if place is not None:
                series.kind, series.target, series.at = Kind.MEMBER, self, place
            else:
                # The start is in the frame of the point; a last bucket says what the count says.
                series.kind = Kind.FIXED if key is Part.CREATED else Kind.IGNORED

    def update(self) -> None:
        """Write the values where they belong. Raises `Unsound`."""
        self.target[self.at] = self.pack(self.values)
        self.is_dirty = False


def _bounds(bounds: Sequence[float]) -> bytes:
    if not bounds:
        return b""
    return _BOUNDS_TAG + varint(8 * len(bounds)) + struct.pack(f"<{len(bounds)}d", *bounds)


def _histogram(count: int, total: float | None, counts: Sequence[int]) -> bytes:
    return b"".join(
        (
            struct.pack("<BQ", _COUNT_TAG, count),
            b"" if total is None else bytes((_SUM_TAG,)) + pack_double(total),
            _BUCKETS_TAG + varint(8 * len(counts)) + struct.pack(f"<{len(counts)}Q", *counts),
        )
    )


def _summary(count: int, total: float, pairs: Sequence[tuple[float, float]]) -> bytes:
    return struct.pack("<BQBd", _COUNT_TAG, count, _SUM_TAG, total) + b"".join(
        [struct.pack("<BBBdBd", *_QUANTILE, key, _VALUE_TAG, value) for key, value in pairs]
    )


@lru_cache(_STRUCTS_MAX)
def _histogram_packer(bounds: int, has_sum: bool) -> Callable[[list[float]], bytes]:  # noqa: FBT001  a cache's key
    """From the values of a `Group` to the bytes before the bounds."""
    prefix = _BUCKETS_TAG + varint(8 * (bounds + 1))
    number = bounds + 1
    if has_sum:
        pack = struct.Struct(f"<BQBd{len(prefix)}s{number}Q").pack
    else:
        pack = struct.Struct(f"<BQ{len(prefix)}s{number}Q").pack

    def packer(values: list[float]) -> bytes:
        try:
            whole = list(map(int, values[:number]))
            counts = map(sub, whole[1:], whole)
            if has_sum:
                total = values[number]
                return pack(_COUNT_TAG, whole[-1], _SUM_TAG, total, prefix, whole[0], *counts)
            return pack(_COUNT_TAG, whole[-1], prefix, whole[0], *counts)
        except (ValueError, OverflowError, struct.error) as error:
            # No number, or beyond a count, or a bucket that has less than the one before.
            raise Unsound from error

    return packer


@lru_cache(_STRUCTS_MAX)
def _summary_packer(quantiles: tuple[float, ...], has_sum: bool) -> Callable[[list[float]], bytes]:  # noqa: FBT001  a cache's key
    number = len(quantiles)
    pack = struct.Struct("<BQBd" + "BBBdBd" * number).pack
    template: list[float] = []
    for quantile in quantiles:
        template += (*_QUANTILE, quantile, _VALUE_TAG, 0.0)

    def packer(values: list[float]) -> bytes:
        pairs = template.copy()
        pairs[5::6] = values[:number]
        try:
            count = int(values[number])
            total = values[number + 1] if has_sum else 0.0
            return pack(_COUNT_TAG, count, _SUM_TAG, total, *pairs)
        except (ValueError, OverflowError, struct.error) as error:
            raise Unsound from error

    return packer
