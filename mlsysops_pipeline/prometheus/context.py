"""What points inherit: their metric, resource and scope. Each is read once and remembered.

A `Scope` or `Metric` has a number of its own, never used again, so that what is known of a series
can be found by theirs and the bytes of its attributes.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Generic, TypeAlias

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.wire import varint
from mlsysops_pipeline.prometheus import labels, names
from mlsysops_pipeline.prometheus.points import Cause, Family, S, Type
from mlsysops_pipeline.prometheus.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OVERHEAD_BYTES = 800
"""What an entry takes beside its text: objects, dicts, its places in the memory."""
DELTA, CUMULATIVE = 1, 2
"""Temporalities, as OTLP numbers them. Gauges and summaries have none and pass as cumulative."""
_TYPE_KEY = "prometheus.type"
_TYPES = {
    names.Kind.GAUGE: Type.GAUGE,
    names.Kind.COUNTER: Type.COUNTER,
    names.Kind.UP_DOWN_COUNTER: Type.GAUGE,
    names.Kind.HISTOGRAM: Type.HISTOGRAM,
    names.Kind.EXPONENTIAL_HISTOGRAM: Type.HISTOGRAM,
    names.Kind.SUMMARY: Type.SUMMARY,
}
_TYPED_KINDS = frozenset({names.Kind.GAUGE, names.Kind.UP_DOWN_COUNTER})
"""The kinds that metadata can declare to be of another type (PO-5)."""
_DECLARED_TYPES = {
    "unknown": Type.UNKNOWN,
    "unkown": Type.UNKNOWN,  # as the specification spells it
    "info": Type.INFO,
    "stateset": Type.STATESET,
}
_INFO_ENDING = "_info"
_MetricKey: TypeAlias = tuple[Any, ...]
"""Name, unit, description, kind, temporality, and then the metadata."""
_PLAIN_KEY_LENGTH = 5


class Resource(Generic[S]):
    """What a resource gives to its points.

    ``fixed``: `job` and `instance`. ``shared``: attributes that become labels of every series.
    ``target``: the labels of its ``target_info``, none if it says nothing. ``target_series`` is
    filled by the translator.
    """

    __slots__ = ("fixed", "identity", "mark", "shared", "target", "target_series")

    def __init__(
        self, mark: int, fixed: dict[str, str], shared: dict[str, str], target: dict[str, str]
    ) -> None:
        self.mark = mark
        self.fixed = fixed
        self.shared = shared
        self.target = target
        self.identity = (fixed.get("job", ""), fixed.get("instance", ""))
        self.target_series: S | None = None


class Scope:
    """What a scope in a resource gives to its points: labels, and shared attributes.

    ``single_mark`` is the number for metrics of one point (`singles`), ``mark`` for all others.
    """

    __slots__ = ("fixed", "mark", "shared", "single_mark")

    def __init__(
        self, mark: int, single_mark: int, fixed: dict[str, str], shared: Mapping[str, str]
    ) -> None:
        self.mark = mark
        self.single_mark = single_mark
        self.fixed = fixed
        self.shared = shared


class Metric:
    """A metric: its family, or why its points are dropped. ``reserved``: a label of its buckets."""

    __slots__ = ("bounds", "cause", "family", "mark", "otlp_name", "reserved")

    def __init__(self, mark: int, otlp_name: str, family: Family, cause: Cause | None) -> None:
        self.mark = mark
        self.otlp_name = otlp_name
        self.family = family
        self.cause = cause
        self.reserved = {names.Kind.HISTOGRAM: "le", names.Kind.SUMMARY: "quantile"}.get(
            family.kind, ""
        )
        self.bounds: tuple[float, ...] = ()
        """The bounds that were seen last, so that equal ones can be the same object."""


class Contexts(Generic[S]):
    """The resources, scopes and metrics of requests, as they are opened at depth `RECORD`."""

    __slots__ = (
        "_has_scope_labels",
        "_marks",
        "_metrics",
        "_namespace",
        "_resource_labels",
        "_resources",
        "_scopes",
        "_strategy",
        "_takes_deltas",
    )

    def __init__(
        self,
        *,
        strategy: names.Strategy,
        namespace: str,
        has_scope_labels: bool,
        takes_deltas: bool,
        resource_labels: Callable[[str], bool] | None,
        bytes_max: int,
    ) -> None:
        self._strategy = strategy
        self._namespace = namespace
        self._has_scope_labels = has_scope_labels
        self._takes_deltas = takes_deltas
        self._resource_labels = resource_labels
        self._resources: Recent[bytes, Resource[S]] = Recent(bytes_max // 4)
        self._scopes: Recent[bytes, Scope] = Recent(bytes_max // 4)
        self._metrics: Recent[_MetricKey, Metric] = Recent(bytes_max // 2)
        self._marks = itertools.count()

    def resource(self, group: Any) -> Resource[S]:
        """The resource of a ``ResourceMetrics``. Raises `MalformedError`."""
        key: bytes = group.resource.SerializePartialToString()
        found = self._resources.get(key)
        if found is None:
            found = self._read_resource(group.resource)
            self._resources.put(key, found, 3 * len(key) + _OVERHEAD_BYTES)
        return found

    def _read_resource(self, resource: Any) -> Resource[S]:
        attributes = labels.read_attributes(resource.attributes)
        wanted = self._resource_labels
        shared = {
            key: value
            for key, value in attributes.items()
            if wanted is not None and wanted(key) and value
        }
        target = {
            key: value
            for key, value in attributes.items()
            if key not in labels.SERVICE_KEYS and value
        }
        return Resource(next(self._marks), labels.target_labels(attributes), shared, target)

    def scope(self, group: Any, resource: Resource[S]) -> Scope:
        """The scope of a ``ScopeMetrics`` in a resource. Raises `MalformedError`."""
        key = varint(resource.mark)
        if self._has_scope_labels:
            url: bytes = group.schema_url
            scope: bytes = group.scope.SerializePartialToString()
            key = b"".join((key, varint(len(url)), url, scope))
        found = self._scopes.get(key)
        if found is None:
            found = self._read_scope(group, resource)
            self._scopes.put(key, found, 3 * len(key) + _OVERHEAD_BYTES)
        return found

    def _read_scope(self, group: Any, resource: Resource[S]) -> Scope:
        fixed = resource.fixed
        if self._has_scope_labels:
            own = labels.scope_labels(
                group.scope.name.decode(errors="replace"),
                group.scope.version.decode(errors="replace"),
                group.schema_url.decode(errors="replace"),
                labels.read_attributes(group.scope.attributes),
                self._strategy,
            )
            fixed = {**own, **fixed}
        return Scope(next(self._marks), next(self._marks), fixed, resource.shared)

    def metric(self, metric: Any, kind: names.Kind, temporality: int) -> Metric:
        """What a metric is to Prometheus. Never raises: see `Metric.cause`."""
        key: _MetricKey = (metric.name, metric.unit, metric.description, kind, temporality)
        if kind in _TYPED_KINDS and (metadata := metric.metadata):
            key = (*key, *metadata)
        return self._metrics.get(key) or self._learn(key, kind, temporality)

    def _learn(self, key: _MetricKey, kind: names.Kind, temporality: int) -> Metric:
        name, unit, description = (part.decode(errors="replace") for part in key[:3])
        type_ = _TYPES[kind]
        if len(key) > _PLAIN_KEY_LENGTH:
            type_ = _declared_type(key[_PLAIN_KEY_LENGTH:], kind) or type_
        family = Family(
            self._name(name, unit, kind, type_),
            kind,
            type_,
            help_=description,
            unit=names.unit_name(unit, strategy=self._strategy),
            is_delta=temporality == DELTA,
        )
        cause = self._cause(family, temporality)
        found = Metric(next(self._marks), name, family, cause)
        size = len(key[0]) + len(key[1]) + len(key[2])
        self._metrics.put(key, found, 3 * size + _OVERHEAD_BYTES)
        return found

    def _name(self, name: str, unit: str, kind: names.Kind, type_: Type) -> str:
        """Empty if nothing is left of the name: what is added to it must not stand alone."""
        if not names.is_nameable(name, self._strategy):
            return ""
        found = names.metric_name(
            name, unit, kind, strategy=self._strategy, namespace=self._namespace
        )
        is_unnamed_info = type_ is Type.INFO and not found.endswith(_INFO_ENDING)
        return found + _INFO_ENDING if is_unnamed_info else found

    def _cause(self, family: Family, temporality: int) -> Cause | None:
        if not family.name:
            return Cause.NAME
        if temporality == CUMULATIVE:
            return None
        if temporality != DELTA or family.kind is names.Kind.UP_DOWN_COUNTER:
            return Cause.TEMPORALITY
        return None if self._takes_deltas else Cause.DELTA

    @property
    def bytes(self) -> int:
        """What is held, about."""
        return self._resources.bytes + self._scopes.bytes + self._metrics.bytes


def _declared_type(metadata: tuple[Any, ...], kind: names.Kind) -> Type | None:
    """The type that a metric had in Prometheus, where its kind of data can have been that."""
    try:
        declared = labels.read_attributes(metadata).get(_TYPE_KEY, "")
    except MalformedError:
        return None
    found = _DECLARED_TYPES.get(declared)
    return None if found is Type.UNKNOWN and kind is not names.Kind.GAUGE else found
