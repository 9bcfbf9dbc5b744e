"""What the processors of metric streams cost: `python -m benchmarks.micro_streams`.

Nanoseconds of CPU a point, the best of several requests of 2,000 points with four attributes each,
ten points a metric. The streams are known after the first request, as they are in the long run.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import Sink, make_settings
from mlsysops_processors import (
    cumulative_to_delta,
    delta_to_cumulative,
    deltatorate,
    interval,
    metrics_transform,
)

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Factory

METRICS, POINTS, ROUNDS = 200, 10, 12
_T0 = 1_800_000_000
_DELTA, _CUMULATIVE = 1, 2


def wire(at: int, temporality: int) -> bytes:
    """The request of one moment."""
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    for number in range(METRICS):
        metric = scope.metrics.add(name=f"m{number}")
        metric.sum.aggregation_temporality = temporality  # type: ignore[assignment]  # a number
        metric.sum.is_monotonic = True
        for stream in range(POINTS):
            point = metric.sum.data_points.add(as_double=at * 10.0 + stream)
            start = at - 1 if temporality == _DELTA else 0
            point.start_time_unix_nano = (_T0 + start) * 1_000_000_000
            point.time_unix_nano = (_T0 + at) * 1_000_000_000
            for key in ("host", "zone", "service"):
                point.attributes.add(key=key).value.string_value = f"{key}-one"
            point.attributes.add(key="stream").value.string_value = str(stream)
    return bytes(request.SerializeToString())


async def measure(factory: Factory, config: dict[str, Any], temporality: int) -> float:
    """Nanoseconds a point."""
    settings = make_settings(factory.type, signals=factory.signals)
    made = factory.create(parse_config(factory.config, config), settings, Sink())
    best = float("inf")
    for at in range(1, ROUNDS):
        payload = Payload(Signal.METRICS, wire(at, temporality))
        begun = time.thread_time_ns()
        if hasattr(made, "consume"):
            await made.consume(payload)
        else:
            made.process(payload)
        if at > 1:
            best = min(best, time.thread_time_ns() - begun)
    return best / (METRICS * POINTS)


def _update(operation: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    operations = [operation] if operation else []
    transform = {"include": "^m(.*)$", "match_type": "regexp", "action": "update"}
    return {"transforms": [{**transform, "operations": operations, **more}]}


def main() -> None:
    """Print one row for each processor."""
    transform = metrics_transform.FACTORY
    add = {"action": "add_label", "new_label": "a", "new_value": "b"}
    merge = {"action": "aggregate_labels", "label_set": ["host"], "aggregation_type": "sum"}
    names = [f"m{number}" for number in range(METRICS)]
    for name, factory, config, temporality in (
        ("cumulative_to_delta", cumulative_to_delta.FACTORY, {}, _CUMULATIVE),
        ("delta_to_cumulative", delta_to_cumulative.FACTORY, {}, _DELTA),
        ("interval, newest", interval.FACTORY, {}, _CUMULATIVE),
        ("interval, totals of deltas", interval.FACTORY, {}, _DELTA),
        ("deltatorate", deltatorate.FACTORY, {"metrics": names}, _DELTA),
        ("metrics_transform, rename", transform, _update(new_name="n$1"), _CUMULATIVE),
        ("metrics_transform, add_label", transform, _update(add), _CUMULATIVE),
        ("metrics_transform, aggregate", transform, _update(merge), _CUMULATIVE),
    ):
        cost = asyncio.run(measure(factory, config, temporality))
        print(f"{name:32} {cost:8.0f} ns a point")


if __name__ == "__main__":
    main()
