"""What changing attributes costs: `python -m benchmarks.micro_attributes`.

``resource``: microseconds a request, whatever its size. ``attributes``: nanoseconds an item. "new
key" is on no item, so items stay closed; "known key" is on every item, so all are opened, or found
in memory. "open view" is the plain way, a fully opened view, for comparison. The CPU time of the
best of many runs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.micro_pdata import best_ns
from mlsysops_pipeline.attribute_config import ActionConfig
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, serialize
from mlsysops_pipeline.testing import make_settings, make_wire
from mlsysops_processors.attributes import AttributesProcessor
from mlsysops_processors.attributes import Config as AttributesConfig
from mlsysops_processors.resource import Config as ResourceConfig
from mlsysops_processors.resource import ResourceProcessor

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Settings

_ITEMS = 1_000
_ACTIONS: dict[str, dict[str, Any]] = {
    "insert new key": {"key": "env", "action": "insert", "value": "prod"},
    "upsert known key": {"key": "key.3", "action": "upsert", "value": "x"},
    "delete known key": {"key": "key.3", "action": "delete"},
    "delete by pattern": {"pattern": "^key.3$", "action": "delete"},
    "hash known key": {"key": "key.3", "action": "hash"},
    "delete absent key": {"key": "absent", "action": "delete"},
}
_SHAPES = (
    ("metrics 10", Signal.METRICS, 10),
    ("metrics 1", Signal.METRICS, 1),
    ("logs", Signal.LOGS, 10),
    ("traces", Signal.TRACES, 10),
)


def _settings() -> Settings:
    return make_settings("benchmark")


def _payload(signal: Signal, items: int, points_per_metric: int) -> Payload:
    wire = make_wire(signal, items, points_per_metric=points_per_metric)
    return Payload(signal, wire, items=items)


def _plainly(wire: bytes) -> bytes:
    """Insert an attribute on every gauge point with everything open."""
    request = parse(Signal.METRICS, Depth.ATTRIBUTES, wire)
    for group in request.resource_metrics:
        for scoped in group.scope_metrics:
            for metric in scoped.metrics:
                for point in metric.gauge.data_points:
                    pair = point.attributes.add()
                    pair.key = b"env"
                    pair.value.string_value = b"prod"
    return serialize(request)


def measure_resource() -> None:
    """Print what the resource processor takes."""
    level = ActionConfig(key="mlsysops.levels", action="append", value="node")
    processor = ResourceProcessor(ResourceConfig(attributes=(level,)), _settings())
    for items in (1, 100, 1_000, 10_000):
        payload = _payload(Signal.METRICS, items, 10)
        took_us = best_ns(partial(processor.process, payload)) / 1_000
        print(f"resource append, {items:>6} points, {payload.size:>8} bytes {took_us:8.1f} us")


def measure_attributes() -> None:
    """Print what the attributes processor takes for each action and shape of request."""
    names = [name for name, _, _ in _SHAPES]
    print(f"{'attributes, ns an item':24}" + "".join(f"{name:>12}" for name in names))
    for name, action in _ACTIONS.items():
        row = f"{name:24}"
        for _, signal, points_per_metric in _SHAPES:
            config = AttributesConfig(actions=(ActionConfig(**action),))
            processor = AttributesProcessor(config, _settings())
            payload = _payload(signal, _ITEMS, points_per_metric)
            row += f"{best_ns(partial(processor.process, payload)) / _ITEMS:12.0f}"
        print(row)
    row = f"{'insert, open view':24}"
    for points_per_metric in (10, 1):
        wire = _payload(Signal.METRICS, _ITEMS, points_per_metric).joined()
        row += f"{best_ns(partial(_plainly, wire)) / _ITEMS:12.0f}"
    print(row)


if __name__ == "__main__":
    measure_resource()
    measure_attributes()
