"""Adding up over items, resource by resource: what the connectors `count` and `sum` share.

Pure. Each resource group of a request gives one group of delta sums with the attributes of that
resource, at one time, without a start (components, D2 and D3). Attributes are looked for in the
item, then its scope, then its resource.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.message import DecodeError

from mlsysops_pipeline.conditions import Scene, attributes_of
from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.any_values import serialize
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, view
from mlsysops_pipeline.pdata.views import serialize as serialized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mlsysops_pipeline.conditions import Condition
    from mlsysops_pipeline.pdata.payload import Payload

KINDS: dict[Signal, tuple[str, ...]] = {
    Signal.METRICS: ("metrics", "datapoints"),
    Signal.LOGS: ("logs",),
    Signal.TRACES: ("spans", "spanevents"),
}
"""What is added up of each signal; the keys of the configuration."""
_DELTA = 1
_SERIES_MAX = 100_000
"""Results of one resource group. Attributes with more values than this are left out of sums."""

Pairs: TypeAlias = "Sequence[Any]"
Read: TypeAlias = "Callable[[Pairs], dict[str, Any]]"
"""What conditions see of attributes."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One result: a metric's name and what goes into it.

    ``attributes``: keys with the serialized value where there is none (``None``: not added up).
    ``amount``: what an item adds, from the value of ``source``; ``None`` if it adds nothing.
    """

    name: str
    description: str
    conditions: tuple[Condition, ...] = ()
    attributes: tuple[tuple[bytes, bytes | None], ...] = ()
    source: bytes = b""
    amount: Callable[[Any], float | None] | None = None


class Tally:
    """The results of one resource group."""

    __slots__ = ("_left", "_totals", "left_out")

    def __init__(self) -> None:
        self._totals: dict[Rule, dict[tuple[bytes, ...], float]] = {}
        self._left = _SERIES_MAX
        self.left_out = 0

    def add(self, rule: Rule, places: Sequence[Pairs], scene: Scene) -> None:
        """Add one item, whose attributes are in ``places``, the nearest first."""
        amount: float | None = 1
        if rule.amount is not None:
            value = _find(places, rule.source)
            amount = None if value is None else rule.amount(value)
        if amount is None:
            return
        key = []
        for name, default in rule.attributes:
            value = _find(places, name)
            content = default if value is None else bytes(value.SerializePartialToString())
            if content is None:
                return
            key.append(content)
        if rule.conditions and not any(condition.test(scene) for condition in rule.conditions):
            return
        totals = self._totals.setdefault(rule, {})
        place = tuple(key)
        if place not in totals:
            if not self._left:
                self.left_out += 1
                return
            self._left -= 1
        totals[place] = totals.get(place, 0) + amount

    def write(self, metrics: Any, time_ns: int) -> int:
        """Add the results to the ``metrics`` of a scope; how many points there are."""
        points = 0
        for rule, totals in self._totals.items():
            metric = metrics.add(name=rule.name.encode(), description=rule.description.encode())
            metric.sum.aggregation_temporality = _DELTA
            metric.sum.is_monotonic = True
            for key, total in totals.items():
                point = metric.sum.data_points.add(time_unix_nano=time_ns)
                if isinstance(total, int):
                    point.as_int = total
                else:
                    point.as_double = total
                for (name, _), content in zip(rule.attributes, key, strict=True):
                    point.attributes.add(key=name).value.ParseFromString(content)
            points += len(totals)
        return points


def _find(places: Sequence[Pairs], key: bytes) -> Any:
    for pairs in places:
        for pair in pairs:
            if pair.key == key:
                return pair.value
    return None


def tally(
    payload: Payload, rules: Mapping[str, Sequence[Rule]], scope: str, time_ns: int
) -> tuple[bytes, int, int]:
    """A request of metrics, the points in it, and the items that had no room.

    Empty if nothing was added up. Raises `MalformedError`.
    """
    result: Any = view(Signal.METRICS, Depth.FULL)()
    read = attributes_of if _judges(rules) else _nothing
    points = left_out = 0
    for wire in payload.wires:
        request = parse(payload.signal, Depth.ATTRIBUTES, wire)
        for _, groups in request.ListFields()[:1]:
            for group in groups:
                found = Tally()
                for kind, places, scene in _items(payload, group, read):
                    for rule in rules[kind]:
                        found.add(rule, places, scene)
                made = view(Signal.METRICS, Depth.FULL, "ResourceMetrics")()
                points_made = _write(made, group, found, scope, time_ns)
                if points_made:
                    result.resource_metrics.append(made)
                points += points_made
                left_out += found.left_out
    return (serialized(result) if points else b""), points, left_out


def _write(made: Any, group: Any, found: Tally, scope: str, time_ns: int) -> int:
    scope_metrics = made.scope_metrics.add()
    scope_metrics.scope.name = scope.encode()
    points = found.write(scope_metrics.metrics, time_ns)
    if points:
        for pair in group.resource.attributes:
            made.resource.attributes.add().ParseFromString(pair.SerializePartialToString())
    return points


def _judges(rules: Mapping[str, Sequence[Rule]]) -> bool:
    """Whether a condition wants to see anything."""
    return any(rule.conditions for of_kind in rules.values() for rule in of_kind)


def _nothing(_: Pairs) -> dict[str, Any]:
    return {}


def _items(
    payload: Payload, group: Any, read: Read
) -> Iterator[tuple[str, Sequence[Pairs], Scene]]:
    """Everything in a resource group that can be added up."""
    resource = group.resource.attributes
    scene = Scene(payload.metadata, read(resource))
    signal = payload.signal
    scopes = (
        group.scope_metrics
        if signal is Signal.METRICS
        else group.scope_logs
        if signal is Signal.LOGS
        else group.scope_spans
    )
    for scope in scopes:
        outer = (scope.scope.attributes, resource)
        scene.scope = read(scope.scope.attributes)
        if signal is Signal.LOGS:
            for record in scope.log_records:
                scene.item = read(record.attributes)
                yield "logs", (record.attributes, *outer), scene
        elif signal is Signal.TRACES:
            yield from _spans(scope, outer, scene, read)
        else:
            yield from _metrics(scope, outer, scene, read)


def _spans(
    scope: Any, outer: tuple[Pairs, Pairs], scene: Scene, read: Read
) -> Iterator[tuple[str, Sequence[Pairs], Scene]]:
    open_event = view(Signal.TRACES, Depth.FULL, "Span.Event").FromString
    for span in scope.spans:
        scene.item, scene.name = read(span.attributes), span.name.decode(errors="replace")
        yield "spans", (span.attributes, *outer), scene
        for event in span.events:
            try:
                opened: Any = open_event(event)
            except DecodeError as error:
                raise MalformedError(f"no protobuf event of a span: {error}") from error
            yield "spanevents", (opened.attributes, *outer), scene


def _metrics(
    scope: Any, outer: tuple[Pairs, Pairs], scene: Scene, read: Read
) -> Iterator[tuple[str, Sequence[Pairs], Scene]]:
    for metric in scope.metrics:
        scene.item, scene.name = {}, metric.name.decode(errors="replace")
        yield "metrics", outer, scene
        kind = metric.WhichOneof("data")
        if kind is not None:
            for point in getattr(metric, kind).data_points:
                scene.item = read(point.attributes)
                yield "datapoints", (point.attributes, *outer), scene


def default_value(text: str) -> bytes | None:
    """What stands for a missing attribute; empty: nothing does."""
    return serialize(text) if text else None
