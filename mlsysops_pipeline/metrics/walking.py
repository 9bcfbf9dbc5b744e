"""Going through the metrics of a request, each as closed as can be, and changing some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.metrics.closed import head
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, serialize, view

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.metrics.closed import Head
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


Change: TypeAlias = "Callable[[Any, str, Place], Outcome]"
"""Changes an opened metric; it gets the name of its ``data`` and its place."""
ChangeClosed: TypeAlias = "Callable[[bytes, Head, Place], bytes | None]"
"""Changes the bytes of a metric: to others, to the same object, or to nothing if the metric
goes. Raises `OpenItError`, before it has changed anything, where bytes do not tell enough."""


class OpenItError(Exception):
    """A metric has to be opened, although its head could be read."""


def rewrite(wire: bytes, identities: Identities, change: Change, closed: ChangeClosed) -> bytes:
    """A request with its metrics changed; ``wire`` itself if none was.

    ``closed`` gets the metrics whose `closed.head` can be read, ``change`` all others.
    Scopes and resources that are emptied go with their metrics. Raises `MalformedError`.
    """
    request = parse(Signal.METRICS, Depth.SCOPE, wire)
    place = Place(identities)
    has_changed = False
    empty_groups = []
    for group_index, group in enumerate(request.resource_metrics):
        place.enter_group(group)
        empty_blocks = []
        for block_index, block in enumerate(group.scope_metrics):
            place.enter_block(block)
            metrics = block.metrics[:]
            changed = _changed(metrics, place, change, closed)
            if changed is not None:
                has_changed = True
                del block.metrics[:]
                block.metrics.extend(changed)
                if not changed:
                    empty_blocks.append(block_index)
        if empty_blocks:
            remove(group.scope_metrics, empty_blocks)
            if not group.scope_metrics:
                empty_groups.append(group_index)
    if empty_groups:
        remove(request.resource_metrics, empty_groups)
    return serialize(request) if has_changed else wire


def _changed(
    metrics: list[bytes], place: Place, change: Change, closed: ChangeClosed
) -> list[bytes] | None:
    """The metrics of a scope after the change; nothing if none was changed."""
    results = []
    has_changed = False
    for metric in metrics:
        found = head(metric)
        if found is None:
            result = _opened(metric, place, change)
        else:
            try:
                result = closed(metric, found, place)
            except OpenItError:
                result = _opened(metric, place, change)
        if result is not None:
            results.append(result)
        if result is not metric:
            has_changed = True
    return results if has_changed else None


def _opened(metric: bytes, place: Place, change: Change) -> bytes | None:
    try:
        message: Any = view(Signal.METRICS, Depth.POINT, "Metric").FromString(metric)
    except DecodeError as error:
        raise MalformedError(f"no protobuf metric: {error}") from error
    kind = message.WhichOneof("data")
    if kind is None:
        return metric
    place.message, place.kind = message, kind
    has_changed, stays = change(message, kind, place)
    if not stays:
        return None
    return serialize(message) if has_changed else metric


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
