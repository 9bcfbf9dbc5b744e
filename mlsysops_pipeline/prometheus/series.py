"""The series of points, remembered by where they stand and the hash of their attributes' bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from mlsysops_pipeline.pdata.wire import length_prefix
from mlsysops_pipeline.prometheus.labels import make_labels, read_attributes
from mlsysops_pipeline.prometheus.points import S
from mlsysops_pipeline.prometheus.reading import open_point
from mlsysops_pipeline.prometheus.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.prometheus.context import Metric, Scope
    from mlsysops_pipeline.prometheus.names import Strategy
    from mlsysops_pipeline.prometheus.points import Family, Labels

_ATTRIBUTES = 7
"""The number of the field for attributes in a ``NumberDataPoint``."""
_OVERHEAD_BYTES = 200
"""What a remembered series takes beside the text of its labels."""
_FAMILY_BYTES = 150
"""What a family takes that few series share."""

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

    ``get(hash((scope.mark, metric.mark, attributes)))`` is a series that is known; ``attributes``
    are serialized as in a ``NumberDataPoint``, whatever the kind of the point. `singles` has keys
    of its own. ``made``: how many were made so far.

    Not the bytes are kept but their hash, of 64 bits with a secret of the process:
    among 200,000 series, one in 10 ** 14 new ones would be taken for another, and the memory for
    its bytes would be more than for all else that is kept of it.
    """

    __slots__ = ("_make_series", "_series", "_strategy", "get", "made")

    def __init__(self, make_series: MakeSeries[S], strategy: Strategy, bytes_max: int) -> None:
        self._make_series = make_series
        self._strategy = strategy
        self._series: Recent[int, Any] = Recent(bytes_max)
        self.get: Callable[[int], Any] = self._series.get
        self.made = 0

    def of(self, attributes: Any, metric: Metric, scope: Scope) -> S:
        """The series of an opened point. Raises `MalformedError`."""
        key = hash((scope.mark, metric.mark, b"".join(map(_framed, attributes))))
        series: S | None = self.get(key)
        return self._learn(key, attributes, metric, scope) if series is None else series

    def learn(self, rest: bytes, metric: Metric, scope: Scope) -> S | None:
        """A series that `get` does not know, of a number point without its times and value.

        ``None`` if there is more to the point than attributes. Raises `MalformedError`.
        """
        point = open_point("NumberDataPoint", rest)
        fields = point.ListFields()
        if len(fields) > 1 or (fields and fields[0][0].name != "attributes"):
            return None
        key = hash((scope.mark, metric.mark, rest))
        return self._learn(key, point.attributes, metric, scope)

    def learn_single(
        self, key: int, rest: bytes, metric: Metric, scope: Scope, *, has_family: bool
    ) -> S:
        """The series of a metric that has one point; ``rest`` is nothing but attributes.

        What ``get(key)`` gives then is the series, or with ``has_family`` the series and its
        family. Raises `MalformedError`.
        """
        series: S | None = self.get(hash((scope.mark, metric.mark, rest)))
        labels = self._labels(open_point("NumberDataPoint", rest).attributes, metric, scope)
        if series is None:
            self.made += 1
            series = self._make_series(metric.family, labels)
        weight = _weight(labels)
        if has_family:
            self._series.put(key, (series, metric.family), weight + _FAMILY_BYTES)
        else:
            self._series.put(key, series, weight)
        return series

    def _learn(self, key: int, attributes: Any, metric: Metric, scope: Scope) -> S:
        self.made += 1
        labels = self._labels(attributes, metric, scope)
        series = self._make_series(metric.family, labels)
        self._series.put(key, series, _weight(labels))
        return series

    def _labels(self, attributes: Any, metric: Metric, scope: Scope) -> Labels:
        own = read_attributes(attributes)
        return make_labels(
            {**scope.shared, **own} if scope.shared else own,
            scope.fixed,
            self._strategy,
            metric.reserved,
        )

    @property
    def bytes(self) -> int:
        """What is held, about."""
        return self._series.bytes

    def __len__(self) -> int:
        return len(self._series)


def _weight(labels: Labels) -> int:
    return sum([len(name) + len(value) for name, value in labels]) + _OVERHEAD_BYTES


def _framed(attribute: bytes) -> bytes:
    return length_prefix(_ATTRIBUTES, len(attribute)) + attribute
