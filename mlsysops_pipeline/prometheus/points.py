"""What a translation gives: families, and points of series in batches of one family.

A *series* is whatever the caller's ``make_series`` returns for a family and its canonical labels,
``S`` below. Attributes that come in another order give equal labels, so series made of nothing but
family name and labels are equal as well: that, not the bytes of a request, is their identity.

Times are nanoseconds since 1970; 0 is unknown.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from mlsysops_pipeline.prometheus.names import Kind

S = TypeVar("S")

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values, sorted by name, none twice, none empty, without ``__name__``."""


class Type(enum.StrEnum):
    """The type of a family, as OpenMetrics calls it; other formats have fewer."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"
    UNKNOWN = "unknown"
    INFO = "info"
    STATESET = "stateset"


class Cause(enum.StrEnum):
    """Why points of a request have no place in Prometheus. Each is reported with their number."""

    NAME = "name"
    """The metric has no name, or nothing is left of it."""
    NO_DATA = "no_data"
    """A metric of a kind that we do not know. It has no points that could be counted."""
    TEMPORALITY = "temporality"
    """Unspecified, or delta of a sum that may fall (PO-6)."""
    DELTA = "delta"
    """Delta where the caller did not ask for deltas (PO-6)."""
    NO_SUM = "no_sum"
    """An exponential histogram without a sum (PO-8)."""
    SCALE = "scale"
    """An exponential histogram coarser than any that Prometheus has (PO-8)."""
    MALFORMED = "malformed"
    """No protobuf message, or a point whose fields contradict each other."""


class Family:
    """A metric as Prometheus knows it: all series of one name.

    ``unit`` is UNIT metadata; where it must be the end of the name (OM-2), check that it is.
    ``is_delta``: values are changes since ``start_ns`` and have to be added up; never true unless
    the translator was asked for deltas.

    Descriptions are part of what a family is, so one name can have several (PO-15).
    """

    __slots__ = ("help", "is_delta", "kind", "name", "type", "unit")

    def __init__(
        self, name: str, kind: Kind, type_: Type, *, help_: str, unit: str, is_delta: bool = False
    ) -> None:
        self.name = name
        self.kind = kind
        self.type = type_
        self.help = help_
        self.unit = unit
        self.is_delta = is_delta

    def __repr__(self) -> str:
        return f"<Family {self.name} {self.type}{' delta' if self.is_delta else ''}>"


class Exemplar:
    """An example of what was counted. ``labels`` are within 128 characters (PO-16)."""

    __slots__ = ("labels", "timestamp_ns", "value")

    def __init__(self, labels: Labels, value: float, timestamp_ns: int) -> None:
        self.labels = labels
        self.value = value
        self.timestamp_ns = timestamp_ns

    def __repr__(self) -> str:
        return f"<Exemplar {self.value} {self.labels}>"


NumberPoint: TypeAlias = tuple[S, int, int, float | None, tuple[Exemplar, ...]]
"""``(series, timestamp_ns, start_ns, value, exemplars)``.

``value`` is ``None`` where the series ended (NoRecordedValue, PO-9). A NaN is an ordinary one: it
never has the bits of a stale marker (R1-7). A tuple, because there are so many of them.
"""


@dataclass(slots=True)
class HistogramPoint(Generic[S]):
    """A histogram of fixed buckets (PO-7).

    ``buckets[i]`` counts what is at most ``bounds[i]``; the last, one more than there are bounds,
    is ``+Inf`` and equals the count. ``bounds`` is the same object as long as they stay the same.
    ``is_stale``: the series ended (PO-9); the counts mean nothing then.
    """

    series: S
    timestamp_ns: int
    start_ns: int
    sum: float | None
    bounds: tuple[float, ...]
    buckets: tuple[int, ...]
    exemplars: tuple[Exemplar, ...]
    is_stale: bool

    @property
    def count(self) -> int:
        """The number of observations."""
        return self.buckets[-1]


Buckets: TypeAlias = tuple[int, tuple[int, ...]]
"""An index and the counts of the buckets from there on; bucket ``i`` of a scale ``s`` reaches from
``2 ** (i / 2**s)``, exclusive, to ``2 ** ((i + 1) / 2**s)``."""


@dataclass(slots=True)
class ExponentialPoint(Generic[S]):
    """An exponential histogram (PO-8), with a ``scale`` of -4 to 8. See `native.spans`.

    ``zero_threshold``: 1e-128 where it is not given. ``is_stale``: the series ended (PO-9); count
    and buckets are empty then.
    """

    series: S
    timestamp_ns: int
    start_ns: int
    count: int
    sum: float
    scale: int
    zero_count: int
    zero_threshold: float
    positive: Buckets
    negative: Buckets
    exemplars: tuple[Exemplar, ...]
    is_stale: bool


@dataclass(slots=True)
class SummaryPoint(Generic[S]):
    """A summary (PO-10): pairs of a quantile and its value. ``is_stale``: the series ended."""

    series: S
    timestamp_ns: int
    start_ns: int
    count: int
    sum: float
    quantiles: tuple[tuple[float, float], ...]
    is_stale: bool


# The batches are written out, not derived from a base: there is one for each shape of a point, and
# ``match`` or ``isinstance`` tells them apart.


class Numbers(Generic[S]):
    """Points of a counter, gauge, info, state set or unknown."""

    __match_args__ = ("family", "points")
    __slots__ = ("family", "points")

    def __init__(self, family: Family, points: list[NumberPoint[S]]) -> None:
        self.family = family
        self.points = points


class Columns(Generic[S]):
    """Points of counters and gauges of any families, as columns: most points come in these.

    ``values``: as the eight bytes of a double, little-endian, never those of a stale marker.
    ``families`` and ``starts_ns`` are empty unless the translator was asked for `has_details`. None
    of the points has exemplars, and none ends its series: those come in `Numbers`.
    """

    __slots__ = ("families", "series", "starts_ns", "times_ns", "values")

    def __init__(self) -> None:
        self.series: list[S] = []
        self.times_ns: list[int] = []
        self.values: list[bytes] = []
        self.starts_ns: list[int] = []
        self.families: list[Family] = []

    def part(self, start: int, stop: int) -> Columns[S]:
        """A copy of these points."""
        found: Columns[S] = Columns()
        found.series = self.series[start:stop]
        found.times_ns = self.times_ns[start:stop]
        found.values = self.values[start:stop]
        found.starts_ns = self.starts_ns[start:stop]
        found.families = self.families[start:stop]
        return found

    def take_out(self) -> Columns[S]:
        """All points, which are not here any more."""
        found: Columns[S] = Columns()
        for name in self.__slots__:
            setattr(found, name, getattr(self, name))
            setattr(self, name, [])
        return found

    def __len__(self) -> int:
        """Points."""
        return len(self.series)

    def __repr__(self) -> str:
        return f"<Columns points={len(self)}>"


class Histograms(Generic[S]):
    """Points of a histogram of fixed buckets."""

    __match_args__ = ("family", "points")
    __slots__ = ("family", "points")

    def __init__(self, family: Family, points: list[HistogramPoint[S]]) -> None:
        self.family = family
        self.points = points


class Exponentials(Generic[S]):
    """Points of an exponential histogram."""

    __match_args__ = ("family", "points")
    __slots__ = ("family", "points")

    def __init__(self, family: Family, points: list[ExponentialPoint[S]]) -> None:
        self.family = family
        self.points = points


class Summaries(Generic[S]):
    """Points of a summary."""

    __match_args__ = ("family", "points")
    __slots__ = ("family", "points")

    def __init__(self, family: Family, points: list[SummaryPoint[S]]) -> None:
        self.family = family
        self.points = points


Batch: TypeAlias = Numbers[S] | Histograms[S] | Exponentials[S] | Summaries[S]
