"""Results: which there are, and what is kept of them from window to window. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.metrics.walking import CUMULATIVE, DELTA
from mlsysops_processors.aggregation.rules import Kept
from mlsysops_processors.aggregation.tally import Needs, Tally

if TYPE_CHECKING:
    from mlsysops_processors.aggregation.config import Function
    from mlsysops_processors.aggregation.distributions import Buckets
    from mlsysops_processors.aggregation.rules import Attributes, Rule

GAUGE, ADDED, RUNNING, BUCKETS, CLOSED = range(5)
"""Families of metrics that are computed alike: gauges and sums that may fall; deltas; cumulative
sums that only grow; histograms; summaries."""
_SAMPLED_MAX = 1000
"""Series beyond ``max_series`` that are looked at to find the attribute that makes them."""


def family_of(kind: str, temporality: int, *, is_monotonic: bool) -> int | None:
    """How a metric is computed; ``None``: nobody knows what its points mean."""
    if kind == "gauge":
        return GAUGE
    if kind == "summary":
        return CLOSED
    if temporality not in {DELTA, CUMULATIVE}:
        return None
    if kind != "sum":
        return BUCKETS
    if temporality == DELTA:
        return ADDED
    return RUNNING if is_monotonic else GAUGE


def is_possible(function: Function, family: int, temporality: int) -> bool:
    """Whether a function means anything for a family."""
    name = function.name
    if family == CLOSED:
        return name in {"first", "last"}
    if family == GAUGE:
        return name not in {"increase", "rate"}
    if family == BUCKETS:
        return name != "stddev" and (temporality == DELTA or name not in {"min", "max"})
    return True


class Spec:
    """The results of one rule for metrics of one name, unit and type (DM-1).

    ``functions``: those that are possible, each with the name of its result.
    """

    __slots__ = (
        *("description", "family", "functions", "is_monotonic", "kind", "needs", "offending"),
        *("outputs", "overflow", "sampled", "sources", "temporality", "unit"),
    )

    def __init__(self, rule: Rule, source: Any) -> None:
        self.kind: str = source.kind
        self.family: int = source.family
        self.unit: bytes = source.unit
        self.description: bytes = source.description
        self.temporality: int = source.temporality
        self.is_monotonic: bool = source.is_monotonic
        self.functions = tuple(
            (function, rule.name(source.name, function))
            for function in rule.functions
            if is_possible(function, self.family, self.temporality)
        )
        self.needs = Needs(
            [function for function, _ in self.functions], is_gauge=self.family == GAUGE
        )
        self.outputs: dict[Kept, Output] = {}
        self.overflow: Output | None = None
        self.sources = 0
        self.sampled = 0
        self.offending: dict[bytes, set[int]] = {}

    def output(self, kept: Kept) -> Output:
        """The result with these attributes."""
        found = self.outputs.get(kept)
        if found is None:
            found = self.outputs[kept] = Output(self, kept)
        return found

    def overflowing(self) -> Output:
        """The result of all series for which there is no room."""
        if self.overflow is None:
            self.overflow = Output(self, Kept((), ()))
        return self.overflow

    def sample(self, attributes: Attributes) -> None:
        """Look at a series for which there is no room."""
        if self.sampled < _SAMPLED_MAX:
            self.sampled += 1
            for key, attribute in attributes.items():
                self.offending.setdefault(key, set()).add(attribute.identity)

    @property
    def offender(self) -> bytes:
        """The attribute with the most values among those looked at; the first by name of equals."""
        return min(self.offending, key=lambda key: (-len(self.offending[key]), key), default=b"")


class Output:
    """One result. ``total``: of cumulative ones, all that came so far; since ``start_ns``.

    ``born_ns``: the start of the window in which it first got something; 0: it has not.
    ``values``: one of each series: of gauges its last, else what it has grown by; ``earlier``: of
    gauges all others; ``extra``: what belongs to the total only; ``more``: points beside one for
    each of ``values``. All these are emptied into ``tally`` or ``buckets`` now and then.
    ``tally``, ``buckets``, ``newest``, ``oldest``: what the window has so far.
    ``series``: how many feed it.
    """

    __slots__ = (
        *("born_ns", "buckets", "earlier", "extra", "fed_ns", "kept", "more", "newest"),
        *("oldest", "series", "spec", "start_ns", "tally", "total", "values"),
    )

    def __init__(self, spec: Spec, kept: Kept) -> None:
        self.spec = spec
        self.kept = kept
        self.series = 0
        self.born_ns = 0
        self.start_ns = 0
        self.fed_ns = 0
        self.total: Any = None
        self.values: list[Any] = []
        self.earlier: list[float] = []
        self.extra: list[Any] = []
        self.more = 0
        self.tally: Tally | None = None
        self.buckets: tuple[Buckets, Buckets] | None = None
        self.newest: tuple[int, bytes] | None = None
        self.oldest: tuple[int, bytes] | None = None

    def forget_window(self) -> None:
        """What was of one window only is done with."""
        self.tally = self.buckets = self.newest = self.oldest = None
        self.extra = []
