"""OTLP/JSON: what is read, leniently, and how it is written (conformance A4)."""

from __future__ import annotations

import base64
import json
import math
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

_CLASSES: dict[Signal, Any] = {
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.TRACES: ExportTraceServiceRequest,
}


def _metric(metric: str) -> bytes:
    return f'{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}'.encode()


def _point(members: str) -> bytes:
    return _metric(f'{{"gauge":{{"dataPoints":[{{{members}}}]}}}}')


def _span(members: str) -> bytes:
    return f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{members}}}]}}]}}]}}'.encode()


def _log(members: str) -> bytes:
    return f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{members}}}]}}]}}]}}'.encode()


def _parsed(signal: Signal, text: bytes) -> Any:
    return _CLASSES[signal].FromString(decode(signal, text))


def _only_point(members: str) -> Any:
    request = _parsed(Signal.METRICS, _point(members))
    return request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]


def _only_record(members: str) -> Any:
    request = _parsed(Signal.LOGS, _log(members))
    return request.resource_logs[0].scope_logs[0].log_records[0]


def test_ids_are_hex_in_either_case() -> None:
    """OJ-1, on every message that has ids."""
    ids = '"traceId":"5B8EFFF798038103d269b633813fc60c","spanId":"EEE19b7ec3c1b174"'
    span_text = _span(f'{ids},"parentSpanId":"eee19b7ec3c1b173","links":[{{{ids}}}]')
    span = _parsed(Signal.TRACES, span_text).resource_spans[0].scope_spans[0].spans[0]
    record = _only_record(ids)
    exemplar = _only_point(f'"exemplars":[{{{ids}}}]').exemplars[0]
    for holder in (span, span.links[0], record, exemplar):
        assert bytes.fromhex("5b8efff798038103d269b633813fc60c") == holder.trace_id
        assert bytes.fromhex("eee19b7ec3c1b174") == holder.span_id
    assert bytes.fromhex("eee19b7ec3c1b173") == span.parent_span_id


@pytest.mark.parametrize(
    "trace_id",
    [
        "5b8e",
        "5b8efff798038103d269b633813fc60",  # odd
        "5b8efff798038103d269b633813fc60cff",
        "5b8efff798038103d269b633813fc60g",
        "5b8efff798038103 d269b633813fc60",  # fromhex would skip the blank
        "W47/95gDgQPSabYzgT/GDA==",  # base64, as protobuf's own mapping would have it
        "eee19b7ec3c1b174",  # as long as a span id
    ],
)
def test_an_id_of_the_wrong_form_is_refused(trace_id: str) -> None:
    """OJ-1."""
    with pytest.raises(MalformedError, match="traceId: expected 32 hex digits, got the string"):
        decode(Signal.LOGS, _log(f'"traceId":"{trace_id}"'))


def test_an_empty_id_is_no_id() -> None:
    assert b"" == _only_record('"traceId":"","spanId":""').trace_id


@pytest.mark.parametrize(
    ("written", "number"),
    [("9", 9), ("17", 17), ('"SEVERITY_NUMBER_INFO"', 9), ("7777", 7777), ("-1", -1), ("0", 0)],
)
def test_enums_are_integers_and_names_are_tolerated(written: str, number: int) -> None:
    """OJ-2; an unknown integer passes."""
    assert number == _only_record(f'"severityNumber":{written}').severity_number


def test_keys_in_snake_case_are_tolerated_and_never_written() -> None:
    """OJ-3."""
    text = _log('"time_unix_nano":"1","severity_text":"x","dropped_attributes_count":3')
    assert b"_" not in encode(Signal.LOGS, decode(Signal.LOGS, text))
    record = _only_record('"time_unix_nano":"1","severity_text":"x","dropped_attributes_count":3')
    assert (1, "x", 3) == (
        record.time_unix_nano,
        record.severity_text,
        record.dropped_attributes_count,
    )


def test_unknown_keys_are_ignored_at_every_depth() -> None:
    """OJ-4, OC-2: whatever their values are."""
    odd = '"unknown":[{"a":null},[[]],1e3,"x",true,-5]'
    text = (
        f'{{{odd},"resourceLogs":[{{{odd},"resource":{{{odd}}},"scopeLogs":[{{{odd},'
        f'"scope":{{{odd}}},'
        f'"logRecords":[{{{odd},"attributes":[{{{odd},"key":"k","value":{{{odd},"intValue":1}}}}]'
        "}]}]}]}"
    )
    request = _parsed(Signal.LOGS, text.encode())
    attribute = request.resource_logs[0].scope_logs[0].log_records[0].attributes[0]
    assert ("k", 1) == (attribute.key, attribute.value.int_value)


@pytest.mark.parametrize("number", [0, 1, 9007199254740993, -(1 << 63), (1 << 63) - 1])
def test_64_bit_integers_are_exact_as_strings_and_as_numbers(number: int) -> None:
    """OJ-5: none of them passes through a float."""
    assert number == _only_point(f'"asInt":{number}').as_int
    assert number == _only_point(f'"asInt":"{number}"').as_int


def test_64_bit_integers_are_written_as_strings_and_others_as_numbers() -> None:
    """OJ-5, OJ-2."""
    point = {
        "startTimeUnixNano": "1",
        "timeUnixNano": "18446744073709551615",
        "count": "3",
        "sum": 1.5,
        "scale": -2,
        "zeroCount": "1",
        "positive": {"offset": -1, "bucketCounts": ["2", "0"]},
        "flags": 1,
    }
    histogram = {"dataPoints": [point], "aggregationTemporality": 2}
    text = _metric(json.dumps({"exponentialHistogram": histogram}))
    again = json.loads(encode(Signal.METRICS, decode(Signal.METRICS, text)))
    assert json.loads(text) == again


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("1.5", 1.5),
        ("10", 10.0),
        ('"2.5e3"', 2500.0),
        ('"-7"', -7.0),
        ('"Infinity"', math.inf),
        ('"-Infinity"', -math.inf),
        ('"+Inf"', math.inf),  # no word of OTLP, but the Collector takes it
        ('"+.5"', 0.5),
        ('"5."', 5.0),
        ("1e-400", 0.0),
        ("-0.0", -0.0),
        ("123456789012345678901234567890", 123456789012345678901234567890.0),
    ],
)
def test_doubles_are_numbers_numeric_strings_or_words(written: str, number: float) -> None:
    """OJ-6."""
    value = _only_point(f'"asDouble":{written}').as_double
    assert (number, math.copysign(1, number)) == (value, math.copysign(1, value))


def test_not_a_number_is_a_word() -> None:
    """OJ-6: as a string, in and out."""
    wire = decode(Signal.METRICS, _point('"asDouble":"NaN"'))
    assert b'"asDouble":"NaN"' in encode(Signal.METRICS, wire)


@pytest.mark.parametrize("written", ["+/+/", "-_-_", "+/8=", "-_8", "+/8"])
def test_bytes_are_base64_in_either_alphabet(written: str) -> None:
    """OJ-7; proto3 JSON takes the URL-safe alphabet and no padding, too."""
    standard = written.replace("-", "+").replace("_", "/").rstrip("=")
    expected = base64.b64decode(standard + "=" * (-len(standard) % 4))
    assert expected == _only_record(f'"body":{{"bytesValue":"{written}"}}').body.bytes_value


def test_null_is_an_absent_field_and_an_empty_value_stays() -> None:
    """OJ-8."""
    record = _only_record(
        '"body":null,"attributes":[{"key":"k","value":{}},{"key":"n","value":null}],"traceId":null'
    )
    assert not record.HasField("body")
    assert [True, False] == [attribute.HasField("value") for attribute in record.attributes]
    assert record.attributes[0].value.WhichOneof("value") is None


def test_null_in_a_list_of_values_is_an_empty_value() -> None:
    """As in the Collector; there is no other way to read it."""
    body = _only_record('"body":{"arrayValue":{"values":[null,{"intValue":"1"}]}}').body
    assert [None, "int_value"] == [value.WhichOneof("value") for value in body.array_value.values]


def test_null_in_a_list_of_texts_is_an_empty_text() -> None:
    """As in the Collector."""
    text = b'{"resourceLogs":[{"resource":{"entityRefs":[{"idKeys":["a",null]}]}}]}'
    resource = _parsed(Signal.LOGS, text).resource_logs[0].resource
    assert ["a", ""] == list(resource.entity_refs[0].id_keys)


@pytest.mark.parametrize("member", ['"asDouble":0', '"asInt":"0"', '"asDouble":-0.0'])
def test_an_explicit_zero_is_a_value(member: str) -> None:
    wire = decode(Signal.METRICS, _point(member))
    kind = member.partition(":")[0]
    assert kind.encode() in encode(Signal.METRICS, wire)
    assert _only_point(member).WhichOneof("value") is not None


def test_an_explicit_zero_of_an_optional_field_survives() -> None:
    text = _metric('{"histogram":{"dataPoints":[{"sum":0.0,"min":0.0}]}}')
    again = encode(Signal.METRICS, decode(Signal.METRICS, text))
    assert json.loads(text) == json.loads(again)


def test_empty_messages_survive() -> None:
    text = (
        b'{"resourceMetrics":[{"resource":{},"scopeMetrics":[{"scope":{},"metrics":[{"gauge":{}},'
        b'{"sum":{"dataPoints":[{"exemplars":[{}]}]}},{}]}]},{}]}'
    )
    assert json.loads(text) == json.loads(encode(Signal.METRICS, decode(Signal.METRICS, text)))


def test_the_last_member_of_a_oneof_counts() -> None:
    """As in the Collector: the points of the other one would be counted, but nobody sees them."""
    text = _metric('{"gauge":{"dataPoints":[{"asInt":"1"}]},"sum":{"isMonotonic":true}}')
    wire = decode(Signal.METRICS, text)
    metric = ExportMetricsServiceRequest.FromString(wire).resource_metrics[0].scope_metrics[0]
    assert "sum" == metric.metrics[0].WhichOneof("data")
    assert len(wire) == len(ExportMetricsServiceRequest.FromString(wire).SerializeToString())


def test_a_key_that_stands_twice_loses_no_element() -> None:
    """`json` would keep the last list only."""
    text = b'{"resourceLogs":[{"schemaUrl":"a"}],"resourceLogs":[{"schemaUrl":"b"},{}]}'
    request = _parsed(Signal.LOGS, text)
    assert ["a", "b", ""] == [group.schema_url for group in request.resource_logs]


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    record = _only_record(r'"severityText":"a\ud800b","body":{"stringValue":"\ud83d\ude00\udc00"}')
    assert ("a\ufffdb", "\U0001f600\ufffd") == (record.severity_text, record.body.string_value)


def test_equal_python_values_of_different_kinds_are_not_confused() -> None:
    """0.0 == -0.0 and 1 == True: the memory of attributes must tell them apart."""
    for written in ('"doubleValue":0.0', '"doubleValue":-0.0'):
        text = _point(f'"attributes":[{{"key":"k","value":{{{written}}}}}]')
        assert written.encode() in encode(Signal.METRICS, decode(Signal.METRICS, text))
    decode(Signal.METRICS, _point('"attributes":[{"key":"k","value":{"boolValue":true}}]'))
    with pytest.raises(MalformedError, match="expected true or false, got 1"):
        decode(Signal.METRICS, _point('"attributes":[{"key":"k","value":{"boolValue":1}}]'))


@pytest.mark.parametrize("signal", list(Signal))
def test_an_empty_request_is_an_empty_message(signal: Signal) -> None:
    """OC-3."""
    assert b"" == decode(signal, b" {} ")
    assert b"{}" == encode(signal, b"")
