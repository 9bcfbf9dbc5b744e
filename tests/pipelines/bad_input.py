"""Requests that are sound protobuf and odd telemetry, each with a name; and what a good one is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.pdata.signal import Signal
from tests.core.pdata.wires import OFFICIAL
from tests.processors.streams import KINDS, T0, S, request

if TYPE_CHECKING:
    from collections.abc import Callable

NAN, INF = float("nan"), float("inf")
NUMBERS = (NAN, INF, -INF, -0.0, 5e-324, 1.7976931348623157e308, (1 << 63) - 1, -(1 << 63))
_MAX = (1 << 64) - 1


def odd_attributes(attributes: Any) -> None:
    """Attributes of every type that nobody expects: empty, repeated, nested, long."""
    attributes.add()
    attributes.add(key="tenant")
    attributes.add(key="tenant").value.int_value = 7
    attributes.add(key="size").value.double_value = NAN
    attributes.add(key="size").value.kvlist_value.values.add().value.bytes_value = b"\xff"
    attributes.add(key="x" * 3_000).value.bool_value = True
    value = attributes.add(key="le").value
    for _ in range(20):
        value = value.array_value.values.add()
    value.string_value = "deep"


def labelled(signal: Signal) -> bytes:
    """Odd attributes wherever there are attributes."""
    made = OFFICIAL[signal]()
    if signal is Signal.METRICS:
        made.ParseFromString(
            request(*({"name": "m", "kind": kind, "points": [{"time": 1}]} for kind in KINDS))
        )
        group = made.resource_metrics[0]
        scope = group.scope_metrics[0]
        for metric in scope.metrics:
            odd_attributes(metric.metadata)
            odd_attributes(getattr(metric, metric.WhichOneof("data")).data_points[0].attributes)
    elif signal is Signal.LOGS:
        group = made.resource_logs.add()
        scope = group.scope_logs.add()
        record = scope.log_records.add(severity_number=99, trace_id=b"short", flags=_MAX >> 32)
        odd_attributes(record.attributes)
        odd_attributes(record.body.kvlist_value.values)
    else:
        group = made.resource_spans.add()
        scope = group.scope_spans.add()
        span = scope.spans.add(
            trace_id=b"t" * 40, span_id=b"s", kind=77, trace_state="ot=rv:zz;th:8,=,"
        )
        odd_attributes(span.attributes)
        odd_attributes(span.events.add().attributes)
        odd_attributes(span.links.add(trace_state="ot=" * 300).attributes)
    odd_attributes(group.resource.attributes)
    odd_attributes(scope.scope.attributes)
    return bytes(made.SerializeToString())


def _numbers() -> bytes:
    return request(
        *(
            {"name": "m", "kind": kind, "temporality": temporality, "points": points}
            for kind in ("gauge", "sum")
            for temporality in (1, 2, 0, 99)
            for points in [
                [{"value": value, "time": at, "start": 0.5} for at, value in enumerate(NUMBERS, 1)]
            ]
        )
    )


def _type_changes() -> bytes:
    return request(
        *(
            {
                "name": "m",
                "kind": kind,
                "unit": unit,
                "temporality": temporality,
                "monotonic": temporality == 1,
                "points": [{"time": at, "start": 1}],
            }
            for at, kind in enumerate((*KINDS, *reversed(KINDS)), 2)
            for unit in ("", "s")
            for temporality in (1, 2)
        )
    )


def _histograms() -> bytes:
    shapes: list[dict[str, Any]] = [
        {"count": 5, "bucket_counts": [1, 1, 1], "explicit_bounds": [1.0, 2.0]},
        {"count": 3, "bucket_counts": [1, 1, 1], "explicit_bounds": [1.0]},
        {"count": 3, "bucket_counts": [3], "explicit_bounds": [1.0, 2.0, 3.0]},
        {"count": 3, "bucket_counts": [1, 1, 1], "explicit_bounds": [2.0, 1.0]},
        {"count": 3, "bucket_counts": [1, 1, 1], "explicit_bounds": [NAN, INF]},
        {"count": _MAX, "bucket_counts": [_MAX, _MAX], "explicit_bounds": [1.0]},
        {"count": 2, "sum": NAN, "min": INF, "max": -INF},
        {"count": 0, "sum": -1.0, "bucket_counts": [0, 0], "explicit_bounds": [0.0]},
        {"bucket_counts": [0] * 2_000, "explicit_bounds": [float(n) for n in range(1_999)]},
        {},
    ]
    return _shaped("histogram", shapes)


def _exponentials() -> bytes:
    edge = (1 << 31) - 1
    shapes: list[dict[str, Any]] = [
        {"count": 1, "scale": scale, "positive": (offset, [1, 0, 2]), "negative": (offset, [1])}
        for scale in (edge, -edge - 1, 21, 20, -10, -11, 0)
        for offset in (edge, -edge - 1, 0)
    ]
    shapes += [
        {"count": 1, "zero_threshold": threshold, "zero_count": 1}
        for threshold in (NAN, -1.0, INF, 1e300)
    ]
    shapes += [
        {"count": 5, "scale": 3, "positive": (-500, [1] * 1_000), "sum": INF},
        {"count": _MAX, "scale": 0, "positive": (0, [_MAX, _MAX]), "zero_count": _MAX},
    ]
    return _shaped("exponential_histogram", shapes)


def _shaped(kind: str, shapes: list[dict[str, Any]]) -> bytes:
    """Every shape as one stream, and as streams of their own."""
    one = [shape | {"time": at, "start": 1} for at, shape in enumerate(shapes, 2)]
    own = [
        shape | {"time": at, "start": 1, "attributes": {"shape": str(index)}}
        for index, shape in enumerate(shapes)
        for at in (2, 3)
    ]
    return request(
        *(
            {"name": "m", "kind": kind, "temporality": temporality, "points": points}
            for temporality in (1, 2)
            for points in (one, own)
        )
    )


def _summaries() -> bytes:
    made = OFFICIAL[Signal.METRICS]()
    metric = made.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    for quantile, value in ((NAN, NAN), (2.0, -INF), (-1.0, 0.0), (0.5, INF)):
        point = metric.summary.data_points.add(time_unix_nano=T0, count=_MAX, sum=NAN)
        point.quantile_values.add(quantile=quantile, value=value)
    return bytes(made.SerializeToString())


def _times() -> bytes:
    times = (0, 1, T0, T0 - 40 * 365 * 86_400 * S, T0 + 40 * 365 * 86_400 * S, _MAX)
    made = OFFICIAL[Signal.METRICS]()
    scope = made.resource_metrics.add().scope_metrics.add()
    for kind in KINDS:
        metric = scope.metrics.add(name="m")
        data = getattr(metric, kind)
        if hasattr(data, "aggregation_temporality"):
            data.aggregation_temporality = 2
        for start in times:
            for time in times:
                data.data_points.add(
                    start_time_unix_nano=start, time_unix_nano=time, flags=_MAX >> 32
                )
    return bytes(made.SerializeToString())


def _nothing() -> bytes:
    made = OFFICIAL[Signal.METRICS]()
    made.resource_metrics.add()
    made.resource_metrics.add().resource.SetInParent()
    scope = made.resource_metrics.add().scope_metrics.add()
    scope.metrics.add()
    for kind in KINDS:
        getattr(scope.metrics.add(name="m"), kind).SetInParent()
    return bytes(made.SerializeToString())


ODD: dict[str, dict[Signal, Callable[[], bytes]]] = {
    "attributes of unexpected types": {
        signal: lambda signal=signal: labelled(signal)  # type: ignore[misc]  # a bound variable
        for signal in Signal
    },
    "numbers that are none, infinite or at the edge": {Signal.METRICS: _numbers},
    "a metric that changes its type": {Signal.METRICS: _type_changes},
    "histograms whose counts do not add up": {Signal.METRICS: _histograms},
    "scales and buckets out of range": {Signal.METRICS: _exponentials},
    "summaries of nonsense": {Signal.METRICS: _summaries},
    "times that cannot be": {Signal.METRICS: _times},
    "groups and metrics without anything": {Signal.METRICS: _nothing},
}
