"""Telemetry as single items that can be compared wherever they were batched."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from mlsysops_pipeline import Signal

REQUESTS: dict[Signal, Any] = {
    Signal.METRICS: metrics_service_pb2.ExportMetricsServiceRequest,
    Signal.LOGS: logs_service_pb2.ExportLogsServiceRequest,
    Signal.TRACES: trace_service_pb2.ExportTraceServiceRequest,
}
_NAMES = {
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
}


def items(signal: Signal, message: Any) -> list[bytes]:
    """Each data point, log record or span with all that stands around it, as canonical bytes.

    The order of attributes counts, the order of items and how they were grouped does not.
    """
    found = []
    groups, scopes, leaves = _NAMES[signal]
    for group in getattr(message, groups):
        for scope in getattr(group, scopes):
            for leaf in getattr(scope, leaves):
                for single in _points(leaf) if signal is Signal.METRICS else (leaf,):
                    one = REQUESTS[signal]()
                    copy = getattr(one, groups).add()
                    copy.resource.CopyFrom(group.resource)
                    copy.schema_url = group.schema_url
                    scope_copy = getattr(copy, scopes).add()
                    scope_copy.scope.CopyFrom(scope.scope)
                    scope_copy.schema_url = scope.schema_url
                    getattr(scope_copy, leaves).add().CopyFrom(single)
                    found.append(bytes(one.SerializeToString(deterministic=True)))
    return found


def _points(metric: Any) -> list[Any]:
    """A metric once for each of its points."""
    kind = metric.WhichOneof("data")
    if kind is None:
        return []
    found = []
    for point in getattr(metric, kind).data_points:
        one = type(metric)()
        one.CopyFrom(metric)
        data = getattr(one, kind)
        del data.data_points[:]
        data.data_points.add().CopyFrom(point)
        found.append(one)
    return found


def difference(signal: Signal, expected: list[bytes], arrived: list[bytes]) -> str:
    """What is missing and what is too much, readable; empty if the items are the same."""
    missing, surplus = list(expected), []
    for one in arrived:
        if one in missing:
            missing.remove(one)
        else:
            surplus.append(one)
    if not missing and not surplus:
        return ""
    parse = REQUESTS[signal].FromString
    shown = [f"missing {len(missing)}, too much {len(surplus)} of {len(expected)}"]
    shown += [f"missing:\n{parse(one)}" for one in missing[:1]]
    shown += [f"too much:\n{parse(one)}" for one in surplus[:1]]
    return "\n".join(shown)
