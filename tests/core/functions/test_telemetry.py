"""What a user's function is given: every view, changes in it, and what stays as it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.functions import Attributes, Telemetry, ViewError
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_payload
from tests.core.pdata.wires import OFFICIAL, WireMaker, canonical

VIEWS = ["resource", "record", "point", "full"]
every_view = pytest.mark.parametrize("view", VIEWS)
every_signal = pytest.mark.parametrize("signal", Signal, ids=str)


def read(payload: Payload) -> Any:
    return OFFICIAL[payload.signal].FromString(payload.joined())


def items(telemetry: Telemetry) -> list[Any]:
    if telemetry.signal is Signal.METRICS:
        return list(telemetry.points())
    if telemetry.signal is Signal.LOGS:
        return list(telemetry.log_records())
    return list(telemetry.spans())


@every_view
@every_signal
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_is_not_changed_comes_out_as_it_was(signal: Signal, view: str, seed: int) -> None:
    wire = WireMaker(seed).request(signal)

    after = Telemetry(Payload(signal, wire), view).payload()

    assert canonical(signal, wire) == canonical(signal, after.joined())


@every_view
@every_signal
def test_resource_attributes_are_read_and_set_in_every_view(signal: Signal, view: str) -> None:
    telemetry = Telemetry(make_payload(signal, 3), view)
    (resource,) = telemetry.resources()
    before = dict(resource.attributes)
    resource.attributes["zone"] = "a"
    resource.attributes["zone"] = "b"
    assert {**before, "zone": "b"} == dict(resource.attributes)

    (again,) = Telemetry(telemetry.payload(), view).resources()

    assert {**before, "zone": "b"} == dict(again.attributes)
    del again.attributes["zone"]
    assert before == dict(again.attributes)
    with pytest.raises(KeyError):
        del again.attributes["zone"]


@pytest.mark.parametrize("view", ["point", "full"])
@every_signal
def test_items_are_changed_and_dropped(signal: Signal, view: str) -> None:
    payload = make_payload(signal, 25)
    telemetry = Telemetry(payload, view)
    for index, item in enumerate(items(telemetry)):
        if index % 2:
            item.drop()
        else:
            item.attributes["index"] = index

    result = telemetry.payload()

    assert 13 == result.items
    left = items(Telemetry(result, view))
    assert list(range(0, 25, 2)) == [item.attributes["index"] for item in left]


@every_signal
def test_dropping_every_item_leaves_nothing_empty_behind(signal: Signal) -> None:
    telemetry = Telemetry(make_payload(signal, 200), "point")
    for item in items(telemetry):
        item.drop()

    assert () == telemetry.payload().wires


def test_dropping_many_of_a_long_list_keeps_the_others_in_order() -> None:
    telemetry = Telemetry(make_payload(Signal.LOGS, 1000), "full")
    for index, record in enumerate(telemetry.log_records()):
        if index % 3:
            record.drop()

    left = [record.body for record in Telemetry(telemetry.payload()).log_records()]

    assert [f"message 0/{index}" for index in range(0, 1000, 3)] == left


@pytest.mark.parametrize(
    "value",
    ["text", True, 7, -(1 << 63), 0.25, b"\0\xff", ["a", 1], {"a": {"b": [None]}}, None, ""],
    ids=repr,
)
@pytest.mark.parametrize("view", ["point", "full"])
def test_every_kind_of_value_survives(value: Any, view: str) -> None:
    telemetry = Telemetry(make_payload(Signal.LOGS, 1), view)
    (record,) = telemetry.log_records()
    record.attributes["key"] = value

    (again,) = Telemetry(telemetry.payload(), view).log_records()

    assert value == again.attributes["key"]
    assert type(value) is type(again.attributes["key"])


@pytest.mark.parametrize("value", [object(), 1 << 63, {1, 2}, "\ud800"], ids=repr)
def test_what_otlp_cannot_hold_is_an_error_and_changes_nothing(value: Any) -> None:
    telemetry = Telemetry(make_payload(Signal.LOGS, 1))
    (record,) = telemetry.log_records()
    before = dict(record.attributes)

    with pytest.raises(ValueError, match=r"."):
        record.attributes["key"] = value

    assert before == dict(record.attributes)


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy", reason="NumPy is an extra")
    telemetry = Telemetry(make_payload(Signal.METRICS, 1))
    (point,) = telemetry.points()
    point.value = numpy.float32(0.5)
    point.attributes["count"] = numpy.int64(3)

    (again,) = Telemetry(telemetry.payload()).points()

    assert (0.5, 3) == (again.value, again.attributes["count"])


@pytest.mark.parametrize("view", ["point", "full"])
def test_of_equal_keys_the_first_is_read_and_setting_leaves_one(view: str) -> None:
    request = OFFICIAL[Signal.LOGS]()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    for number in (1, 2):
        record.attributes.add(key="a").value.int_value = number
    telemetry = Telemetry(Payload(Signal.LOGS, request.SerializeToString()), view)
    (opened,) = telemetry.log_records()

    assert (1, 1, ["a"]) == (
        opened.attributes["a"],
        len(opened.attributes),
        list(opened.attributes),
    )
    opened.attributes["a"] = 3
    (log,) = read(telemetry.payload()).resource_logs[0].scope_logs[0].log_records
    assert [3] == [pair.value.int_value for pair in log.attributes]


def test_a_gauge_is_added_beside_a_point() -> None:
    telemetry = Telemetry(make_payload(Signal.METRICS, 3, points_per_metric=2), "point")
    for point in telemetry.points():
        point.add_gauge("score", 0.5, "1", {"model": "a"})
    result = telemetry.payload()

    assert (3, 6) == (telemetry.added, result.items)
    again = Telemetry(result)
    scores, points = list(again.points("score")), list(again.points())[:3]
    assert 1 == len({metric.name for metric in again.metrics() if metric.name == "score"})
    assert [point.time_ns for point in points] == [score.time_ns for score in scores]
    for score, point in zip(scores, points, strict=True):
        assert {**point.attributes, "model": "a"} == dict(score.attributes)
        assert (0.5, "gauge", "1") == (score.value, score.metric.type, score.metric.unit)


def test_metrics_are_renamed_and_dropped_where_points_are_closed() -> None:
    payload = make_payload(Signal.METRICS, 20)
    telemetry = Telemetry(payload, "record")
    first, second = telemetry.metrics()
    first.name, first.unit = "new", "s"
    second.drop()

    (left,) = Telemetry(telemetry.payload(), "record").metrics()

    assert ("new", "s", "gauge") == (left.name, left.unit, left.type)
    assert 10 == telemetry.payload().items


def test_a_histogram_has_no_single_value() -> None:
    request = OFFICIAL[Signal.METRICS]()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="h")
    metric.histogram.data_points.add(count=1)
    telemetry = Telemetry(Payload(Signal.METRICS, request.SerializeToString()))
    (point,) = telemetry.points()

    assert point.value is None
    with pytest.raises(ViewError, match="histogram"):
        point.value = 1
    with pytest.raises(ViewError, match="no attributes"):
        _ = point.metric.attributes


def test_a_point_without_a_recorded_value_has_none_until_it_is_set() -> None:
    request = OFFICIAL[Signal.METRICS]()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="g")
    metric.gauge.data_points.add(as_double=0, flags=1)
    telemetry = Telemetry(Payload(Signal.METRICS, request.SerializeToString()))
    (point,) = telemetry.points()

    assert point.value is None
    point.value = 2
    assert 2 == point.value


def test_what_a_view_does_not_have_is_said() -> None:
    metrics, logs = make_payload(Signal.METRICS, 1), make_payload(Signal.LOGS, 1)
    with pytest.raises(ViewError, match="resource opens nothing but"):
        list(Telemetry(metrics, "resource").metrics())
    with pytest.raises(ViewError, match="record has no points: use full or point"):
        list(Telemetry(metrics, "record").points())
    with pytest.raises(ViewError, match="these are metrics, not logs"):
        list(Telemetry(metrics).log_records())
    (record,) = Telemetry(logs, "point").log_records()
    with pytest.raises(ViewError, match="point has no body: use full"):
        _ = record.body


def test_logs_and_spans_have_what_people_ask_for_first() -> None:
    logs = Telemetry(make_payload(Signal.LOGS, 1))
    (record,) = logs.log_records()
    record.body = {"text": record.body}
    (again,) = Telemetry(logs.payload()).log_records()
    assert ({"text": "message 0/0"}, 9) == (again.body, again.severity)
    assert again.time_ns

    traces = Telemetry(make_payload(Signal.TRACES, 1), "point")
    (span,) = traces.spans()
    span.name = "other"
    assert ("other", 16) == (span.name, len(span.trace_id))
    assert 1e-6 == pytest.approx(span.duration_s)


def test_broken_attributes_are_malformed_data_when_they_are_looked_at() -> None:
    telemetry = Telemetry(make_payload(Signal.LOGS, 1), "point")
    (record,) = telemetry.log_records()
    record.message.attributes.append(b"\xff")

    with pytest.raises(MalformedError):
        dict(record.attributes)


def test_everything_says_what_it_is() -> None:
    telemetry = Telemetry(make_payload(Signal.LOGS, 1))
    (record,) = telemetry.log_records()

    assert "view=full" in repr(telemetry)
    assert "LogRecord" in repr(record)
    assert repr(Attributes(record.message)).startswith("<Attributes {")
