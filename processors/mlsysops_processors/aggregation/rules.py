"""Which rule means a series, and the attributes that its result keeps. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.patterns import compile_pattern
from mlsysops_pipeline.pdata import any_values
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, serialize, view

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlsysops_processors.aggregation.config import Function, RuleConfig

Attributes = dict[bytes, bytes]
"""Keys and serialized ``AnyValue``s; of equal keys the first counts."""
_NAMES_MAX = 10_000
"""Names of metrics whose rules are remembered."""


def attributes_of(wires: Iterable[bytes]) -> Attributes:
    """Serialized ``KeyValue``s as a dict. Raises `MalformedError`."""
    parse = view(Signal.METRICS, Depth.FULL, "KeyValue").FromString
    found: Attributes = {}
    try:
        for wire in wires:
            pair: Any = parse(wire)
            found.setdefault(pair.key, serialize(pair.value))
    except DecodeError as error:
        raise MalformedError(f"no protobuf attribute: {error}") from error
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
            found = point.get(key)
            if (resource.get(key) if found is None else found) != value:
                return False
        return True

    def kept(self, point: Attributes, resource: Attributes) -> Kept:
        """What a series shares with those that it is aggregated with."""
        if self._without is not None:
            gone = self._without
            return Kept(
                _pairs(resource, resource.keys() - gone), _pairs(point, point.keys() - gone)
            )
        of_point = self._by & point.keys()
        of_resource = (self._by - of_point) & resource.keys()
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


def _pairs(attributes: Mapping[bytes, bytes], keys: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted(any_values.key_value(key, attributes[key]) for key in keys))
