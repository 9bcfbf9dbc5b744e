"""Who is to blame when there are too many series. Pure."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from mlsysops_exporters.prometheus.wording import label_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_exporters.prometheus.store import Group

_GROUPS_MAX = 20_000
_SERIES_MAX = 1_000
"""How many are looked at, so that it takes a few milliseconds: enough to see what differs."""


def culprit(groups: Mapping[str, Group]) -> str:
    """What makes most series, in words: a label of the largest metric, or the metrics' names."""
    largest = max(
        islice(groups.values(), _GROUPS_MAX), key=lambda group: len(group.members), default=None
    )
    if largest is None:
        return "a series is larger than all that may be kept"
    if len(groups) > len(largest.members):
        return f"there are {len(groups)} metric names, for example {largest.name}"
    values: dict[str, set[str]] = {}
    newest = list(islice(reversed(largest.members), _SERIES_MAX))
    for text in newest:
        for name, value in label_names(text):
            values.setdefault(name, set()).add(value)
    if not values:
        return f"most are of the metric {largest.name}"
    name = max(values, key=lambda label: len(values[label]))
    return (
        f"the label {name} of {largest.name} has {len(values[name])} values "
        f"in its {len(newest)} newest series (of {len(largest.members)})"
    )
