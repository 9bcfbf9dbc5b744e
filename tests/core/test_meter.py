"""The collector's own numbers, and the page that shows them (service behaviour, section 8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.meter import Meter
from mlsysops_pipeline.service.exposition import render, visible


def test_a_number_appears_with_its_first_recording() -> None:
    meter = Meter()
    sent = meter.counter("otelcol_exporter_sent_spans", "{span}").bind({"exporter": "otlp"})

    assert [] == list(meter.samples())
    sent.add(0)
    assert [("otelcol_exporter_sent_spans", 0)] == [(s.name, s.value) for s in meter.samples()]


def test_asking_twice_gives_the_same_number() -> None:
    meter = Meter()
    for _ in range(2):
        meter.counter("x").bind({"b": "2", "a": "1"}).add(1)
    meter.counter("x").bind({"a": "1", "b": "2"}).add(1)

    assert 3 == meter.value("x", a="1")
    assert 1 == len(list(meter.samples()))


def test_observers_are_read_when_somebody_looks_and_may_hide() -> None:
    meter = Meter()
    values: list[float | None] = [None, 7]
    meter.gauge("g").observe({}, lambda: values.pop(0))

    assert [] == list(meter.samples())
    assert [7] == [sample.value for sample in meter.samples()]


def test_the_page_is_that_of_the_go_collector() -> None:
    meter = Meter()
    labels = {"processor": "batch/2", "otel.signal": "logs"}
    meter.counter("otelcol_exporter_sent_spans", "{span}", "Spans\nsent").bind(
        {"exporter": 'a"b\\c'}
    ).add(5)
    meter.histogram("otelcol_processor_batch_batch_send_size", [10, 25]).bind_distribution(
        labels
    ).record(11)
    meter.gauge("mlsysops_event_loop_lag_seconds").observe({}, lambda: 0.25)

    assert render(meter, {"service.name": "x"}).splitlines() == [
        "# HELP target_info Target metadata",
        "# TYPE target_info gauge",
        'target_info{service_name="x"} 1',
        "# TYPE mlsysops_event_loop_lag_seconds gauge",
        "mlsysops_event_loop_lag_seconds 0.25",
        "# HELP otelcol_exporter_sent_spans Spans\\nsent",
        "# TYPE otelcol_exporter_sent_spans counter",
        'otelcol_exporter_sent_spans{exporter="a\\"b\\\\c"} 5',
        "# TYPE otelcol_processor_batch_batch_send_size histogram",
        (
            'otelcol_processor_batch_batch_send_size_bucket{otel_signal="logs",processor="batch/2",'
            'le="10"} 0'
        ),
        (
            'otelcol_processor_batch_batch_send_size_bucket{otel_signal="logs",processor="batch/2",'
            'le="25"} 1'
        ),
        (
            'otelcol_processor_batch_batch_send_size_bucket{otel_signal="logs",processor="batch/2",'
            'le="+Inf"} 1'
        ),
        'otelcol_processor_batch_batch_send_size_sum{otel_signal="logs",processor="batch/2"} 11',
        'otelcol_processor_batch_batch_send_size_count{otel_signal="logs",processor="batch/2"} 1',
    ]


@pytest.mark.parametrize(
    ("name", "level", "expected"),
    [
        ("otelcol_processor_batch_batch_send_size", "basic", False),
        ("otelcol_processor_batch_batch_send_size", "normal", True),
        ("otelcol_processor_batch_batch_send_size_bytes", "normal", False),
        ("otelcol_exporter_enqueue_size", "normal", False),
        ("otelcol_exporter_enqueue_size", "detailed", True),
        ("otelcol_exporter_sent_spans", "basic", True),
    ],
)
def test_levels_hide_what_the_built_in_views_drop(name: str, level: str, expected: bool) -> None:
    assert expected is visible(name, level)


@given(st.lists(st.floats(0, 1e6), max_size=30))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    meter = Meter()
    distribution = meter.histogram("h", [1, 10, 100]).bind_distribution({})
    for value in values:
        distribution.record(value)

    assert len(values) == distribution.count == sum(distribution.buckets)
    assert sum(v <= 10 for v in values) == sum(distribution.buckets[:2])
