"""Aggregation as a processor: windows, ledger, limits, refusals, stopping, fields of results."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from mlsysops_pipeline.errors import DropReason, PermanentError, RetryableError
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import wait_until
from mlsysops_processors import aggregation
from mlsysops_processors.aggregation import FACTORY
from tests.processors.streams import DELTA, Running, number, request, seconds

GAUGE: dict[str, Any] = {"kind": "gauge"}
ADDED: dict[str, Any] = {"temporality": DELTA}


async def started(functions: list[str], config: Any = None, **rule: Any) -> Running:
    rules = [{"metrics": ["m*"], "functions": functions, **rule}]
    run = Running(FACTORY, {"interval": "10s", "rules": rules, **(config or {})})
    await run.processor.start()
    return run


async def closed(run: Running, after: float = 15.5) -> dict[str, list[Any]]:
    """What comes out of the windows that close, by name."""
    before = len(run.sink.payloads)
    await run.clock.advance(after)
    await wait_until(lambda: not run.processor.is_busy or run.sink.error)
    return named(run, before)


def named(run: Running, before: int = 0) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for metric in run.metrics(before):
        data = getattr(metric, metric.WhichOneof("data"))
        found.setdefault(metric.name, []).extend(data.data_points)
    assert run.ledger.imbalance == 0
    return found


def value(point: Any) -> Any:
    return getattr(point, point.WhichOneof("value"))


def labels(point: Any) -> dict[str, Any]:
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in point.attributes
    }


async def test_functions_of_gauges_are_over_all_points_and_the_sum_over_the_last_ones() -> None:
    """DM-2: the sum of gauges is over what each was last."""
    functions = ["sum", "mean", "min", "max", "count", "first", "last", "stddev", "p50"]
    run = await started(functions, by=["k"])
    points = [number(2, 1, attributes={"k": "a", "pod": "1"})]
    points += [number(4, 2, attributes={"k": "a", "pod": "1"})]
    points += [number(9, 3, attributes={"k": "a", "pod": "2"})]
    assert not await run.give({**GAUGE, "points": points[::-1]})
    found = await closed(run)

    expected = {"sum": 13, "mean": 5, "min": 2, "max": 9, "count": 3, "first": 2, "last": 9}
    assert expected == {name: value(found[f"m.{name}"][0]) for name in expected}
    assert math.isclose(math.sqrt(26 / 3), value(found["m.stddev"][0]))
    assert abs(value(found["m.p50"][0]) - 4) <= 4 * 0.0055
    assert {"k": "a", "aggregation.partial": True} != labels(found["m.sum"][0])
    assert {"k": "a"} == labels(found["m.sum"][0])
    await run.processor.shutdown()


async def test_a_total_never_falls_when_one_input_is_reset() -> None:
    """DM-6, DM-12."""
    run = await started(["sum"])
    totals = []
    for at, one, start in ((1, 100, 0.5), (11, 5, 10.5), (21, 9, 10.5), (31, 2, 10.5)):
        points = [
            number(one, at, start, attributes={"pod": "1"}),
            number(50 + at, at, 0.5, attributes={"pod": "2"}),
        ]
        await run.give({"points": points})
        ((point,),) = (await closed(run, 10 if at > 1 else 15.5)).values()
        totals.append((value(point), seconds(point.start_time_unix_nano)))

    assert [(151, 0.5), (166, 0.5), (180, 0.5), (192, 0.5)] == totals
    labels_ = {"processor": "aggregation", "otel.signal": "metrics"}
    meter = run.settings.meter
    exceptions = "otelcol_processor_aggregation_exceptions"
    assert meter.value(exceptions, cause="fall", **labels_) == 1
    assert meter.value(exceptions, cause="reset", **labels_) == 1
    await run.processor.shutdown()


@pytest.mark.parametrize("late", ["drop", "forward"])
async def test_points_of_closed_windows_and_of_the_far_future_are_late(late: str) -> None:
    run = await started(["count"], {"late": late})
    await run.clock.advance(16)
    points = [number(1, time) for time in (9.5, 10, 15, 31.5)]
    passed = await run.give({**GAUGE, "points": points})

    if late == "drop":
        assert not passed
        assert {DropReason.LATE: 2} == run.ledger.dropped
    else:
        assert [9.5, 31.5] == [
            seconds(point.time_unix_nano) for point in passed[0].gauge.data_points
        ]
    assert run.settings.meter.value("otelcol_processor_aggregation_exceptions") == 2
    assert [2] == [value(point) for point in (await closed(run))["m"]]
    await run.processor.shutdown()


async def test_what_comes_twice_counts_once() -> None:
    run = await started(["sum", "count"])
    delta = {**ADDED, "points": [number(3, 4, 2), number(5, 6, 4)]}
    for _ in range(3):
        await run.give(delta)
    found = await closed(run)

    assert [8] == [value(point) for point in found["m.sum"]]
    assert [2] == [value(point) for point in found["m.count"]]
    await run.processor.shutdown()


@pytest.mark.parametrize("mode", ["flag", "withhold"])
async def test_windows_that_began_before_the_processor_are_partial(mode: str) -> None:
    run = Running(
        FACTORY,
        {
            "interval": "10s",
            "partial_windows": mode,
            "rules": [{"metrics": ["m"], "functions": ["sum"]}],
        },
    )
    await run.clock.advance(3)
    await run.processor.start()
    await run.give({"points": [number(5, 4)]})
    first = await closed(run)
    await run.give({"points": [number(7, 14)]})
    second = await closed(run)

    if mode == "flag":
        assert {"aggregation.partial": True} == labels(first["m"][0])
    else:
        assert not first
    assert {} == labels(second["m"][0])
    assert value(second["m"][0]) == 7
    await run.processor.shutdown()


async def test_stopping_hands_open_windows_on_and_says_that_they_are_partial() -> None:
    run = await started(["sum"])
    await run.clock.advance(2)
    await run.give({**GAUGE, "points": [number(5, 1)]})
    await run.processor.shutdown()

    (point,) = named(run)["m"]
    assert (5, 2, True) == (
        value(point),
        seconds(point.time_unix_nano),
        labels(point)["aggregation.partial"],
    )
    with pytest.raises(RetryableError):
        await run.give({**GAUGE, "points": [number(5, 1)]})


async def test_what_is_refused_for_now_is_kept_and_later_windows_too() -> None:
    run = await started(["sum"])
    await run.give({**GAUGE, "points": [number(5, 1)]})
    run.sink.error = RetryableError("full")
    assert not await closed(run)
    await run.give({**GAUGE, "points": [number(6, 15)]})
    assert run.ledger.held == 2
    run.sink.error = None
    found = await closed(run, 40)

    assert [5, 6] == [value(point) for point in found["m"]]
    await run.processor.shutdown()


async def test_what_is_refused_for_good_is_counted() -> None:
    run = await started(["sum"])
    await run.give({**GAUGE, "points": [number(5, 1)]})
    run.sink.error = PermanentError("no", reason=DropReason.REJECTED)
    await closed(run)

    assert {DropReason.REJECTED: 1} == run.ledger.dropped
    await run.processor.shutdown()


@pytest.mark.parametrize("pods", [1, 1000])
async def test_a_refused_request_leaves_no_trace(pods: int) -> None:
    """Part of it is taken, the rest is refused; small ones and those that are taken in steps."""
    run = await started(["count"])
    points = [number(5, 1, attributes={"pod": f"a name of some length {n}"}) for n in range(pods)]
    mixed = [{**GAUGE, "points": points}, {"name": "other", "points": [number(1, 1)]}]
    run.sink.error = RetryableError("full")
    for _ in range(2):
        with pytest.raises(RetryableError):
            await run.give(*mixed)
    assert run.ledger.held == 0
    assert run.settings.memory.in_flight == 0
    run.sink.error = None
    await run.give(*mixed)
    assert run.ledger.held == pods

    assert [pods] == [value(point) for point in (await closed(run))["m"]]
    assert run.settings.memory.in_flight == 0
    await run.processor.shutdown()


async def test_a_request_with_a_malformed_point_is_refused_whole() -> None:
    run = await started(["sum"])
    wire = request({**GAUGE, "points": [number(5, 1)]})
    broken = bytes.fromhex("0a0f120d120b0a016d2a060a043a020a05")
    with pytest.raises(PermanentError) as caught:
        await run.processor.consume(Payload(Signal.METRICS, (wire, broken)))

    assert caught.value.reason is DropReason.MALFORMED
    assert run.ledger.held == 0
    await run.processor.shutdown()


async def test_series_beyond_the_limit_go_into_one_result_that_names_the_label(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = await started(["sum", "count"], {"max_series": 3}, by=["zone"])
    points = [
        number(1, 1 + n / 100, attributes={"zone": "x", "pod": str(n), "user": str(n % 4)})
        for n in range(10)
    ]
    await run.give({**GAUGE, "points": points})
    found = await closed(run)

    known, others = found["m.sum"]
    assert (3, 7) == (value(known), value(others))
    assert {"otel.metric.overflow": True, "aggregation.overflow.label": "pod"} == labels(others)
    assert not run.ledger.dropped
    assert sum("they differ most in 'pod'" in record.message for record in caplog.records) == 1
    await run.processor.shutdown()


@pytest.mark.parametrize("kind", ["sum", "histogram"])
async def test_of_cumulative_series_beyond_the_limit_a_window_counts_what_grew_in_it(
    kind: str,
) -> None:
    """The first one whole; later, what is born or grows in the window, never anything twice."""

    def point(pod: int, size: int, at: float, start: float) -> dict[str, object]:
        made = {"time": at, "start": start, "attributes": {"zone": "x", "pod": str(pod)}}
        if kind == "sum":
            return {"value": size, **made}
        return {"count": size, "bucket_counts": [size, 0], "explicit_bounds": [1.0], **made}

    run = await started(["sum"], {"max_series": 1}, by=["zone"])
    totals: list[Any] = []
    for points in (
        [point(0, 100, 1, 0.5), point(1, 10, 1, 0.5), point(2, 20, 2, 0.5)],
        [point(0, 101, 11, 0.5), point(1, 11, 11, 0.5), point(2, 24, 12, 0.5)],
        [point(1, 15, 21, 0.5), point(1, 18, 22, 0.5), point(3, 6, 23, 21)],
    ):
        await run.give({"kind": kind, "points": points})
        results = (await closed(run, 10 if totals else 15.5))["m"]
        overflow = [one for one in results if "aggregation.overflow.label" in labels(one)]
        totals += [value(one) if kind == "sum" else one.count for one in overflow]
    assert [30, 30, 30 + 3 + 6] == totals
    assert not run.ledger.dropped
    await run.processor.shutdown()


async def test_silent_series_are_forgotten_and_room_is_made() -> None:
    run = await started(["sum"], {"max_series": 3, "max_stale": "20s"}, by=["pod"])
    results = []
    for step in range(6):
        at = step * 20 + 1.0
        points = [number(1, at, attributes={"pod": f"{step}.{n}"}) for n in range(3)]
        await run.give({**GAUGE, "points": points})
        results.append(len((await closed(run, 20))["m"]))
    assert [3, 1, 1, 3, 1, 1] == results  # where it is one, there was no room
    meter = run.settings.meter
    assert meter.value("otelcol_processor_aggregation_series") <= 3
    assert meter.value("otelcol_processor_aggregation_results") <= 6
    await run.processor.shutdown()


async def test_originals_go_on_beside_the_results_if_asked_for() -> None:
    run = await started(["sum"], {"keep_original": True})
    wire = request({**GAUGE, "points": [number(5, 1)]}, {"name": "other", "points": [number(1, 1)]})
    await run.give_wire(wire)

    assert wire == run.sink.payloads[0].joined()
    assert [5] == [value(point) for point in (await closed(run))["m"]]
    await run.processor.shutdown()


@pytest.mark.parametrize("mode", ["pass", "drop"])
async def test_what_cannot_be_merged_is_passed_or_dropped(mode: str) -> None:
    """DM-2: summaries do not merge."""
    run = await started(["sum"], {"unmergeable": mode})
    passed = await run.give({"kind": "summary", "points": [{"count": 1, "time": 1}]})

    assert len(passed) == (mode == "pass")
    assert run.ledger.dropped == ({DropReason.UNCONVERTIBLE: 1} if mode == "drop" else {})
    assert run.ledger.imbalance == 0
    await run.processor.shutdown()


async def test_kept_attributes_come_from_the_point_or_else_from_the_resource() -> None:
    run = await started(["sum"], by=["service.name", "zone"])
    points = [number(1, 1, attributes={"zone": "x"}), number(2, 1, attributes={"zone": "y"})]
    await run.give({**GAUGE, "points": points}, resource={"service.name": "a", "host": "h"})
    await run.clock.advance(15.5)
    made = ExportMetricsServiceRequest.FromString(run.sink.payloads[-1].joined())
    (group,) = made.resource_metrics

    assert ["service.name"] == [pair.key for pair in group.resource.attributes]
    assert group.scope_metrics[0].scope.name == "mlsysops.aggregation"
    found = group.scope_metrics[0].metrics[0].gauge.data_points
    assert [{"zone": "x"}, {"zone": "y"}] == sorted(map(labels, found), key=str)
    await run.processor.shutdown()


async def test_without_keeps_all_others_and_match_looks_in_both_places() -> None:
    run = await started(["sum"], without=["pod", "host"], match={"env": "prod"})
    for pod in ("1", "2"):
        points = [number(1, 1, attributes={"pod": pod, "zone": "x"})]
        await run.give({**GAUGE, "points": points}, resource={"env": "prod", "host": pod})
    passed = await run.give({**GAUGE, "points": [number(1, 1, attributes={"env": "test"})]})
    found = await closed(run)

    assert len(passed) == 1
    assert [(2, {"zone": "x"})] == [(value(point), labels(point)) for point in found["m"]]
    await run.processor.shutdown()


async def test_results_have_passed_as_many_collectors_as_any_of_their_points() -> None:
    run = await started(["sum"])
    wire = request({**GAUGE, "points": [number(5, 1)]})
    for hops in (3, 1):
        await run.processor.consume(Payload(Signal.METRICS, wire, Metadata(hops=hops)))
        run.ledger.received += 1
    await closed(run)

    assert run.sink.payloads[-1].metadata.hops == 3
    await run.processor.shutdown()


async def test_integers_stay_integers_until_64_bits_do_not_hold_them() -> None:
    run = await started(["sum"])
    big = (1 << 63) - 1
    for at, other in ((1, -1), (11, 1)):
        points = [number(big, at), number(other, at, attributes={"pod": "1"})]
        await run.give({**GAUGE, "points": points})
    first, second = (await closed(run, 30))["m"]

    assert (big - 1, float(1 << 63)) == (value(first), value(second))
    await run.processor.shutdown()


async def test_too_many_points_are_refused_until_a_window_was_handed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aggregation, "POINTS_MAX", 2)
    run = await started(["count"])
    await run.give({**GAUGE, "points": [number(1, 1), number(1, 2)]})
    with pytest.raises(RetryableError):
        await run.give({**GAUGE, "points": [number(1, 3)]})
    assert [2] == [value(point) for point in (await closed(run))["m"]]
    assert not await run.give({**GAUGE, "points": [number(1, 14)]})
    await run.processor.shutdown()


async def test_a_request_that_is_cancelled_leaves_no_trace() -> None:
    run = await started(["count"])
    run.sink.gate = asyncio.Event()
    mixed = request(
        {**GAUGE, "points": [number(5, 1)]}, {"name": "other", "points": [number(1, 1)]}
    )
    task = run.settings.tasks.spawn("give", run.processor.consume(Payload(Signal.METRICS, mixed)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert run.ledger.held == 0
    run.sink.gate.set()
    await run.processor.shutdown()


async def test_a_metric_that_changes_its_type_has_one_result_of_a_name_and_attributes() -> None:
    """DM-1, DM-8: sums of both temporalities are streams of their own, their rates would not be."""
    run = await started(["sum", "rate"])
    await run.give({**ADDED, "points": [number(20, 2, 1)]})
    await run.give({"points": [number(30, 2, 1)]})
    await run.give({**GAUGE, "points": [number(5, 2)]})
    found = await closed(run)

    assert [5, 20, 30] == sorted(value(point) for point in found["m.sum"])
    assert len(found["m.rate"]) == 1
    exceptions = "otelcol_processor_aggregation_exceptions"
    assert run.settings.meter.value(exceptions, cause="clash") == 1
    await run.processor.shutdown()


async def test_a_window_that_cannot_be_computed_is_counted_and_the_next_ones_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = await started(["sum"])
    await run.give({**GAUGE, "points": [number(5, 1)]})
    with monkeypatch.context() as patch:
        patch.setattr("mlsysops_processors.aggregation.Writer.steps", None)
        assert not await closed(run)
    assert {DropReason.PROCESSOR_ERROR: 1} == run.ledger.dropped
    assert run.settings.memory.in_flight == 0
    await run.give({**GAUGE, "points": [number(7, 14)]})

    assert [7] == [value(point) for point in (await closed(run))["m"]]
    await run.processor.shutdown()
