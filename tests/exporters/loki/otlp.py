"""Log records and requests for tests of the loki exporter."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal

T0 = 1_700_000_000_000_000_000


def record(
    text: str = "hello",
    *,
    at: int = T0,
    severity: int = 9,
    more: dict[str, Any] | None = None,
    **attributes: Any,
) -> LogRecord:
    """A record; ``a__b`` names the attribute ``a.b``, in ``more`` as it is."""
    found = LogRecord(time_unix_nano=at, severity_number=severity)  # type: ignore[arg-type]  # an open enum
    found.body.string_value = text
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    fill(found.attributes, named | (more or {}))
    return found


def fill(attributes: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        put(attributes.add(key=key).value, value)


def put(target: Any, value: Any) -> None:
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        target.int_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, bytes):
        target.bytes_value = value
    elif isinstance(value, dict):
        target.kvlist_value.SetInParent()
        fill(target.kvlist_value.values, value)
    elif isinstance(value, list):
        target.array_value.SetInParent()
        for inner in value:
            put(target.array_value.values.add(), inner)


def payload(
    *records: LogRecord,
    resource: dict[str, Any] | None = None,
    scope: dict[str, Any] | None = None,
    metadata: Metadata | None = None,
) -> Payload:
    request = ExportLogsServiceRequest()
    block = request.resource_logs.add()
    fill(block.resource.attributes, {"service.name": "shop"} if resource is None else resource)
    scoped = block.scope_logs.add()
    if scope:
        scoped.scope.name, scoped.scope.version = "lib", "1.2"
        fill(scoped.scope.attributes, scope)
    scoped.log_records.extend(records)
    return Payload(Signal.LOGS, request.SerializeToString(), metadata or Metadata())
