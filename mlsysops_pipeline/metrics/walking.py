"""Going through the points of a request that is opened to `Depth.POINT`, and taking some out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, serialize

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.metrics.identity import Identities

CUMULATIVE, DELTA = 2, 1
"""`AggregationTemporality` of OTLP."""
NO_VALUE = 1
"""The flag of a point that says that its stream has ended, or has no value now."""
NUMBERS = frozenset({"gauge", "sum"})

Outcome = tuple[bool, bool]
"""Whether a metric was changed, and whether it stays."""
UNTOUCHED: Outcome = (False, True)


def rewrite(
    wire: bytes,
    identities: Identities,
    change: Callable[[Any, str, Callable[[], int]], Outcome],
) -> bytes:
    """A request with its metrics changed; ``wire`` itself if none was.

    ``change`` gets a metric, the name of its ``data`` and what gives its key. Scopes and resources
    that are emptied go with their metrics. Raises `MalformedError`.
    """
    request = parse(Signal.METRICS, Depth.POINT, wire)
    has_changed = False
    empty_groups = []
    for group_index, group in enumerate(request.resource_metrics):
        resource: int | None = None
        empty_blocks = []
        for block_index, block in enumerate(group.scope_metrics):
            scope: int | None = None
            gone = []
            for index, metric in enumerate(block.metrics):
                kind = metric.WhichOneof("data")
                if kind is None:
                    continue

                def key(group: Any = group, block: Any = block, metric: Any = metric) -> int:
                    nonlocal resource, scope
                    if resource is None:
                        resource = identities.group(group)
                    if scope is None:
                        scope = identities.scope(resource, block)
                    return identities.metric(scope, metric, metric.WhichOneof("data"))

                changed, stays = change(metric, kind, key)
                has_changed = has_changed or changed or not stays
                if not stays:
                    gone.append(index)
            if gone:
                remove(block.metrics, gone)
                if not block.metrics:
                    empty_blocks.append(block_index)
        if empty_blocks:
            remove(group.scope_metrics, empty_blocks)
            if not group.scope_metrics:
                empty_groups.append(group_index)
    if empty_groups:
        remove(request.resource_metrics, empty_groups)
    return serialize(request) if has_changed else wire


def remove(messages: Any, indexes: list[int]) -> None:
    """Take messages out of a repeated field; ``indexes`` ascend."""
    if len(indexes) == len(messages):
        del messages[:]
        return
    if len(indexes) == 1:
        del messages[indexes[0]]
        return
    gone = set(indexes)
    kept = [message for index, message in enumerate(messages) if index not in gone]
    del messages[:]
    messages.extend(kept)
