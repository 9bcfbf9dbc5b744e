"""Which OTLP metric a sample belongs to, by its name and the page's comments (PI-1, PI-3)."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple

from mlsysops_pipeline.prometheus.exposition import Topic
from mlsysops_pipeline.prometheus.names import ucum_unit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.prometheus.exposition import Comment

__all__ = ["Families", "Family", "Part"]


class Part(enum.Enum):
    """What a sample is in its metric."""

    __hash__ = object.__hash__  # members are keys where it counts, and the default is slow

    VALUE = enum.auto()
    BUCKET = enum.auto()
    QUANTILE = enum.auto()
    SUM = enum.auto()
    COUNT = enum.auto()
    CREATED = enum.auto()
    NOTHING = enum.auto()
    """OTLP has no place for it."""
    TARGET_INFO = enum.auto()
    CONSUMED = enum.auto()
    """It only repeats what is said elsewhere."""


class Family(NamedTuple):
    """What samples of a name are. ``base``: the name of the family; ``name``: of the metric."""

    part: Part
    base: str
    name: str
    type: str
    help: str
    unit: str


_PARTS: Final[dict[str, dict[str, Part]]] = {
    "histogram": {
        "_bucket": Part.BUCKET,
        "_sum": Part.SUM,
        "_count": Part.COUNT,
        "_created": Part.CREATED,
    },
    "summary": {
        "": Part.QUANTILE,
        "_sum": Part.SUM,
        "_count": Part.COUNT,
        "_created": Part.CREATED,
    },
    "counter": {"": Part.VALUE, "_total": Part.VALUE, "_created": Part.CREATED},
    "info": {"": Part.VALUE, "_info": Part.VALUE},
    "gaugehistogram": {},
}
"""What the suffixes of a type mean. Gauge histograms have no place in OTLP (PI-3)."""
_OTHERS: Final = {"": Part.VALUE}
_SUFFIXES_OF_GAUGE_HISTOGRAMS: Final = frozenset({"", "_bucket", "_gsum", "_gcount", "_created"})
_SUFFIXES: Final = frozenset(
    {"_bucket", "_sum", "_count", "_created", "_total", "_info", "_gsum", "_gcount"}
)
_TRIMMED: Final = frozenset({"counter", "info"})


class Families:
    """The families of a page, by its comments; of several for a name the last one counts."""

    def __init__(self, comments: Iterable[Comment], *, trims_suffixes: bool) -> None:
        self._types: dict[str, str] = {}
        self._helps: dict[str, str] = {}
        self._units: dict[str, str] = {}
        self._trims = trims_suffixes
        self._found: dict[str, Family] = {}
        for topic, name, text in comments:
            if topic is Topic.TYPE:
                self._types[name] = text
            elif topic is Topic.HELP:
                self._helps[name] = text
            elif topic is Topic.UNIT:
                self._units[name] = text

    def __len__(self) -> int:
        return len(self._found)

    def of(self, name: str) -> Family:
        """What samples of this name are."""
        family = self._found.get(name)
        if family is None:
            family = self._found[name] = self._find(name)
        return family

    def _find(self, name: str) -> Family:
        if name == "target_info":
            return Family(Part.TARGET_INFO, name, name, "info", "", "")
        if name == "otel_scope_info":
            return Family(Part.CONSUMED, name, name, "info", "", "")
        own = self._types.get(name)
        if own is not None:
            return self._family(name, name, "", own)
        base, underscore, suffix = name.rpartition("_")
        suffix = underscore + suffix
        if base and suffix in _SUFFIXES:
            type_ = self._types.get(base)
            if type_ == "gaugehistogram":
                fits = suffix in _SUFFIXES_OF_GAUGE_HISTOGRAMS
            else:
                fits = type_ is not None and suffix in _PARTS.get(type_, _OTHERS)
            if type_ is not None and fits:
                return self._family(name, base, suffix, type_)
        return self._family(name, name, "", "unknown")

    def _family(self, name: str, base: str, suffix: str, type_: str) -> Family:
        part = _PARTS.get(type_, _OTHERS).get(suffix, Part.NOTHING)
        if part is not Part.VALUE:
            name = base
        unit = self._units.get(base, "")
        if self._trims:
            name = _trimmed(name, type_, unit)
        return Family(part, base, name, type_, self._helps.get(base, ""), ucum_unit(unit))


def _trimmed(name: str, type_: str, unit: str) -> str:
    """The name without what its type and unit add to it."""
    if type_ in _TRIMMED:
        name = name.removesuffix("_total").removesuffix("_info")
    return (name.removesuffix("_" + unit) if unit else name) or name
