"""Renames, copies, combines and groups metrics, and changes the labels of their points (C5).

Transforms run in order, for each resource and scope of a request, never across them. Requests in
which no metric is meant are handed on as they are, and where names are all that counts, points stay
closed.

Where it does otherwise than the Collector: ``combine`` and ``group`` leave points that
``experimental_match_labels`` does not mean where they are, instead of losing them; points without a
recorded value are aggregated into nothing (DM-10); numbers that are not finite stay doubles; a
negative scale turns the buckets of histograms round.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.component import Factory, Kind, Settings, Stability
from mlsysops_pipeline.delivery.causes import CauseLog
from mlsysops_pipeline.errors import DropReason
from mlsysops_pipeline.metrics.walking import remove
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, serialize
from mlsysops_processors.metrics_transform.config import Config
from mlsysops_processors.metrics_transform.operations import Gone
from mlsysops_processors.metrics_transform.transforms import Transform

if TYPE_CHECKING:
    from mlsysops_pipeline.pdata.payload import Payload

_OPEN_FACTOR = 3
_DELETED = "delete_label_value"


class MetricsTransform:
    """Implements `Processor`."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._settings = settings
        causes = CauseLog(settings.logger, settings.clock)
        self._transforms = [
            Transform(transform, partial(causes.say, index, logging.WARNING))
            for index, transform in enumerate(config.transforms)
        ]
        needs_points = any(transform.needs_points for transform in config.transforms)
        self._depth = Depth.FULL if needs_points else Depth.RECORD
        self._has_groups = any(transform.is_group for transform in self._transforms)

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing to release."""

    def process(self, payload: Payload) -> Payload | None:
        """Run every transform. Raises `MalformedError`."""
        gone = Gone()
        with self._settings.memory.held(_OPEN_FACTOR * payload.size):
            wires = tuple([self._transform(wire, gone) for wire in payload.wires])
        if all(new is old for new, old in zip(wires, payload.wires, strict=True)):
            return payload
        result = payload.with_wires(wires)
        ledger = self._settings.pipeline_ledger
        ledger.created += gone.created
        ledger.aggregated += gone.aggregated
        if gone.deleted:
            ledger.filter(_DELETED, gone.deleted)
        lost = payload.items + gone.created - gone.aggregated - gone.deleted - result.items
        if lost:  # of several members of a oneof, protobuf knows only the last
            ledger.drop(DropReason.MALFORMED, lost)
        return result if any(wires) else None

    def _transform(self, wire: bytes, gone: Gone) -> bytes:
        """A request after all transforms; ``wire`` itself if no metric was meant."""
        if not self._has_groups and not any(
            transform.matcher.is_in(wire) for transform in self._transforms
        ):
            return wire
        request = parse(Signal.METRICS, self._depth, wire)
        has_changed = False
        empty_groups = []
        for index, group in enumerate(list(request.resource_metrics)):
            empty_blocks = []
            for block_index, block in enumerate(group.scope_metrics):
                had_metrics = bool(block.metrics)
                has_changed = self._run(request, group, block, gone) or has_changed
                if had_metrics and not block.metrics:
                    empty_blocks.append(block_index)
            if empty_blocks:
                remove(group.scope_metrics, empty_blocks)
                if not group.scope_metrics:
                    empty_groups.append(index)
        if empty_groups:
            remove(request.resource_metrics, empty_groups)
        return serialize(request) if has_changed else wire

    def _run(self, request: Any, group: Any, block: Any, gone: Gone) -> bool:
        has_changed = False
        for transform in self._transforms:
            if transform.is_group:
                transform.group(group, block, request)
                has_changed = True
            elif transform.run(block, gone):
                has_changed = True
        return has_changed

    def __repr__(self) -> str:
        return f"<MetricsTransform {self._settings.id} transforms={len(self._transforms)}>"


def _create(config: Config, settings: Settings, next_: None) -> MetricsTransform:  # noqa: ARG001
    return MetricsTransform(config, settings)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="metrics_transform",
    config=Config,
    create=_create,
    signals=frozenset({Signal.METRICS}),
    stability=Stability.BETA,
    aliases=("metricstransform",),
)
