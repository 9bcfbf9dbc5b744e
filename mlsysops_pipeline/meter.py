"""The collector's own metrics: plain numbers in memory, read by whoever wants them.

A component asks its `Meter` for an instrument, binds the attributes once, and then adds to the
bound number: that is one addition per request. There is no exporter in here; the service renders
the numbers for `/metrics`, and an embedding program reads them with `Collector.metrics()`.

Counters appear only after their first recording, as in the Go collector.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Attributes = tuple[tuple[str, str], ...]
_SERIES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of one instrument at one moment."""

    name: str
    attributes: Attributes
    value: float


class Number:
    """A counter or gauge with its attributes bound."""

    __slots__ = ("recorded", "value")

    def __init__(self) -> None:
        self.value: float = 0
        self.recorded = False

    def add(self, amount: float) -> None:
        """Count ``amount`` more (or fewer, for an up-down counter)."""
        self.value += amount
        self.recorded = True

    def set(self, value: float) -> None:
        """Replace the value of a gauge."""
        self.value = value
        self.recorded = True


class Distribution:
    """A histogram with its attributes bound."""

    __slots__ = ("bounds", "buckets", "count", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.count = 0
        self.total = 0.0

    def record(self, value: float) -> None:
        """Count one observation."""
        self.buckets[bisect.bisect_left(self.bounds, value)] += 1
        self.count += 1
        self.total += value


class Instrument:
    """A metric of this process: name, kind, unit, and its numbers by attributes."""

    def __init__(
        self, name: str, kind: str, unit: str, description: str, bounds: Sequence[float] = ()
    ) -> None:
        self.name = name
        self.kind = kind
        self.unit = unit
        self.description = description
        self.bounds = tuple(bounds)
        self.numbers: dict[Attributes, Number] = {}
        self.distributions: dict[Attributes, Distribution] = {}
        self.observers: dict[Attributes, Callable[[], float | None]] = {}

    def bind(self, attributes: Mapping[str, str]) -> Number:
        """The number for these attributes; the same object for the same attributes."""
        key = _key(attributes)
        number = self.numbers.get(key)
        if number is None:
            if len(self.numbers) >= _SERIES_MAX:
                key = (("overflow", "true"),)
            number = self.numbers.setdefault(key, Number())
        return number

    def bind_distribution(self, attributes: Mapping[str, str]) -> Distribution:
        """The histogram for these attributes."""
        return self.distributions.setdefault(_key(attributes), Distribution(self.bounds))

    def observe(self, attributes: Mapping[str, str], read: Callable[[], float | None]) -> None:
        """Read the value when somebody looks; ``None`` hides it. Replaces an earlier reader."""
        self.observers[_key(attributes)] = read

    def forget(self, attributes: Mapping[str, str]) -> None:
        """Remove what was bound or observed under these attributes."""
        key = _key(attributes)
        self.numbers.pop(key, None)
        self.distributions.pop(key, None)
        self.observers.pop(key, None)

    def samples(self) -> Iterator[Sample]:
        """Every number that has been recorded, histograms as `_count` and `_sum`."""
        for key, number in list(self.numbers.items()):
            if number.recorded:
                yield Sample(self.name, key, number.value)
        for key, read in list(self.observers.items()):
            value = read()
            if value is not None:
                yield Sample(self.name, key, value)
        for key, distribution in list(self.distributions.items()):
            if distribution.count:
                yield Sample(f"{self.name}_count", key, distribution.count)
                yield Sample(f"{self.name}_sum", key, distribution.total)


class Meter:
    """All instruments of one collector. Asking twice for a name gives the same instrument.

    ``is_detailed``: whether anybody looks at metrics of the level `detailed`; if not, components
    need not record those that cost something for every request.
    """

    def __init__(self, *, is_detailed: bool = True) -> None:
        self.instruments: dict[str, Instrument] = {}
        self.is_detailed = is_detailed

    def counter(self, name: str, unit: str = "", description: str = "") -> Instrument:
        """A value that only grows."""
        return self._instrument(name, "counter", unit, description)

    def gauge(self, name: str, unit: str = "", description: str = "") -> Instrument:
        """A value that goes up and down."""
        return self._instrument(name, "gauge", unit, description)

    def histogram(
        self, name: str, bounds: Sequence[float], unit: str = "", description: str = ""
    ) -> Instrument:
        """A distribution over ``bounds`` (upper, inclusive, ascending)."""
        return self._instrument(name, "histogram", unit, description, bounds)

    def _instrument(
        self, name: str, kind: str, unit: str, description: str, bounds: Sequence[float] = ()
    ) -> Instrument:
        instrument = self.instruments.get(name)
        if instrument is None:
            instrument = Instrument(name, kind, unit, description, bounds)
            self.instruments[name] = instrument
        return instrument

    def samples(self) -> Iterator[Sample]:
        """Every recorded number of every instrument."""
        for instrument in list(self.instruments.values()):
            yield from instrument.samples()

    def value(self, name: str, **attributes: str) -> float:
        """The sum over all numbers called ``name`` that have these attributes; 0 if none."""
        wanted = set(attributes.items())
        return sum(
            sample.value
            for sample in self.samples()
            if sample.name == name and wanted.issubset(sample.attributes)
        )


def _key(attributes: Mapping[str, str]) -> Attributes:
    return tuple(sorted(attributes.items()))
