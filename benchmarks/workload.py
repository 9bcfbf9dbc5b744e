"""The requests that are sent: precomputed, varied, realistic, never one payload repeated.

A metric point has four attributes and takes about 143 bytes, as in the design's measurements.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from mlsysops_pipeline.pdata.signal import Signal

_DELTA: Any = 1
_CUMULATIVE: Any = 2
_START_NS = 1_750_000_000_000_000_000
_DISTINCT_MIN, _DISTINCT_MAX = 24, 1000
_DISTINCT_ITEMS = 24_000

TIME_MARK = b"\x01TIMENS\x01"
"""Stands for the time of every point of a steady workload, until a request is sent."""


def stamped(request: bytes) -> bytes:
    """A request of a steady workload with the time that it is now."""
    return request.replace(TIME_MARK, time.time_ns().to_bytes(8, "little"))


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of traffic: ``items`` in each request, metrics with ``points`` points each.

    ``steady``: every request has series of its own, the same whenever it is sent again, and
    `TIME_MARK` where the time belongs. (Metrics only.) What keeps an order needs that.
    """

    signal: Signal
    items: int
    points: int = 10
    steady: bool = False
    distinct: int = 0
    """How many different requests there are; zero: as many as are worth it."""
    delta: bool = False
    """Whether sums are deltas. (Metrics only.)"""

    @property
    def name(self) -> str:
        """The name in tables and results."""
        detail = f" x{self.points}" if self.signal is Signal.METRICS else ""
        series = f" {self.distinct * self.items} series" if self.distinct else ""
        return f"{self.signal}{detail} {self.items}{series}"

    def requests(self) -> list[bytes]:
        """Different serialized requests, the same ones every time: more of them if small."""
        count = min(_DISTINCT_MAX, max(_DISTINCT_MIN, _DISTINCT_ITEMS // self.items))
        return [self.request(seed) for seed in range(self.distinct or count)]

    def request(self, seed: int) -> bytes:
        """One of them."""
        source = random.Random(seed)  # noqa: S311
        if self.steady:
            return self._steady(source)
        make = {
            Signal.METRICS: self._metrics,
            Signal.LOGS: self._logs,
            Signal.TRACES: self._traces,
        }[self.signal]
        return make(source)

    def _metrics(self, source: random.Random) -> bytes:
        request = metrics_service_pb2.ExportMetricsServiceRequest()
        group = request.resource_metrics.add()
        _resource(group.resource, source)
        scope = group.scope_metrics.add()
        scope.scope.name = "bench.instrumentation"
        for index in range(self.items):
            if index % self.points == 0:
                metric = scope.metrics.add(name=f"app.metric.{index // self.points}", unit="s")
                metric.sum.aggregation_temporality = _DELTA if self.delta else _CUMULATIVE
                metric.sum.is_monotonic = True
            point = metric.sum.data_points.add(
                start_time_unix_nano=_START_NS,
                time_unix_nano=_START_NS + source.randrange(10**12),
                as_double=source.random() * 1e6,
            )
            _attributes(point.attributes, source)
        return bytes(request.SerializeToString())

    def _steady(self, source: random.Random) -> bytes:
        """The same metrics, with a label that tells all points of a metric apart."""
        request = metrics_service_pb2.ExportMetricsServiceRequest.FromString(self._metrics(source))
        for metric in request.resource_metrics[0].scope_metrics[0].metrics:
            for index, point in enumerate(metric.sum.data_points):
                point.time_unix_nano = int.from_bytes(TIME_MARK, "little")
                point.attributes[-1].value.string_value = f"{index:03d}"
        return bytes(request.SerializeToString())

    def _logs(self, source: random.Random) -> bytes:
        request = logs_service_pb2.ExportLogsServiceRequest()
        group = request.resource_logs.add()
        _resource(group.resource, source)
        scope = group.scope_logs.add()
        for _ in range(self.items):
            record = scope.log_records.add(
                time_unix_nano=_START_NS + source.randrange(10**12),
                severity_number=9,
                severity_text="INFO",
            )
            record.body.string_value = f"request {source.randrange(10**9)} done in some time"
            _attributes(record.attributes, source)
        return bytes(request.SerializeToString())

    def _traces(self, source: random.Random) -> bytes:
        request = trace_service_pb2.ExportTraceServiceRequest()
        group = request.resource_spans.add()
        _resource(group.resource, source)
        scope = group.scope_spans.add()
        for _ in range(self.items):
            start = _START_NS + source.randrange(10**12)
            span = scope.spans.add(
                trace_id=source.randbytes(16),
                span_id=source.randbytes(8),
                parent_span_id=source.randbytes(8),
                name="GET /api/items",
                kind=2,
                start_time_unix_nano=start,
                end_time_unix_nano=start + source.randrange(10**8),
            )
            _attributes(span.attributes, source)
        return bytes(request.SerializeToString())


def _resource(resource: object, source: random.Random) -> None:
    for key, value in (
        ("service.name", f"service-{source.randrange(50)}"),
        ("service.instance.id", f"{source.randrange(16**8):08x}"),
        ("host.name", f"node-{source.randrange(20)}"),
        ("deployment.environment", "production"),
    ):
        resource.attributes.add(key=key).value.string_value = value  # type: ignore[attr-defined]


def _attributes(attributes: object, source: random.Random) -> None:
    for key, value in (
        ("http.method", source.choice(("GET", "POST", "PUT"))),
        ("http.route", f"/api/{source.randrange(100)}"),
        ("status", str(source.choice((200, 404, 500)))),
        ("shard", f"{source.randrange(1000):03d}"),
    ):
        attributes.add(key=key).value.string_value = value  # type: ignore[attr-defined]
