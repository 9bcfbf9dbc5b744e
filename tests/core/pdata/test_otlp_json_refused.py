"""OTLP/JSON: what is refused, and what the sender is told (conformance A4)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mlsysops_pipeline.errors import MalformedError, TooLargeError
from mlsysops_pipeline.pdata.otlp_json import decode, encode
from mlsysops_pipeline.pdata.signal import Signal

_CLASSES: dict[Signal, Any] = {
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.TRACES: ExportTraceServiceRequest,
}
_POINT = "$.resourceMetrics[0].scopeMetrics[0].metrics[0].gauge.dataPoints[0]"


def _metric(metric: str) -> bytes:
    return f'{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}'.encode()


def _point(members: str) -> bytes:
    return _metric(f'{{"gauge":{{"dataPoints":[{{{members}}}]}}}}')


def _parsed(signal: Signal, text: bytes) -> Any:
    return _CLASSES[signal].FromString(decode(signal, text))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ('"asInt":"9223372036854775808"', "asInt: expected an integer from -9223372036854775808"),
        ('"asInt":9223372036854775808', "asInt: expected an integer"),
        ('"asInt":"5.5"', 'asInt: expected an integer .* got the string "5.5"'),
        ('"asInt":5.0', "asInt: expected an integer .* got 5.0"),
        ('"asInt":"1_000"', "asInt: expected an integer"),
        ('"asInt":" 1"', "asInt: expected an integer"),
        ('"asInt":"\u0661"', "asInt: expected an integer"),
        ('"asInt":"+"', "asInt: expected an integer"),
        ('"asInt":""', "asInt: expected an integer"),
        ('"asInt":true', "asInt: expected an integer .* got true"),
        ('"asInt":{}', "asInt: expected an integer .* got an object"),
        (f'"asInt":"{"9" * 5000}"', 'asInt: expected an integer .* got the string "9{40}..."'),
        (f'"asInt":{"9" * 4000}', "asInt: expected an integer .* got a number of 4000 digits"),
        ('"timeUnixNano":"-1"', "timeUnixNano: expected an integer from 0 to 18446744073709551615"),
        ('"timeUnixNano":-1', "timeUnixNano: expected an integer from 0"),
        ('"flags":4294967296', "flags: expected an integer from 0 to 4294967295"),
        ('"asDouble":"nano"', "asDouble: expected a number, NaN, Infinity or -Infinity"),
        ('"asDouble":"1_0"', "asDouble: expected a number"),
        ('"asDouble":" 1"', "asDouble: expected a number"),
        ('"asDouble":1e400', "asDouble: expected a number that fits a double"),
        ('"asDouble":"1e400"', "asDouble: expected a number that fits a double"),
        (f'"asDouble":1{"0" * 400}', "asDouble: expected a number that fits a double"),
        ('"asDouble":false', "asDouble: expected a number, got false"),
        ('"attributes":{}', "attributes: expected an array, got an object"),
        ('"attributes":"x"', 'attributes: expected an array, got the string "x"'),
        ('"attributes":[1]', r"attributes\[0\]: expected an object, got 1"),
        ('"attributes":[{},{"key":5}]', r"attributes\[1\].key: expected a string, got 5"),
        ('"attributes":[{"value":[]}]', r"attributes\[0\].value: expected an object, got an array"),
        (
            '"attributes":[{"value":{"boolValue":"true"}}]',
            r'attributes\[0\].value.boolValue: expected true or false, got the string "true"',
        ),
        (
            '"attributes":[{"value":{"bytesValue":"a$b="}}]',
            r"attributes\[0\].value.bytesValue: expected a base64 string",
        ),
        (
            '"attributes":[{"value":{"bytesValue":5}}]',
            r"attributes\[0\].value.bytesValue: expected a base64 string, got 5",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(members: str, message: str) -> None:
    """OJ-9: nothing is clamped; the sender learns where and what was expected."""
    with pytest.raises(MalformedError, match=message) as raised:
        decode(Signal.METRICS, _point(members))
    assert _POINT in str(raised.value)
    assert 400 > len(str(raised.value))


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ('"count":-2', "count: expected an integer from 0"),
        ('"bucketCounts":["1","x"]', r"bucketCounts\[1\]: expected an integer"),
        ('"bucketCounts":[1,null]', r"bucketCounts\[1\]: expected an integer .* got null"),
        ('"explicitBounds":[1.5,"x"]', r"explicitBounds\[1\]: expected a number"),
        ('"explicitBounds":3', "explicitBounds: expected an array, got 3"),
    ],
)
def test_a_wrong_element_is_refused_with_its_index(member: str, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        decode(Signal.METRICS, _metric(f'{{"histogram":{{"dataPoints":[{{{member}}}]}}}}'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b"{} {}", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON: Unexpected UTF-8 BOM"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'{"a":"\xff"}', "not UTF-8: bad byte at offset 6"),
        (b'{"a":NaN}', "not JSON: NaN without quotes"),
        (b'{"a":-Infinity}', "not JSON: -Infinity without quotes"),
        (b'{"a":' + b"9" * 10_000 + b"}", "a number has thousands of digits"),
        (b"[]", r"\$: expected an object, got an array"),
        (b"null", r"\$: expected an object, got null"),
        (b'"x"', r"\$: expected an object, got the string"),
        (b"\x1f\x8b\x08\x00", "not UTF-8"),
    ],
)
def test_what_is_no_json_object_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        decode(Signal.METRICS, text)


def test_an_unknown_name_of_an_enum_is_refused_with_those_that_exist() -> None:
    with pytest.raises(MalformedError, match=r"AGGREGATION_TEMPORALITY_DELTA.*got the string"):
        decode(Signal.METRICS, _metric('{"sum":{"aggregationTemporality":"DELTA"}}'))


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        (b'{"arrayValue":{"values":[', b"]}}"),
        (b'{"kvlistValue":{"values":[{"value":', b"}]}}"),
    ],
)
def test_values_nest_as_deep_as_protobuf_follows_and_no_deeper(
    opening: bytes, closing: bytes
) -> None:
    """What is accepted can be parsed by everyone behind us; the rest is refused, not a crash."""

    def nested(levels: int) -> bytes:
        value = opening * levels + b"{}" + closing * levels
        return b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":' + value + b"}]}]}]}"

    opened = opening.count(b"{")
    deepest = (100 - 4) // opened  # the body is the fourth message inside the request
    wire = decode(Signal.LOGS, nested(deepest))
    ExportLogsServiceRequest.FromString(wire)
    assert json.loads(nested(deepest)) == json.loads(encode(Signal.LOGS, wire))
    for levels in (deepest + 1, 200, 100_000):
        with pytest.raises(MalformedError, match=r"nested (deeper than 100 messages|too deeply)"):
            decode(Signal.LOGS, nested(levels))


def test_json_that_nests_without_end_is_refused() -> None:
    for opening in (b"[", b'{"a":'):
        with pytest.raises(MalformedError, match="nested too deeply"):
            decode(Signal.METRICS, opening * 100_000)


def test_a_text_of_more_values_than_memory_should_hold_is_refused() -> None:
    text = b'{"resourceMetrics":[' + b"{}," * 10_000 + b"{}]}"
    assert 20_002 == len(decode(Signal.METRICS, text))
    with pytest.raises(TooLargeError, match="more than 20000 braces, brackets and commas"):
        decode(Signal.METRICS, text, marks_max=20_000)


def test_bytes_that_are_no_request_cannot_be_written() -> None:
    for wire in (b"\x0a\xff", b"\x0a\x02\x0a\x05"):
        with pytest.raises(MalformedError):
            encode(Signal.METRICS, wire)


def test_an_attribute_that_is_no_message_cannot_be_written() -> None:
    """It is opened apart from the rest."""
    resource = b"\x0a\x01\xff"
    group = b"\x0a" + bytes([len(resource)]) + resource
    with pytest.raises(MalformedError):
        encode(Signal.METRICS, b"\x0a" + bytes([len(group)]) + group)


def test_text_that_is_not_utf_8_is_written_with_replacement_characters() -> None:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "xx"
    wire = request.SerializeToString().replace(b"xx", b"a\xff")
    text = encode(Signal.LOGS, wire)
    assert (
        "a\ufffd"
        == _parsed(Signal.LOGS, text)
        .resource_logs[0]
        .scope_logs[0]
        .log_records[0]
        .body.string_value
    )
