"""Which rule means a series, and the attributes that its result keeps. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.metrics.identity import canonical_pairs
from mlsysops_pipeline.patterns import compile_pattern
from mlsysops_pipeline.pdata import any_values
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, serialize, view

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlsysops_processors.aggregation.config import Function, RuleConfig

_NAMES_MAX = 10_000
"""Names of metrics whose rules are remembered."""
_PAIRS_MAX, _PAIR_BYTES_MAX = 2_000, 200
"""Attributes that are remembered with what they are, and how long they may be."""


class Attribute(NamedTuple):
    """A key, a serialized ``AnyValue`` and ``KeyValue``, and a hash of both in any encoding."""

    key: bytes
    value: bytes
    pair: bytes
    identity: int


Attributes = dict[bytes, Attribute]
"""By key; of equal keys the first counts."""


class AttributeReader:
    """Reads serialized ``KeyValue``s, which are the same ones over and over again."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, Attribute] = {}

    def read(self, wires: Iterable[bytes]) -> list[Attribute]:
        """In the order in which they stand. Raises `MalformedError`."""
        known = self._known
        return [known.get(wire) or self._read(wire) for wire in wires]

    def _read(self, wire: bytes) -> Attribute:
        try:
            pair: Any = view(Signal.METRICS, Depth.FULL, "KeyValue").FromString(wire)
        except DecodeError as error:
            raise MalformedError(f"no protobuf attribute: {error}") from error
        value = serialize(pair.value)
        found = Attribute(
            pair.key, value, any_values.key_value(pair.key, value), hash(canonical_pairs((pair,)))
        )
        if len(self._known) >= _PAIRS_MAX:
            self._known.clear()
        if len(wire) <= _PAIR_BYTES_MAX:
            self._known[wire] = found
        return found


def by_key(attributes: Iterable[Attribute]) -> Attributes:
    """As a dict."""
    found: Attributes = {}
    for attribute in attributes:
        found.setdefault(attribute.key, attribute)
    return found


@dataclass(frozen=True, slots=True)
class Kept:
    """Attributes of a result: serialized ``KeyValue``s in the order of their bytes."""

    resource: tuple[bytes, ...]
    point: tuple[bytes, ...]


class Rule:
    """One rule, ready to use."""

    def __init__(self, position: int, config: RuleConfig) -> None:
        self.position = position
        self.functions: tuple[Function, ...] = config.functions
        self._template = config.template
        self._match = [
            (key.encode(), any_values.serialize(value)) for key, value in config.match.items()
        ]
        self._by = frozenset(key.encode() for key in config.by or ())
        without = config.without
        self._without = None if without is None else frozenset(key.encode() for key in without)
        expression = "|".join(glob.expression for glob in config.metrics)
        self._pattern = compile_pattern(f"(?s)^(?:{expression})$")

    def means(self, name: bytes) -> bool:
        """Whether metrics of a name are aggregated."""
        return self._pattern.search(name) is not None

    def name(self, name: bytes, function: Function) -> bytes:
        """What the result of a metric is called."""
        template = self._template.replace("{function}", function.name).encode()
        return template.replace(b"{name}", name)

    def matches(self, point: Attributes, resource: Attributes) -> bool:
        """Whether a series is meant."""
        for key, value in self._match:
            found = point.get(key) or resource.get(key)
            if found is None or found.value != value:
                return False
        return True

    def kept(self, point: Attributes, resource: Attributes) -> Kept:
        """What a series shares with those that it is aggregated with."""
        if self._without is not None:
            gone = self._without
            return Kept(
                _pairs(resource, resource.keys() - gone), _pairs(point, point.keys() - gone)
            )
        of_point = [key for key in self._by if key in point]
        of_resource = [key for key in self._by if key in resource and key not in point]
        return Kept(_pairs(resource, of_resource), _pairs(point, of_point))


class Rules:
    """All rules, and what is known of the names that came."""

    def __init__(self, configs: Sequence[RuleConfig]) -> None:
        self._rules = tuple(Rule(position, config) for position, config in enumerate(configs))
        self._known: dict[bytes, tuple[Rule, ...]] = {}

    def of(self, name: bytes) -> tuple[Rule, ...]:
        """Those that mean metrics of a name."""
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= _NAMES_MAX:
                self._known.clear()
            found = self._known[name] = tuple(rule for rule in self._rules if rule.means(name))
        return found


def _pairs(attributes: Attributes, keys: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted([attributes[key].pair for key in keys]))
