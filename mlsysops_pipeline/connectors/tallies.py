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
from mlsysops_pipeline.pdata.picking import Picker, opened
from mlsysops_pipeline.pdata.sieve import GROUP_NAMES
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, view
from mlsysops_pipeline.pdata.views import serialize as serialized

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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

    def add(self, rule: Rule, places: Sequence[Pairs], scene: Scene, items: int) -> None:
        """Add items that look the same. Their attributes are in ``places``, the nearest first."""
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
                self.left_out += items
                return
            self._left -= 1
        totals[place] = totals.get(place, 0) + amount * items

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


@dataclass(frozen=True, slots=True)
class Look:
    """The rules for one kind of item, and what they look at.

    ``picker``: finds the attributes; ``None``: none matters, and items are only counted.
    ``judges``: whether a condition wants to see anything.
    """

    rules: tuple[Rule, ...]
    picker: Picker | None
    judges: bool

    @classmethod
    def of(cls, rules: Sequence[Rule]) -> Look:
        """What these rules look at."""
        keys = {key for rule in rules for key, _ in rule.attributes}
        keys |= {rule.source for rule in rules if rule.amount is not None}
        keys |= {key for rule in rules for condition in rule.conditions for key in condition.keys}
        judges = any(rule.conditions for rule in rules)
        return cls(tuple(rules), Picker(keys) if keys or judges else None, judges)


def tally(
    payload: Payload, looks: Mapping[str, Look], scope: str, time_ns: int
) -> tuple[bytes, int, int]:
    """A request of metrics, the points in it, and the items that had no room.

    Empty if nothing was added up. Raises `MalformedError`.
    """
    result: Any = view(Signal.METRICS, Depth.FULL)()
    points = left_out = 0
    for wire in payload.wires:
        request = parse(payload.signal, Depth.POINT, wire)
        for _, groups in request.ListFields()[:1]:
            for group in groups:
                found = Tally()
                resource = [opened(pair) for pair in group.resource.attributes]
                _Group(payload, looks, found, resource).add(group)
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
            made.resource.attributes.add().ParseFromString(pair)
    return points


class _Group:
    """A resource group whose items are added up, once for all that look the same in a scope."""

    def __init__(
        self, payload: Payload, looks: Mapping[str, Look], tally_: Tally, resource: Pairs
    ) -> None:
        self._signal = payload.signal
        self._looks = looks
        self._tally = tally_
        self._resource = resource
        self._outer: tuple[Pairs, Pairs] = ((), resource)
        self._scene = Scene(payload.metadata, attributes_of(resource))

    def add(self, group: Any) -> None:
        """Add all that is in it. Raises `MalformedError`."""
        name = GROUP_NAMES[self._signal]
        for scope in getattr(group, f"scope_{name}"):
            attributes = [opened(pair) for pair in scope.scope.attributes]
            self._outer = (attributes, self._resource)
            self._scene.scope = attributes_of(attributes)
            if self._signal is Signal.LOGS:
                self._add("logs", scope.log_records)
            elif self._signal is Signal.TRACES:
                self._add("spans", scope.spans, named=self._looks["spans"].judges)
                self._add_events(scope.spans)
            else:
                self._add_metrics(scope.metrics)

    def _add(self, kind: str, items: Any, *, named: bool = False) -> None:
        """Add items, which have attributes. ``named``: each has a name that matters."""
        look = self._looks[kind]
        if not look.rules or not items:
            return
        counts: dict[tuple[bytes, ...], int] = {}
        _count(look, items, counts, named=named)
        self._add_counts(look, counts, named=named)

    def _add_counts(
        self, look: Look, counts: dict[tuple[bytes, ...], int], *, named: bool = False
    ) -> None:
        for key, count in counts.items():
            pairs = key
            if named:
                self._scene.name, pairs = key[0].decode(errors="replace"), key[1:]
            self._add_all(look, [opened(pair) for pair in pairs], count)

    def _add_all(self, look: Look, pairs: Pairs, items: int) -> None:
        self._scene.item = attributes_of(pairs) if look.judges else {}
        for rule in look.rules:
            self._tally.add(rule, (pairs, *self._outer), self._scene, items)

    def _add_events(self, spans: Any) -> None:
        look = self._looks["spanevents"]
        if not look.rules:
            return
        if look.picker is None:
            count = sum([len(span.events) for span in spans])
            if count:
                self._add_all(look, (), count)
            return
        open_event = view(Signal.TRACES, Depth.TEXT, "Span.Event").FromString
        events: list[Any] = []
        for span in spans:
            try:
                events += map(open_event, span.events)
            except DecodeError as error:
                raise MalformedError(f"no protobuf event of a span: {error}") from error
        self._add("spanevents", events)

    def _add_metrics(self, metrics: Any) -> None:
        of_metrics, of_points = self._looks["metrics"], self._looks["datapoints"]
        counts: dict[tuple[bytes, ...], int] = {}
        for metric in metrics:
            if of_metrics.rules or of_points.judges:
                self._scene.item, self._scene.name = {}, metric.name.decode(errors="replace")
            for rule in of_metrics.rules:
                self._tally.add(rule, self._outer, self._scene, 1)
            kind = metric.WhichOneof("data") if of_points.rules else None
            if kind is None:
                continue
            points = getattr(metric, kind).data_points
            if of_points.judges:  # the name of the metric may matter
                self._add("datapoints", points)
            else:
                _count(of_points, points, counts)
        self._add_counts(of_points, counts)


def _count(
    look: Look, items: Any, counts: dict[tuple[bytes, ...], int], *, named: bool = False
) -> None:
    """Count items by what is looked at."""
    if look.picker is None:
        if len(items):
            counts[()] = counts.get((), 0) + len(items)
        return
    pick = look.picker.pick
    for item in items:
        key = pick(item.attributes[:])
        if named:
            key = (item.name, *key)
        counts[key] = counts.get(key, 0) + 1


def default_value(value: Any) -> bytes | None:
    """What stands for a missing attribute; ``None``: nothing does.

    Raises `ValueError` for what OTLP cannot hold.
    """
    return None if value is None else serialize(value)
