"""Which stream a point belongs to (conformance DM-1).

A stream is told by resource, scope, metric name, type, unit, temporality, monotonicity and the
attributes of its points, in whatever order a sender writes them. Its key is a hash of 61 bits that
holds a secret of the process: among a million streams, one in 10 ** 12 new ones would be taken for
another, and to keep the attributes would cost more memory than all else that is kept.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.metrics.closed import attributes
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlsysops_pipeline.metrics.closed import Head, Point

_GENERATION_MAX = 300_000
"""Lists of attributes in each of the two generations that are remembered (150 bytes each). More
streams than that cost several times as much each."""
_pack_double = struct.Struct("<d").pack


class Identities:
    """Keys of resources, scopes, metrics and points of views that leave attributes closed."""

    __slots__ = ("_old", "_young")

    def __init__(self) -> None:
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}

    def attributes(self, wires: Iterable[bytes]) -> int:
        """The key of serialized attributes, the same in any order. Raises `MalformedError`."""
        raw = hash(tuple(wires))
        found = self._young.get(raw)
        if found is None:
            found = self._old.get(raw)
            if found is None:
                found = hash(canonical_attributes(wires))
            self._remember(raw, found)
        return found

    def _remember(self, raw: int, found: int) -> None:
        if len(self._young) >= _GENERATION_MAX:
            self._young, self._old = {}, self._young
        self._young[raw] = found

    @property
    def known(self) -> Callable[[int], int | None]:
        """What `of_points` found before, by the hash of the bytes; not for ever."""
        return self._young.get

    def of_points(self, metric: bytes, points: Iterable[Point]) -> list[int] | None:
        """The keys of the attributes of points that `closed` has read.

        Nothing if there is something else behind the value of one. Raises `MalformedError`.
        """
        known = self._young.get
        keys = []
        for _, begin, end, _, _, _, _ in points:  # a star would make a list of each
            rest = metric[begin:end]
            found = known(hash(rest))
            if found is None:
                found = self._of_rest(rest)
                if found is None:
                    return None
                known = self._young.get
            keys.append(found)
        return keys

    def _of_rest(self, rest: bytes) -> int | None:
        raw = hash(rest)
        found = self._old.get(raw)
        if found is None:
            wires = attributes(rest)
            if wires is None:
                return None
            found = hash(canonical_attributes(wires))
        self._remember(raw, found)
        return found

    def group(self, group: Any) -> int:
        """The key of a ``ResourceMetrics``' resource. Raises `MalformedError`."""
        return self.attributes(group.resource.attributes)

    def scope(self, resource: int, block: Any) -> int:
        """The key of a ``ScopeMetrics``' scope. Raises `MalformedError`."""
        scope = block.scope
        return hash((resource, scope.name, scope.version, self.attributes(scope.attributes)))

    @staticmethod
    def metric(scope: int, metric: Any, kind: str) -> int:
        """The key of a metric whose ``data`` is ``kind``. The description does not count."""
        data = getattr(metric, kind)
        temporality = getattr(data, "aggregation_temporality", 0)
        is_monotonic = getattr(data, "is_monotonic", False)
        return hash((scope, metric.name, metric.unit, kind, temporality, is_monotonic))

    @staticmethod
    def closed(scope: int, head: Head, tail: tuple[int, bool]) -> int:
        """The same of a metric that was read without opening it (see `closed`)."""
        kind, name, unit, *_ = head
        return hash((scope, name, unit, kind, *tail))

    def point(self, metric: int, attributes: Iterable[bytes]) -> int:
        """The key of a stream. Raises `MalformedError`."""
        return hash((metric, self.attributes(attributes)))


def canonical_attributes(wires: Iterable[bytes]) -> tuple[Any, ...]:
    """Serialized attributes as something that is equal for equal ones. Raises `MalformedError`."""
    parse = view(Signal.METRICS, Depth.FULL, "KeyValue").FromString
    try:
        pairs: list[Any] = [parse(wire) for wire in wires]
    except DecodeError as error:
        raise MalformedError(f"no protobuf attribute: {error}") from error
    return canonical_pairs(pairs)


def canonical_pairs(pairs: Iterable[Any]) -> tuple[Any, ...]:
    """The same of ``KeyValue``s that are open."""
    found = [(pair.key, _value(pair.value)) for pair in pairs]
    return tuple(sorted(found, key=lambda pair: (pair[0], hash(pair[1]))))


def _value(value: Any) -> tuple[Any, ...]:
    kind = value.WhichOneof("value")
    if kind is None:
        return ()
    content = getattr(value, kind)
    if kind == "array_value":
        return (kind, *map(_value, content.values))
    if kind == "kvlist_value":
        return (kind, canonical_pairs(content.values))
    if kind == "double_value":
        return (kind, _pack_double(content))  # a NaN is not equal to itself
    return (kind, content)
