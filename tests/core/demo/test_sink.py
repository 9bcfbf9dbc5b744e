"""The counting end: every item once, what comes twice is seen, what is missing is named."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mlsysops_pipeline.demo import sink
from mlsysops_pipeline.demo.reports import LEVELS_ATTRIBUTE, SEQUENCE_ATTRIBUTE, SIGNALS
from mlsysops_pipeline.demo.sink import Points, Sequences, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def logs(numbers: Iterable[int], levels: Iterable[str] = ()) -> Any:
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    describe(group.resource, levels)
    scope = group.scope_logs.add()
    for number in numbers:
        attribute = scope.log_records.add().attributes.add(key=SEQUENCE_ATTRIBUTE)
        attribute.value.int_value = number
    return request


def traces(numbers: Iterable[int]) -> Any:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in numbers:
        attribute = scope.spans.add().attributes.add(key=SEQUENCE_ATTRIBUTE)
        attribute.value.int_value = number
    return request


def metrics(times: Iterable[int], name: str = "m", label: str = "a") -> Any:
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    metric = scope.metrics.add(name=name)
    for time in times:
        point = metric.histogram.data_points.add(time_unix_nano=time)
        point.attributes.add(key="label").value.string_value = label
    return request


def describe(resource: Any, levels: Iterable[str]) -> None:
    values = resource.attributes.add(key=LEVELS_ATTRIBUTE).value.array_value.values
    for level in levels:
        values.add(string_value=level)


@given(st.lists(st.integers(0, 5000)))
def test_sequences_know_what_is_new_and_what_is_missing(numbers: list[int]) -> None:
    sequences, seen = Sequences(), set[int]()
    for number in numbers:
        assert (number not in seen) == sequences.add(number)
        seen.add(number)
    missing = [number for number in range(max(seen, default=0)) if number not in seen]
    assert missing[:3] == sequences.gaps(3)


def test_sequences_stop_remembering_at_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "_SEQUENCES_MAX", 8)
    sequences = Sequences()
    assert [True, True] == [sequences.add(8), sequences.add(8)]
    assert [True, True] == [sequences.add(-1), sequences.add(-1)]
    assert [] == sequences.gaps(5)


def test_points_are_known_by_time_and_identity() -> None:
    points = Points()
    added = [points.add(1, ("m", b"a")), points.add(2, ("m", b"a")), points.add(1, ("m", b"b"))]
    assert [True, True, True] == added
    assert not points.add(1, ("m", b"a"))


def test_points_forget_the_oldest_time_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "_POINT_TIMES_MAX", 2)
    points = Points()
    for time in (1, 2, 3):
        points.add(time, ("m",))
    assert points.add(1, ("m",))
    assert not points.add(3, ("m",))


def test_every_kind_of_item_is_counted_once() -> None:
    tally = Tally()
    tally.metrics(metrics(range(7)))
    tally.logs(logs(range(5)))
    tally.traces(traces(range(3)))
    report = tally.report(final=True)
    assert report.final
    assert [7, 5, 3] == [report.signals[signal].items for signal in SIGNALS]
    assert [0, 0, 0] == [report.signals[signal].duplicates for signal in SIGNALS]
    assert [[], [], []] == [report.signals[signal].gaps for signal in SIGNALS]


def test_what_comes_twice_is_a_duplicate() -> None:
    tally = Tally()
    for _ in range(2):
        tally.metrics(metrics([1, 2]))
        tally.logs(logs([0]))
        tally.traces(traces([0, 1, 2]))
    report = tally.report(final=True)
    assert [4, 2, 6] == [report.signals[signal].items for signal in SIGNALS]
    assert [2, 1, 3] == [report.signals[signal].duplicates for signal in SIGNALS]


def test_points_of_one_time_differ_by_metric_and_attributes() -> None:
    tally = Tally()
    for name, label in (("m", "a"), ("m", "b"), ("n", "a")):
        tally.metrics(metrics([1], name, label))
    assert 0 == tally.report().signals["metrics"].duplicates


def test_a_gap_in_the_numbers_is_named_at_the_end() -> None:
    tally = Tally()
    tally.logs(logs([0, 1, 3, 5]))
    assert [] == tally.report().signals["logs"].gaps
    assert [2, 4] == tally.report(final=True).signals["logs"].gaps


def test_an_item_without_a_number_counts_and_is_no_duplicate() -> None:
    tally = Tally()
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    scope.log_records.add()
    scope.log_records.add()
    tally.logs(request)
    arrived = tally.report(final=True).signals["logs"]
    assert (2, 0) == (arrived.items, arrived.duplicates)


def test_a_metric_without_data_has_no_points() -> None:
    request = ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.add(name="empty")
    tally = Tally()
    tally.metrics(request)
    assert 0 == tally.report().signals["metrics"].items


@pytest.mark.parametrize("signal", SIGNALS)
def test_an_item_lost_on_purpose_is_not_counted(signal: str) -> None:
    tally = Tally(lose=1, lose_signal=signal)
    tally.metrics(metrics(range(4)))
    tally.logs(logs(range(4)))
    tally.traces(traces(range(4)))
    report = tally.report(final=True)
    expected = {name: 3 if name == signal else 4 for name in SIGNALS}
    assert expected == {name: report.signals[name].items for name in SIGNALS}


def test_lists_of_levels_are_counted_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "_LEVEL_LISTS_MAX", 2)
    tally = Tally()
    tally.logs(logs([0], ["node"]))
    tally.logs(logs([1, 2], ["node", "cluster"]))
    tally.logs(logs([3], ["one", "too", "many"]))
    assert [(["node", "cluster"], 2), (["node"], 1)] == tally.report().levels


def test_a_level_that_is_no_list_is_shown_as_it_is() -> None:
    request = logs([0])
    value = request.resource_logs[0].resource.attributes[0].value
    value.string_value = "node"
    tally = Tally()
    tally.logs(request)
    assert [(["node"], 1)] == tally.report().levels


def test_the_server_takes_all_signals_and_a_taken_port_is_an_error(
    free_port: Callable[[], int],
) -> None:
    tally, port = Tally(), free_port()
    server = sink.serve(tally, port)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            for service, request in (
                ("metrics.v1.MetricsService", metrics([1])),
                ("logs.v1.LogsService", logs([0, 1])),
                ("trace.v1.TraceService", traces([0, 1, 2])),
            ):
                call = channel.unary_unary(f"/opentelemetry.proto.collector.{service}/Export")
                assert b"" == call(request.SerializeToString(), timeout=5)
        report = tally.report()
        assert [1, 2, 3] == [report.signals[signal].items for signal in SIGNALS]
        with pytest.raises(OSError, match=str(port)):
            sink.serve(tally, port)
    finally:
        server.stop(0).wait()


def test_the_program_says_in_one_line_that_its_port_is_taken(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert 1 == sink.main(["--port", str(taken.getsockname()[1])])
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("Error: cannot listen on 127.0.0.1:")
