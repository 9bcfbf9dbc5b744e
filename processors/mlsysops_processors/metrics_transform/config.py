"""The configuration of `metrics_transform` (component C5)."""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003  pydantic reads annotations

from pydantic import Field

from mlsysops_pipeline.config.problems import Path  # noqa: TC001  beside what pydantic reads
from mlsysops_pipeline.config.schema import ComponentConfig, Finding
from mlsysops_pipeline.patterns import compile_pattern
from mlsysops_pipeline.version import VERSION

MATCH_TYPES = ("strict", "regexp")
ACTIONS = ("insert", "update", "combine", "group")
AGGREGATIONS = ("sum", "mean", "min", "max", "count", "median")
CASES = ("lower", "upper")
OPERATIONS = (
    "add_label",
    "update_label",
    "delete_label_value",
    "toggle_scalar_data_type",
    "experimental_scale_value",
    "aggregate_labels",
    "aggregate_label_values",
)
_NEEDED = {
    "add_label": ("new_label", "new_value"),
    "update_label": ("label",),
    "delete_label_value": ("label",),
    "experimental_scale_value": ("experimental_scale",),
    "aggregate_label_values": ("label",),
}


def _must_be_in(key: str, allowed: Iterable[str]) -> str:
    return f'"{key}" must be in [{" ".join(f"{chr(34)}{one}{chr(34)}" for one in allowed)}]'


class ValueActionConfig(ComponentConfig):
    """A value of a label, and what becomes of it."""

    value: str = ""
    """The value as it is."""
    new_value: str = ""
    """What it becomes. ``{{version}}`` is the version of this collector."""


class OperationConfig(ComponentConfig):
    """A change of the points of a metric."""

    action: str = ""
    """``add_label``, ``update_label``, ``delete_label_value``, ``toggle_scalar_data_type``,
    ``experimental_scale_value``, ``aggregate_labels`` or ``aggregate_label_values``."""
    label: str = ""
    """The label that is changed."""
    new_label: str = ""
    """The label that is added, or the new name of ``label``."""
    label_value: str = ""
    """Points with this value of ``label`` are deleted."""
    new_value: str = ""
    """The value of ``new_label``, or what ``aggregated_values`` become. ``{{version}}`` is the
    version of this collector."""
    label_set: tuple[str, ...] = ()
    """The labels that stay."""
    aggregated_values: tuple[str, ...] = ()
    """Values of ``label`` that become ``new_value``."""
    aggregation_type: str = ""
    """How points that have become the same are aggregated: ``sum``, ``mean``, ``min``, ``max``,
    ``count`` or ``median``. Histograms are always summed."""
    experimental_scale: float = 0.0
    """What values are multiplied by; not 0."""
    value_actions: tuple[ValueActionConfig, ...] = ()
    """What becomes of the values of ``label``."""

    def problem(self) -> tuple[str, str] | None:
        """The key that is wrong, if one is, and why."""
        if self.action not in OPERATIONS:
            return "action", _must_be_in("action", OPERATIONS)
        for key in _NEEDED.get(self.action, ()):
            if not getattr(self, key):
                return (
                    key,
                    f'missing required field "{key}" while "action" is {self.action}',
                )
        if self.aggregation_type and self.aggregation_type not in AGGREGATIONS:
            return "aggregation_type", _must_be_in("aggregation_type", AGGREGATIONS)
        if self.action.startswith("aggregate") and not self.aggregation_type:
            return "aggregation_type", _must_be_in("aggregation_type", AGGREGATIONS)
        return None


class TransformConfig(ComponentConfig):
    """Which metrics are meant, and what becomes of them."""

    include: str = ""
    """The name of the metric; with ``regexp`` a pattern."""
    match_type: str = "strict"
    """``strict``: names and labels are compared. ``regexp``: searched for patterns (RE2)."""
    experimental_match_labels: dict[str, str] = Field(default_factory=dict)
    """Only points with these labels are meant; a missing label counts as empty."""
    action: str = ""
    """``update`` changes the metric, ``insert`` a copy of it; ``combine`` makes one metric of all
    that match, ``group`` moves them to a resource of their own."""
    new_name: str = ""
    """The new name; with ``regexp``, ``$1`` and ``${name}`` are groups of the pattern (in a file
    ``$$1``). Needed to ``insert`` and ``combine``."""
    group_resource_labels: dict[str, str] = Field(default_factory=dict)
    """Attributes of the resource that ``group`` moves metrics to."""
    aggregation_type: str = ""
    """How ``combine`` aggregates points that are the same; nothing: not at all."""
    submatch_case: str = ""
    """``lower`` or ``upper``: the case of labels that ``combine`` takes from names."""
    operations: tuple[OperationConfig, ...] = ()
    """Changes of the points, in order."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`. The words are the Collector's."""
        if not self.include:
            yield Finding(("include",), 'missing required field "include"')
        if self.match_type not in MATCH_TYPES:
            yield Finding(("match_type",), _must_be_in("match_type", MATCH_TYPES))
        if self.action not in ACTIONS:
            yield Finding(("action",), _must_be_in("action", ACTIONS))
        if self.action in {"insert", "combine"} and not self.new_name:
            message = f'missing required field "new_name" while "action" is {self.action}'
            yield Finding(("new_name",), message)
        if self.action == "group" and not self.group_resource_labels:
            message = 'missing required field "group_resource_labels" while "action" is group'
            yield Finding(("group_resource_labels",), message)
        if self.aggregation_type and self.aggregation_type not in AGGREGATIONS:
            yield Finding(("aggregation_type",), _must_be_in("aggregation_type", AGGREGATIONS))
        if self.submatch_case and self.submatch_case not in CASES:
            yield Finding(("submatch_case",), _must_be_in("submatch_case", CASES))
        yield from self._bad_patterns()
        for index, operation in enumerate(self.operations):
            problem = operation.problem()
            if problem is not None:
                key, message = problem
                yield Finding(("operations", index, key), f"operation {index + 1}: {message}")

    def _bad_patterns(self) -> Iterable[Finding]:
        if self.match_type != "regexp":
            return
        patterns: list[tuple[Path, str]] = [(("include",), self.include)]
        for label, pattern in self.experimental_match_labels.items():
            patterns.append((("experimental_match_labels", label), pattern))
        for path, pattern in patterns:
            try:
                compile_pattern(pattern)
            except ValueError as error:
                yield Finding(path, f"no regular expression: {error}")

    @property
    def needs_points(self) -> bool:
        """Whether more of a metric has to be opened than its name."""
        return bool(
            self.operations or self.experimental_match_labels or self.action in {"combine", "group"}
        )


class Config(ComponentConfig):
    """Changes of metrics, one after the other, for every resource and scope of a request."""

    transforms: tuple[TransformConfig, ...] = ()
    """The changes, in order."""


def with_version(text: str) -> bytes:
    """A text of the configuration with the collector's version filled in."""
    return text.replace("{{version}}", VERSION).encode()
