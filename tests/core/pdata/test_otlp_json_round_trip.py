"""OTLP/JSON: nothing is lost on the way there and back, and nothing crashes."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.otlp_json import decode, encode
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_wire

_CLASSES: dict[Signal, Any] = {
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.TRACES: ExportTraceServiceRequest,
}


_finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def _messages(draw: st.DrawFn, descriptor: Any, depth: int = 0) -> Any:
    """A random message of official descriptors: any field, any value, also zeros and empty ones."""
    message = descriptor._concrete_class()
    for field in descriptor.fields:
        if not draw(st.booleans()):
            continue
        if field.is_repeated:
            count = draw(st.integers(0, 2 if depth < 6 else 1))
            if field.message_type is None:
                getattr(message, field.name).extend(draw(_scalar(field)) for _ in range(count))
            elif depth < 14:
                for _ in range(count):
                    inner = draw(_messages(field.message_type, depth + 1))
                    getattr(message, field.name).append(inner)
        elif field.message_type is None:
            setattr(message, field.name, draw(_scalar(field)))
        elif depth < 14:
            getattr(message, field.name).CopyFrom(draw(_messages(field.message_type, depth + 1)))
    return message


def _scalar(field: Any) -> st.SearchStrategy[Any]:
    if field.name in {"trace_id", "span_id", "parent_span_id"}:
        size = 16 if field.name == "trace_id" else 8
        return st.just(b"") | st.binary(min_size=size, max_size=size)
    integers = {
        field.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
        field.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
        field.CPPTYPE_UINT32: (0, (1 << 32) - 1),
        field.CPPTYPE_UINT64: (0, (1 << 64) - 1),
        field.CPPTYPE_ENUM: (0, 30),
    }
    if field.cpp_type in integers:
        return st.just(0) | st.integers(*integers[field.cpp_type])
    if field.cpp_type == field.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type == field.CPPTYPE_DOUBLE:
        return st.just(0.0) | _finite | st.sampled_from([math.inf, -math.inf])
    if field.type == field.TYPE_BYTES:
        return st.binary(max_size=6)
    return st.text(max_size=6)


def _with_hex_ids_as_base64(value: Any) -> Any:
    """OTLP/JSON as protobuf's own mapping would have it, which is our oracle beside the ids."""
    if isinstance(value, list):
        return [_with_hex_ids_as_base64(item) for item in value]
    if isinstance(value, dict):
        return {
            key: base64.b64encode(bytes.fromhex(item)).decode()
            if key in {"traceId", "spanId", "parentSpanId"}
            else _with_hex_ids_as_base64(item)
            for key, item in value.items()
        }
    return value


@pytest.mark.slow
@pytest.mark.parametrize("signal", list(Signal))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_message_survives_both_ways_and_agrees_with_protobuf(
    signal: Signal, data: st.DataObject
) -> None:
    """Ours to ours, ours to protobuf's mapping, protobuf's mapping to ours (beside the ids)."""
    message = data.draw(_messages(_CLASSES[signal].DESCRIPTOR))
    wire = message.SerializeToString()
    text = encode(signal, wire)
    assert message == _CLASSES[signal].FromString(decode(signal, text))
    tree = _with_hex_ids_as_base64(json.loads(text))
    assert message == json_format.ParseDict(tree, _CLASSES[signal]())
    theirs = json_format.MessageToDict(message, use_integers_for_enums=True)
    assert theirs == tree


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        *("resourceLogs", "scopeLogs", "logRecords", "body", "attributes"),
                        *("arrayValue", "values", "key", "value", "kvlistValue"),
                        *("timeUnixNano", "traceId", "x"),
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=30,
    )
)
def test_whatever_json_comes_is_read_or_refused(tree: Any) -> None:
    """Never another error; and what is read, protobuf can parse."""
    try:
        wire = decode(Signal.LOGS, json.dumps(tree).encode())
    except MalformedError:
        return
    ExportLogsServiceRequest.FromString(wire)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_whatever_bytes_come_are_read_or_refused(data: bytes) -> None:
    for call in (decode, encode):
        try:
            call(Signal.METRICS, data)
        except MalformedError:
            continue


@pytest.mark.parametrize("signal", list(Signal))
def test_more_attributes_than_are_remembered_are_translated_all_the_same(signal: Signal) -> None:
    wire = make_wire(signal, 400, attributes=12)
    expected = _CLASSES[signal].FromString(wire)
    for _ in range(2):
        assert expected == _CLASSES[signal].FromString(decode(signal, encode(signal, wire)))
