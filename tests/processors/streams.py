"""Requests with metrics, and running the processors that keep something of their streams."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import JumpClock, Sink, make_settings

CUMULATIVE, DELTA = 2, 1
KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
"""Every type of metric, as its field is called."""
S = 1_000_000_000
T0 = 1_700_000_000 * S
"""What a `JumpClock` begins with."""


class Running:
    """A processor between a test and a sink. ``points()`` is what came out last."""

    def __init__(self, factory: Any, config: dict[str, Any] | None = None) -> None:
        self.clock = JumpClock()
        self.sink = Sink()
        self.settings = make_settings(factory.type, clock=self.clock, signals=factory.signals)
        self.ledger = self.settings.pipeline_ledger
        self.processor = factory.create(
            parse_config(factory.config, config or {}), self.settings, self.sink
        )

    async def give(self, *metrics: dict[str, Any], resource: dict[str, str] | None = None) -> Any:
        """Give a request with these metrics; the metrics that come out at once."""
        return await self.give_wire(request(*metrics, resource=resource))

    async def give_wire(self, wire: bytes) -> Any:
        """The same with any request."""
        before = len(self.sink.payloads)
        payload = Payload(Signal.METRICS, wire)
        await self.processor.consume(payload)
        self.ledger.received += payload.items
        return self.metrics(before)

    def metrics(self, first: int = 0) -> list[Any]:
        """The metrics of all payloads from ``first`` on."""
        self.ledger.handed_on = self.sink.items
        return [
            metric
            for payload in self.sink.payloads[first:]
            for group in ExportMetricsServiceRequest.FromString(payload.joined()).resource_metrics
            for block in group.scope_metrics
            for metric in block.metrics
        ]


def request(*metrics: dict[str, Any], resource: dict[str, str] | None = None) -> bytes:
    """A request with one resource and one scope."""
    made = ExportMetricsServiceRequest()
    group = made.resource_metrics.add()
    for key, value in (resource or {"service.name": "a"}).items():
        group.resource.attributes.add(key=key).value.string_value = value
    block = group.scope_metrics.add()
    block.scope.name = "scope"
    for metric in metrics:
        _fill(block.metrics.add(), metric)
    return bytes(made.SerializeToString())


def _fill(metric: Any, spec: dict[str, Any]) -> None:
    metric.name = spec.get("name", "m")
    metric.unit = spec.get("unit", "")
    kind = spec.get("kind", "sum")
    data = getattr(metric, kind)
    data.SetInParent()
    if kind in {"sum", "histogram", "exponential_histogram"}:
        data.aggregation_temporality = spec.get("temporality", CUMULATIVE)
    if kind == "sum":
        data.is_monotonic = spec.get("monotonic", True)
    for values in spec.get("points", ()):
        point = data.data_points.add()
        for key, value in values.items():
            _set(point, key, value)


def _set(point: Any, key: str, value: Any) -> None:
    if key == "attributes":
        for name, text in value.items():
            point.attributes.add(key=name).value.string_value = text
    elif key == "value":
        setattr(point, "as_int" if isinstance(value, int) else "as_double", value)
    elif key == "start":
        point.start_time_unix_nano = T0 + int(value * S)
    elif key == "time":
        point.time_unix_nano = T0 + int(value * S)
    elif key in {"positive", "negative"}:
        buckets = getattr(point, key)
        buckets.offset, counts = value
        buckets.bucket_counts.extend(counts)
    elif isinstance(value, list):
        getattr(point, key).extend(value)
    else:
        setattr(point, key, value)


def number(value: float, time: float, start: float = 1, **more: Any) -> dict[str, Any]:
    """A number point; times are seconds after `T0`."""
    return {"value": value, "time": time, "start": start, **more}


def seconds(time_ns: int) -> float:
    """The reverse of how times are given."""
    return (time_ns - T0) / S
