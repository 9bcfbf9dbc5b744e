"""OTLP/JSON against what the Collector's pdata does (conformance A4), if its vectors are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.otlp_json import decode, encode
from mlsysops_pipeline.pdata.signal import Signal

_VECTORS = Path(__file__).parents[4] / "shared" / "spec" / "vectors"
_CLASSES: dict[Signal, Any] = {
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.TRACES: ExportTraceServiceRequest,
}


def _cases() -> list[Any]:
    path = _VECTORS / "otlp_json.jsonl"
    if not path.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no {path}"))]
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [pytest.param(row, id=row["case"]) for row in rows]


def _golden() -> list[Any]:
    paths = sorted((_VECTORS / "otlp_golden").glob("*.json"))
    if not paths:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"nothing in {_VECTORS}"))]
    return [pytest.param(path, id=path.stem) for path in paths]


def _without_empty(value: Any) -> Any:
    """Drop the empty ``resource`` and ``scope`` that the Collector writes where there was none."""
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    if isinstance(value, dict):
        return {
            key: _without_empty(item)
            for key, item in value.items()
            if not (key in {"resource", "scope"} and item == {})
        }
    return value


@pytest.mark.parametrize("row", _cases())
def test_a_request_is_read_and_written_as_the_collector_does(row: dict[str, Any]) -> None:
    """OJ-1 to OJ-9: canonical re-encoding, or an error where the Collector has one."""
    text = row["input"].encode()
    if row["go_error"] is not None:
        with pytest.raises(MalformedError):
            decode(Signal.METRICS, text)
        return
    again = json.loads(encode(Signal.METRICS, decode(Signal.METRICS, text)))
    assert _without_empty(row["go_pdata"]) == _without_empty(again)


@pytest.mark.parametrize("path", _golden())
def test_the_same_message_as_json_and_as_protobuf(path: Path) -> None:
    signal = Signal(path.stem.partition("_")[0])
    parse = _CLASSES[signal].FromString
    wire = path.with_suffix(".pb").read_bytes()
    text = path.read_bytes()
    assert parse(wire) == parse(decode(signal, text))
    assert parse(wire) == parse(decode(signal, encode(signal, wire)))
