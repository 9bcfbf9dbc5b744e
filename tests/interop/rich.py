"""Requests that use every corner of OTLP, made by the official classes."""

from __future__ import annotations

import math
from typing import Any

from mlsysops_pipeline import Signal
from tests.interop.items import REQUESTS

_NOW_NS = 1_700_000_000_000_000_001
_DOUBLES = (math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1, 0.0)
_INTEGERS = (2**53 + 1, 2**63 - 1, -(2**63), 0)


def rich(signal: Signal, number: int, *, histograms: bool = True) -> Any:
    """One request; those with different numbers differ. ``histograms``: and summaries."""
    request = REQUESTS[signal]()
    if signal is Signal.METRICS:
        group = request.resource_metrics.add(schema_url="https://example.test/r")
        scope = group.scope_metrics.add(schema_url="https://example.test/s")
        _numbers(scope, number)
        if histograms:
            _histograms(scope, number)
    elif signal is Signal.LOGS:
        group = request.resource_logs.add(schema_url="https://example.test/r")
        scope = group.scope_logs.add(schema_url="https://example.test/s")
        _logs(scope, number)
    else:
        group = request.resource_spans.add(schema_url="https://example.test/r")
        scope = group.scope_spans.add(schema_url="https://example.test/s")
        _spans(scope, number)
    _attributes(group.resource.attributes, number)
    scope.scope.name, scope.scope.version = "rich", "1.2.3"
    _attributes(scope.scope.attributes, number)
    return request


def _attributes(attributes: Any, number: int) -> None:
    attributes.add(key="text").value.string_value = f'Ünïcödé "{number}" \\ \n'
    attributes.add(key="empty").value.string_value = ""
    attributes.add(key="yes").value.bool_value = True
    attributes.add(key="integer").value.int_value = _INTEGERS[number % len(_INTEGERS)]
    attributes.add(key="double").value.double_value = number / 8  # rotel rounds others
    attributes.add(key="bytes").value.bytes_value = b"\x00\xff"
    array = attributes.add(key="array").value.array_value
    array.values.add(string_value="a")
    array.values.add(int_value=number)
    nested = attributes.add(key="map").value.kvlist_value
    nested.values.add(key="inside").value.bool_value = False


def _numbers(scope: Any, number: int) -> None:
    gauge = scope.metrics.add(name="gauge", unit="s", description="doubles").gauge
    for value in _DOUBLES:
        _at(gauge.data_points.add(as_double=value), number)
    total = scope.metrics.add(name="sum", unit="By").sum
    total.aggregation_temporality, total.is_monotonic = 2, True
    for integer in _INTEGERS:
        _at(total.data_points.add(as_int=integer), number)
    _at(total.data_points.add(flags=1), number)  # no value was recorded


def _histograms(scope: Any, number: int) -> None:
    histogram = scope.metrics.add(name="histogram").histogram
    histogram.aggregation_temporality = 1
    point = histogram.data_points.add(
        count=6, sum=1.5, min=-0.0, max=1.0, explicit_bounds=[0.0, 0.5], bucket_counts=[1, 2, 3]
    )
    _at(point, number)
    exemplar = point.exemplars.add(as_double=0.4, time_unix_nano=_NOW_NS)
    exemplar.trace_id, exemplar.span_id = b"\x01" * 16, b"\x02" * 8
    exponential = scope.metrics.add(name="exponential").exponential_histogram
    exponential.aggregation_temporality = 2
    point = exponential.data_points.add(count=5, sum=9.5, scale=-3, zero_count=1)
    point.positive.offset, point.negative.offset = -7, 5
    point.positive.bucket_counts.extend([0, 4])
    _at(point, number)
    summary = scope.metrics.add(name="summary").summary.data_points.add(count=2, sum=3.0)
    summary.quantile_values.add(quantile=0.5, value=1.0)
    _at(summary, number)


def _at(point: Any, number: int) -> None:
    point.start_time_unix_nano = _NOW_NS - 10
    point.time_unix_nano = _NOW_NS + number
    _attributes(point.attributes, number)


def _logs(scope: Any, number: int) -> None:
    for place in range(5):
        record = scope.log_records.add(
            time_unix_nano=_NOW_NS + number,
            observed_time_unix_nano=_NOW_NS + place,
            severity_number=1 + place,
            severity_text="odd",
            dropped_attributes_count=place,
            flags=1,
            trace_id=bytes([1 + place]) * 16,
            span_id=bytes([1 + place]) * 8,
            event_name="event" if place else "",
        )
        if place == 1:
            record.body.int_value = 2**53 + 1
        elif place == 2:
            record.body.bytes_value = b"\x00\x80\xff"
        elif place == 3:
            record.body.kvlist_value.values.add(key="k").value.double_value = 0.1
        elif place:
            record.body.string_value = f"message {number}"
        _attributes(record.attributes, number)


def _spans(scope: Any, number: int) -> None:
    for place in range(5):
        span = scope.spans.add(
            trace_id=number.to_bytes(16, "big")[:-1] + b"\x01",
            span_id=bytes([1 + place]) * 8,
            parent_span_id=b"\x09" * 8 if place else b"",
            trace_state="a=1,b=2",
            flags=0x101,
            name=f"span {number}/{place}",
            kind=place,
            start_time_unix_nano=_NOW_NS,
            end_time_unix_nano=_NOW_NS + number,
            dropped_attributes_count=1,
            dropped_events_count=2,
            dropped_links_count=3,
        )
        span.status.code = place % 3
        span.status.message = "broken" if place % 3 == 2 else ""
        event = span.events.add(time_unix_nano=_NOW_NS, name="event", dropped_attributes_count=4)
        _attributes(event.attributes, number)
        link = span.links.add(
            trace_id=b"\x05" * 16, span_id=b"\x06" * 8, trace_state="c=3", flags=1
        )
        _attributes(link.attributes, number)
        _attributes(span.attributes, number)
