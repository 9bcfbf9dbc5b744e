"""Which metrics are converted: ``include`` and ``exclude``, the latter wins (component C9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from mlsysops_pipeline.config.schema import ComponentConfig, Finding, Section, no_effect
from mlsysops_pipeline.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable

KINDS = {
    "sum": "sum",
    "histogram": "histogram",
    "exponentialhistogram": "exponential_histogram",
}
"""From the words of the configuration to OTLP's names of ``data``."""


class RegexpConfig(ComponentConfig):
    """Only for files written for the Collector."""

    cacheenabled: Annotated[bool, no_effect("matching is linear in time anyway", unless=False)] = (
        False
    )
    """Of the Collector: whether results of matching are kept."""
    cachemaxnumentries: Annotated[int, no_effect("there is no such cache", unless=0)] = 0
    """Of the Collector: how many."""


class MatchConfig(ComponentConfig):
    """Names and types of metrics. What is not given is not asked for."""

    metrics: tuple[str, ...] = ()
    """Names of metrics; with ``regexp`` patterns, one of which must be found in the name."""
    match_type: Literal["strict", "regexp"] | None = None
    """Whether names are compared or searched for patterns (RE2). Needed with ``metrics``."""
    regexp: Section[RegexpConfig] = None
    """Settings of the Collector that have no effect here."""
    metric_types: tuple[str, ...] = ()
    """``sum``, ``histogram`` or ``exponentialhistogram``, in any case."""

    def check(self) -> Iterable[Finding]:
        """Names and match type belong together; types and patterns must be some."""
        if self.metrics and self.match_type is None:
            yield Finding(("match_type",), "match_type must be set if metrics are supplied")
        if self.match_type is not None and not self.metrics:
            yield Finding(("metrics",), "metrics must be supplied if match_type is set")
        if self.match_type == "regexp":
            for index, pattern in enumerate(self.metrics):
                try:
                    compile_pattern(pattern)
                except ValueError as error:
                    yield Finding(("metrics", index), f"no regular expression: {error}")
        for index, kind in enumerate(self.metric_types):
            if kind.lower() not in KINDS:
                yield Finding(
                    ("metric_types", index),
                    f"found invalid metric type: {kind}. Valid values are {sorted(KINDS)}",
                )


class Selection:
    """Says of a name and kind whether it is meant. Names are remembered, up to a limit."""

    _NAMES_MAX = 10_000

    def __init__(self, include: MatchConfig | None, exclude: MatchConfig | None) -> None:
        self._include = _Match(include)
        self._exclude = _Match(exclude)
        self._known: dict[tuple[bytes, str], bool] = {}

    def selects(self, name: bytes, kind: str) -> bool:
        """``kind`` is the name of ``data``."""
        found = self._known.get((name, kind))
        if found is None:
            if len(self._known) >= self._NAMES_MAX:
                self._known.clear()
            found = self._selects(name, kind)
            self._known[name, kind] = found
        return found

    def _selects(self, name: bytes, kind: str) -> bool:
        include, exclude = self._include, self._exclude
        if include.has_names and not include.matches(name):
            return False
        if include.kinds and kind not in include.kinds:
            return False
        return not (exclude.has_names and exclude.matches(name)) and kind not in exclude.kinds


class _Match:
    def __init__(self, config: MatchConfig | None) -> None:
        names = config.metrics if config is not None else ()
        is_pattern = config is not None and config.match_type == "regexp"
        self.has_names = bool(names)
        self._names = frozenset(name.encode() for name in names if not is_pattern)
        self._patterns = [compile_pattern(name) for name in names if is_pattern]
        types = config.metric_types if config is not None else ()
        self.kinds = frozenset(KINDS[kind.lower()] for kind in types)

    def matches(self, name: bytes) -> bool:
        return name in self._names or any(pattern.search(name) for pattern in self._patterns)
