"""The series of points, remembered by where they stand and the bytes of their attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from mlsysops_pipeline.pdata.wire import length_prefix
from mlsysops_pipeline.prometheus.labels import make_labels, read_attributes
from mlsysops_pipeline.prometheus.points import S
from mlsysops_pipeline.prometheus.reading import open_point
from mlsysops_pipeline.prometheus.recent import Recent

if TYPE_CHECKING:
    from mlsysops_pipeline.prometheus.context import Metric, Scope
    from mlsysops_pipeline.prometheus.names import Strategy
    from mlsysops_pipeline.prometheus.points import Family, Labels

_ATTRIBUTES = 7
"""The number of the field for attributes in a ``NumberDataPoint``."""
_OVERHEAD_BYTES = 200
"""What a remembered series takes beside its key and the text of its labels."""

S_co = TypeVar("S_co", covariant=True)


class MakeSeries(Protocol[S_co]):
    """Makes what a caller calls a series. Called when one is seen that is not (or no longer) known.

    The same family name and labels can be asked for again: after other descriptions, after
    attributes in another order, or after the cache forgot. Must not raise nor return ``None``.
    """

    def __call__(self, family: Family, labels: Labels, /) -> S_co:
        """The series of a family with these labels."""


class SeriesIndex(Generic[S]):
    """Finds and makes series.

    ``get(scope.mark + metric.mark + attributes)`` is a series that is known; ``attributes`` are
    serialized as in a ``NumberDataPoint``, whatever the kind of the point. ``made``: how many were
    made so far.
    """

    __slots__ = ("_make_series", "_series", "_strategy", "get", "made")

    def __init__(self, make_series: MakeSeries[S], strategy: Strategy, bytes_max: int) -> None:
        self._make_series = make_series
        self._strategy = strategy
        self._series: Recent[bytes, S] = Recent(bytes_max)
        self.get = self._series.get
        self.made = 0

    def of(self, attributes: Any, metric: Metric, scope: Scope) -> S:
        """The series of an opened point. Raises `MalformedError`."""
        key = b"".join((scope.mark, metric.mark, *map(_framed, attributes)))
        series = self._series.get(key)
        return self._make(key, attributes, metric, scope) if series is None else series

    def learn(self, rest: bytes, metric: Metric, scope: Scope) -> S | None:
        """A series that `get` does not know, of a number point without its times and value.

        ``None`` if there is more to the point than attributes. Raises `MalformedError`.
        """
        point = open_point("NumberDataPoint", rest)
        fields = point.ListFields()
        if len(fields) > 1 or (fields and fields[0][0].name != "attributes"):
            return None
        return self._make(scope.mark + metric.mark + rest, point.attributes, metric, scope)

    def _make(self, key: bytes, attributes: Any, metric: Metric, scope: Scope) -> S:
        self.made += 1
        own = read_attributes(attributes)
        labels = make_labels(
            {**scope.shared, **own} if scope.shared else own,
            scope.fixed,
            self._strategy,
            metric.reserved,
        )
        series = self._make_series(metric.family, labels)
        text = sum([len(name) + len(value) for name, value in labels])
        self._series.put(key, series, len(key) + text + _OVERHEAD_BYTES)
        return series

    @property
    def bytes(self) -> int:
        """What is held, about."""
        return self._series.bytes

    def __len__(self) -> int:
        return len(self._series)


def _framed(attribute: bytes) -> bytes:
    return length_prefix(_ATTRIBUTES, len(attribute)) + attribute
