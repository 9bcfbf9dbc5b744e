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


class Place:
    """Where a metric stands. Keys are made on demand: most metrics need none.

    ``group`` is its ``ResourceMetrics``, ``block`` its ``ScopeMetrics``.
    """

    __slots__ = ("_identities", "_resource", "_scope", "block", "group", "kind", "message")

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._resource: int | None = None
        self._scope: int | None = None
        self.group: Any = None
        self.block: Any = None
        self.message: Any = None
        self.kind = ""

    def enter_group(self, group: Any) -> None:
        """Go on to another resource."""
        self.group = group
        self._resource = None

    def enter_block(self, block: Any) -> None:
        """Go on to another scope."""
        self.block = block
        self._scope = None

    def resource(self) -> int:
        """The key of the resource. Raises `MalformedError`, as the others do."""
        if self._resource is None:
            self._resource = self._identities.group(self.group)
        return self._resource

    def scope(self) -> int:
        """The key of the scope."""
        if self._scope is None:
            self._scope = self._identities.scope(self.resource(), self.block)
        return self._scope

    def metric(self) -> int:
        """The key of the metric."""
        return self._identities.metric(self.scope(), self.message, self.kind)


def rewrite(
    wire: bytes, identities: Identities, change: Callable[[Any, str, Place], Outcome]
) -> bytes:
    """A request with its metrics changed; ``wire`` itself if none was.

    ``change`` gets a metric, the name of its ``data`` and its place. Scopes and resources that are
    emptied go with their metrics. Raises `MalformedError`.
    """
    request = parse(Signal.METRICS, Depth.POINT, wire)
    place = Place(identities)
    has_changed = False
    empty_groups = []
    for group_index, group in enumerate(request.resource_metrics):
        place.enter_group(group)
        empty_blocks = []
        for block_index, block in enumerate(group.scope_metrics):
            place.enter_block(block)
            changed, gone = _change_block(block, place, change)
            has_changed = has_changed or changed
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


def _change_block(
    block: Any, place: Place, change: Callable[[Any, str, Place], Outcome]
) -> tuple[bool, list[int]]:
    """Whether a scope's metrics were changed, and which are to go."""
    has_changed = False
    gone = []
    for index, metric in enumerate(block.metrics):
        kind = metric.WhichOneof("data")
        if kind is not None:
            place.message, place.kind = metric, kind
            changed, stays = change(metric, kind, place)
            has_changed = has_changed or changed
            if not stays:
                gone.append(index)
    return has_changed, gone


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
