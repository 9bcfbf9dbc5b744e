"""Small, varied OTLP requests for tests and benchmarks."""

from __future__ import annotations

from mlsysops_pipeline.pdata.payload import NO_METADATA, Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal

_T0_NS = 1_700_000_000_000_000_000


def make_payload(
    signal: Signal, items: int, *, metadata: Metadata = NO_METADATA, **shape: int
) -> Payload:
    """A payload of one member with exactly ``items`` items."""
    return Payload(signal, make_wire(signal, items, **shape), metadata)


def make_wire(
    signal: Signal, items: int, *, points_per_metric: int = 10, attributes: int = 4, seed: int = 0
) -> bytes:
    """One serialized request with ``items`` items that differ from each other and by ``seed``."""
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2  # noqa: PLC0415
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2  # noqa: PLC0415
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2  # noqa: PLC0415

    if signal is Signal.METRICS:
        metrics = metrics_service_pb2.ExportMetricsServiceRequest()
        group = metrics.resource_metrics.add()
        _describe(group.resource, seed)
        scope_metrics = group.scope_metrics.add()
        scope_metrics.scope.name = "scope"
        for index in range(items):
            if index % points_per_metric == 0:
                metric = scope_metrics.metrics.add(
                    name=f"test.metric.{index // points_per_metric}", unit="1"
                )
            point = metric.gauge.data_points.add(
                time_unix_nano=_T0_NS + index, as_double=seed + index / 8
            )
            _label(point.attributes, index, attributes)
        return bytes(metrics.SerializeToString())
    if signal is Signal.LOGS:
        logs = logs_service_pb2.ExportLogsServiceRequest()
        log_group = logs.resource_logs.add()
        _describe(log_group.resource, seed)
        scope_logs = log_group.scope_logs.add()
        for index in range(items):
            record = scope_logs.log_records.add(
                time_unix_nano=_T0_NS + index, severity_number=9, severity_text="INFO"
            )
            record.body.string_value = f"message {seed}/{index}"
            _label(record.attributes, index, attributes)
        return bytes(logs.SerializeToString())
    traces = trace_service_pb2.ExportTraceServiceRequest()
    span_group = traces.resource_spans.add()
    _describe(span_group.resource, seed)
    scope_spans = span_group.scope_spans.add()
    for index in range(items):
        span = scope_spans.spans.add(
            trace_id=(seed * 1_000_003 + index + 1).to_bytes(16, "big"),
            span_id=(index + 1).to_bytes(8, "big"),
            name=f"span {index}",
            start_time_unix_nano=_T0_NS + index,
            end_time_unix_nano=_T0_NS + index + 1_000,
        )
        _label(span.attributes, index, attributes)
    return bytes(traces.SerializeToString())


def _describe(resource: object, seed: int) -> None:
    resource.attributes.add(key="service.name").value.string_value = f"service-{seed}"  # type: ignore[attr-defined]
    resource.attributes.add(key="host.name").value.string_value = "node"  # type: ignore[attr-defined]


def _label(attributes: object, index: int, count: int) -> None:
    for number in range(count):
        attributes.add(key=f"key.{number}").value.string_value = f"value-{index}-{number}"  # type: ignore[attr-defined]
