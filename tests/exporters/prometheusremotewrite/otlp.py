"""Short ways to write OTLP metrics requests, by the official classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NOW_MS = 1_700_000_000_000
"""What a `JumpClock` says at first."""
CUMULATIVE, DELTA = 2, 1
NO_RECORDED_VALUE = 1


def attributes(target: Any, values: Mapping[str, object]) -> None:
    for key, value in values.items():
        found = target.add(key=key).value
        if isinstance(value, bool):
            found.bool_value = value
        elif isinstance(value, int):
            found.int_value = value
        elif isinstance(value, float):
            found.double_value = value
        else:
            found.string_value = str(value)


def _put(point: Any, value: object, time_ms: int, labels: Mapping[str, object]) -> Any:
    point.time_unix_nano = time_ms * 1_000_000
    if value is None:
        point.flags = NO_RECORDED_VALUE
    elif isinstance(value, int):
        point.as_int = value
    else:
        point.as_double = value
    attributes(point.attributes, labels)
    return point


def gauge(
    name: str,
    *points: tuple[object, int] | tuple[object, int, Mapping[str, object]],
    unit: str = "",
    description: str = "",
) -> Any:
    """A gauge of ``(value, time_ms[, labels])``; a value of `None` ends the series."""
    metric = Metric(name=name, unit=unit, description=description)
    metric.gauge.SetInParent()
    for value, time_ms, *labels in points:
        _put(metric.gauge.data_points.add(), value, time_ms, dict(*labels))
    return metric


def counter(
    name: str,
    *points: tuple[object, int] | tuple[object, int, Mapping[str, object]],
    temporality: int = CUMULATIVE,
    unit: str = "",
    description: str = "",
) -> Any:
    metric = Metric(name=name, unit=unit, description=description)
    metric.sum.aggregation_temporality = temporality  # type: ignore[assignment]  # an enum
    metric.sum.is_monotonic = True
    for value, time_ms, *labels in points:
        _put(metric.sum.data_points.add(), value, time_ms, dict(*labels))
    return metric


def histogram(
    name: str,
    time_ms: int,
    bounds: Iterable[float] = (1.0, 2.5),
    counts: Iterable[int] = (1, 2, 3),
    *,
    sum_: float | None = 10.0,
    is_stale: bool = False,
    labels: Mapping[str, object] | None = None,
    unit: str = "",
    description: str = "",
) -> Any:
    metric = Metric(name=name, unit=unit, description=description)
    metric.histogram.aggregation_temporality = CUMULATIVE  # type: ignore[assignment]  # an enum
    point = metric.histogram.data_points.add(time_unix_nano=time_ms * 1_000_000)
    if is_stale:
        point.flags = NO_RECORDED_VALUE
    else:
        point.explicit_bounds.extend(bounds)
        point.bucket_counts.extend(counts)
        point.count = sum(point.bucket_counts)
        if sum_ is not None:
            point.sum = sum_
    attributes(point.attributes, labels or {})
    return metric


def exponential(name: str, time_ms: int, *, is_stale: bool = False) -> Any:
    metric = Metric(name=name)
    data = metric.exponential_histogram
    data.aggregation_temporality = CUMULATIVE  # type: ignore[assignment]  # an enum
    point = data.data_points.add(time_unix_nano=time_ms * 1_000_000, scale=2, zero_count=1)
    if is_stale:
        point.flags = NO_RECORDED_VALUE
        return metric
    point.sum = 12.5
    point.positive.offset = -1
    point.positive.bucket_counts.extend((2, 0, 0, 0, 5))
    point.negative.offset = 3
    point.negative.bucket_counts.extend((1,))
    point.count = 9
    return metric


def summary(name: str, time_ms: int, *, is_stale: bool = False) -> Any:
    metric = Metric(name=name)
    point = metric.summary.data_points.add(time_unix_nano=time_ms * 1_000_000)
    if is_stale:
        point.flags = NO_RECORDED_VALUE
        return metric
    point.count, point.sum = 4, 8.5
    for quantile, value in ((0.5, 1.0), (0.99, 3.5)):
        point.quantile_values.add(quantile=quantile, value=value)
    return metric


def wire(*metrics: Any, resource: Mapping[str, object] | None = None, scope: str = "") -> bytes:
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    attributes(group.resource.attributes, resource or {})
    scoped = group.scope_metrics.add()
    scoped.scope.name = scope
    scoped.metrics.extend(metrics)
    return bytes(request.SerializeToString())


def payload(
    *metrics: Any, resource: Mapping[str, object] | None = None, scope: str = ""
) -> Payload:
    """A payload of one request with these metrics."""
    return Payload(Signal.METRICS, wire(*metrics, resource=resource, scope=scope))
