"""The series that come in, and the results that they go into. No I/O.

A series is a number. It is found by a hash of its metric and the bytes of its attributes, as they
came (see `mlsysops_pipeline.metrics.identity` for what a hash of 61 bits risks); the same
attributes in another order lead to the same number. All that is kept of a series lies in columns.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from mlsysops_processors.aggregation.outputs import Spec, family_of
from mlsysops_processors.aggregation.rules import by_key
from mlsysops_processors.aggregation.windows import SHARD, SHIFT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mlsysops_processors.aggregation.distributions import Known
    from mlsysops_processors.aggregation.outputs import Output
    from mlsysops_processors.aggregation.rules import Attribute, Attributes, Rule

    Outputs = tuple[Output, ...]

UNMEANT, REFUSED = -1, -2
"""Instead of a series: no rule means it; there is no room for it."""
_UNMEANT_MAX = 50_000
"""Series that no rule means, of which that is remembered."""
_ALIASES_MAX = 8
"""Orders of the same attributes that are remembered."""
_METRICS_MAX = 100_000
"""Metrics that are remembered beside those that have series."""


Runs = tuple[tuple[int, int, int, "array[int]"], ...]
"""Series of points that came together, cut where their shard changes: the shard, the first point,
that after the last, the series."""


class Source:
    """A metric of one resource and scope. ``specs``: the results of each rule that means it.

    ``impossible``: the functions that mean nothing for it. ``runs``: the series of points that came
    together, by a hash of the bytes that tell them.
    """

    __slots__ = (
        *("description", "family", "impossible", "is_monotonic", "key", "kind", "name", "rules"),
        *("runs", "series", "specs", "temporality", "unit", "used_ns"),
    )

    def __init__(self, key: int, metric: Any, kind: str) -> None:
        data = getattr(metric, kind)
        self.key = key
        self.kind = kind
        self.name: bytes = metric.name
        self.unit: bytes = metric.unit
        self.description: bytes = metric.description
        self.temporality: int = getattr(data, "aggregation_temporality", 0)
        self.is_monotonic: bool = getattr(data, "is_monotonic", False)
        self.family = family_of(kind, self.temporality, is_monotonic=self.is_monotonic)
        self.specs: tuple[Spec, ...] = ()
        self.rules: tuple[Rule, ...] = ()
        self.impossible: tuple[str, ...] = ()
        self.runs: dict[int, Runs] = {}
        self.series = 0
        self.used_ns = 0

    def learn_runs(self, tails: int, series: Sequence[int], count: int) -> None:
        """Remember the series of ``count`` points, if each has one that is known."""
        if len(series) != count or (series and min(series) < 0):
            return
        runs = []
        begin = 0
        for at in range(1, count + 1):
            if at == count or series[at] >> SHIFT != series[begin] >> SHIFT:
                runs.append((series[begin] >> SHIFT, begin, at, array("i", series[begin:at])))
                begin = at
        if len(runs) > 1 + count // 8:
            return  # one by one they would be as fast
        if len(self.runs) >= 4 + self.series // 4:
            self.runs = {}
        self.runs[tails] = tuple(runs)


class Inputs:
    """All series. ``found(key)``: the series of a key, if it is known.

    ``members``, ``sources``, ``seen``: of each series its results, its metric, and the start of the
    last window that had a point of it. ``wants_ends``: whether any function needs the first or last
    point. ``values``, ``starts``, ``times``: the last points of
    cumulative ones, see `numbers.State`; ``known``: the same of histograms.
    """

    def __init__(self, series_max: int) -> None:
        self._series_max = series_max
        self._by_key: dict[int, int] = {}
        self.found: Callable[[int], int | None] = self._by_key.get
        self._aliases: dict[int, list[int]] = {}
        self._keys = array("q")
        self._raw_keys = array("q")
        self._free: dict[int, list[int]] = {}
        self._unmeant: set[int] = set()
        self._interned: dict[Outputs, Outputs] = {}
        self._results: dict[int, list[Output]] = {}
        self._live: list[int] = []
        self.wants_ends = False
        self.count = 0
        self.families: list[int] = []
        self.members: list[Outputs] = []
        self.sources: list[Source | None] = []
        self.seen = array("Q")
        self.values: list[float] = []
        self.starts = array("Q")
        self.times = array("Q")
        self.ended: dict[int, float] = {}
        self.known: dict[int, Known] = {}
        self.metrics: dict[int, Source] = {}
        self.specs: dict[tuple[Any, ...], Spec] = {}

    def source(self, key: int, metric: Any, kind: str, rules: tuple[Rule, ...]) -> Source | None:
        """The metric with a key, which `Identities.metric` gives; ``None``: there is no room."""
        found = self.metrics.get(key)
        if found is not None:
            return found
        if len(self.metrics) >= self._series_max + _METRICS_MAX:
            return None
        source = Source(key, metric, kind)
        if source.family is not None:
            kept, specs = [], []
            for rule in rules:
                spec = self._spec(rule, source)
                if spec.functions:
                    kept.append(rule)
                    specs.append(spec)
                    spec.sources += 1
            source.rules, source.specs = tuple(kept), tuple(specs)
            possible = {function for spec in specs for function, _ in spec.functions}
            wanted = dict.fromkeys(f for rule in rules for f in rule.functions)
            source.impossible = tuple(str(f) for f in wanted if f not in possible)
        self.metrics[key] = source
        return source

    def _spec(self, rule: Rule, source: Source) -> Spec:
        key = (
            *(rule.position, source.name, source.unit, source.kind),
            *(source.temporality, source.is_monotonic),
        )
        spec = self.specs.get(key)
        if spec is None:
            spec = Spec(rule, source)
            if spec.functions:
                self.specs[key] = spec
            self.wants_ends = self.wants_ends or spec.needs.ends
        elif len(source.description) > len(spec.description):
            spec.description = source.description  # the longer one wins (DM-1)
        return spec

    def is_unmeant(self, raw_key: int) -> bool:
        """Whether it is known that no rule means a series."""
        return raw_key in self._unmeant

    def learn(
        self,
        raw_key: int,
        source: Source,
        attributes: Sequence[Attribute],
        resource: Callable[[], Attributes],
    ) -> int:
        """The series of a key that `found` does not know, and `is_unmeant` neither.

        `UNMEANT`: no rule means it. `REFUSED`: there is no room; see `overflow`.
        """
        key = _key(source, attributes)
        series = self._by_key.get(key)
        if series is not None:
            aliases = self._aliases.setdefault(series, [])
            if len(aliases) < _ALIASES_MAX:
                aliases.append(raw_key)
                self._by_key[raw_key] = series
            return series
        outputs = self._outputs(source, by_key(attributes), resource())
        if not outputs:
            if len(self._unmeant) >= _UNMEANT_MAX:
                self._unmeant.clear()
            self._unmeant.add(raw_key)
            return UNMEANT
        if self.count >= self._series_max:
            return REFUSED
        return self._add(raw_key, key, source, outputs)

    def _outputs(self, source: Source, point: Attributes, resource: Attributes) -> Any:
        """The rules that mean a series, with what its results keep."""
        return [
            (spec, rule.kept(point, resource))
            for rule, spec in zip(source.rules, source.specs, strict=True)
            if rule.matches(point, resource)
        ]

    def _add(self, raw_key: int, key: int, source: Source, outputs: Any) -> int:
        family = source.family or 0
        free = self._free.get(family)
        if not free:
            free = self._free[family] = self._grow(family)
        series = free.pop()
        members = tuple(spec.output(kept) for spec, kept in outputs)
        members = self._interned.setdefault(members, members)
        for output in members:
            output.series += 1
        self.members[series] = members
        self.sources[series] = source
        self.seen[series] = 0
        self._keys[series] = key
        self._raw_keys[series] = raw_key
        self._by_key[key] = series
        self._by_key[raw_key] = series
        source.series += 1
        self._results.pop(series >> SHIFT, None)
        self._live[series >> SHIFT] += 1
        self.count += 1
        return series

    def _grow(self, family: int) -> list[int]:
        """The series of one more shard, the lowest last."""
        first = len(self.members)
        self.families.append(family)
        self._live.append(0)
        self.members.extend([()] * SHARD)
        self.sources.extend([None] * SHARD)
        self.values.extend([0] * SHARD)
        zeros = bytes(8 * SHARD)
        for column in (self.seen, self._keys, self._raw_keys, self.starts, self.times):
            column.frombytes(zeros)
        return list(range(first + SHARD - 1, first - 1, -1))

    def overflow(
        self,
        source: Source,
        attributes: Sequence[Attribute],
        resource: Callable[[], Attributes],
    ) -> tuple[int, Outputs]:
        """A key of a series for which there is no room, and what it goes into."""
        point = by_key(attributes)
        outputs = []
        for spec, _ in self._outputs(source, point, resource()):
            spec.sample(point)
            outputs.append(spec.overflowing())
        return _key(source, attributes), tuple(outputs)

    def expired(self, shard: int, before_ns: int) -> list[int]:
        """The series of a shard whose last window began before then, or that never had one."""
        first = shard << SHIFT
        seen = self.seen[first : first + SHARD]
        if min(seen) >= before_ns:
            return []
        return [
            series
            for series, seen_ns in enumerate(seen, first)
            if seen_ns < before_ns and self.sources[series] is not None
        ]

    def forget(self, series: int) -> None:
        """A series has been silent for long. No open window has points of it."""
        source = self.sources[series]
        if source is None:
            return
        for output in self.members[series]:
            output.series -= 1
        source.series -= 1
        source.runs = {}
        for key in (self._keys[series], self._raw_keys[series], *self._aliases.pop(series, ())):
            self._by_key.pop(key, None)
        self.members[series] = ()
        self.sources[series] = None
        self.values[series] = 0
        self.starts[series] = self.times[series] = 0
        self.ended.pop(series, None)
        self.known.pop(series, None)
        self._free[self.families[series >> SHIFT]].append(series)
        self._results.pop(series >> SHIFT, None)
        self._live[series >> SHIFT] -= 1
        self.count -= 1

    def results_of(self, shard: int) -> list[Output]:
        """All results of the series of a shard."""
        found = self._results.get(shard)
        if found is None:
            first = shard << SHIFT
            members = set(self.members[first : first + SHARD])
            found = list(dict.fromkeys(output for outputs in members for output in outputs))
            self._results[shard] = found
        return found

    def mark_seen(self, shard: int, series: set[int], window_ns: int) -> None:
        """Series of a shard have points in a window."""
        if len(series) == self._live[shard]:
            first = shard << SHIFT
            self.seen[first : first + SHARD] = array("Q", [window_ns]) * SHARD
        else:
            for one in series:
                self.seen[one] = window_ns

    def forget_results(self, before_ns: int) -> Iterable[None]:
        """Forget results, metrics and what leads to them when no series is left; in steps."""
        self._interned = {}
        for key, spec in list(self.specs.items()):
            stale = [
                kept
                for kept, output in spec.outputs.items()
                if not output.series and output.fed_ns < before_ns
            ]
            for kept in stale:
                del spec.outputs[kept]
            overflow = spec.overflow
            if overflow is not None and overflow.fed_ns < before_ns:
                spec.overflow, spec.sampled, spec.offending = None, 0, {}
            if not spec.outputs and not spec.sources and spec.overflow is None:
                del self.specs[key]
            yield
        for number, source in enumerate(list(self.metrics.values())):
            if not source.series and source.used_ns < before_ns:
                del self.metrics[source.key]
                for spec in source.specs:
                    spec.sources -= 1
            if not number % SHARD:
                yield

    def forget_window(self) -> None:
        """What results were given so far of a window is done with."""
        for spec in self.specs.values():
            for output in (*spec.outputs.values(), *((spec.overflow,) if spec.overflow else ())):
                output.forget_window()
                output.values = []
                output.earlier = []
                output.more = 0

    @property
    def results(self) -> int:
        """How many results are remembered."""
        return sum(len(spec.outputs) for spec in self.specs.values())


def _key(source: Source, attributes: Sequence[Attribute]) -> int:
    """Of a series, the same in whatever order its attributes stand and however they are encoded."""
    return hash((source.key, *sorted([attribute.identity for attribute in attributes])))
