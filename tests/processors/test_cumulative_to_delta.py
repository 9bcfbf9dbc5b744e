"""The cumulative_to_delta processor: the table of the component reference, and recomputation."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError, DropReason, PermanentError, RetryableError
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_processors.cumulative_to_delta import FACTORY, Config
from tests.core.pdata.wires import OFFICIAL, WireMaker, canonical
from tests.processors.streams import (
    DELTA,
    Running,
    number,
    request,
    seconds,
)

KEEP = {"initial_value": "keep"}


def dropped(run: Running, reason: str) -> float:
    return run.settings.meter.value("otelcol_cumulativetodelta_datapoints_dropped", reason=reason)


async def values(run: Running, *points: dict[str, Any], **metric: Any) -> list[tuple[Any, ...]]:
    """What comes out of points that are given one by one: start, time and value."""
    found = []
    for point in points:
        for out in await run.give({**metric, "points": [point]}):
            assert out.sum.aggregation_temporality == DELTA
            found += [
                (
                    seconds(each.start_time_unix_nano),
                    seconds(each.time_unix_nano),
                    getattr(each, each.WhichOneof("value")),
                )
                for each in out.sum.data_points
            ]
    assert run.ledger.imbalance == 0
    return found


@pytest.mark.parametrize(
    ("initial", "start", "expected"),
    [
        ("auto", 1, [(1, 5, 10), (5, 6, 3)]),
        ("auto", -1, [(5, 6, 3)]),
        ("auto", 5, [(5, 6, 3)]),
        ("keep", -1, [(-1, 5, 10), (5, 6, 3)]),
        ("drop", 1, [(5, 6, 3)]),
    ],
)
async def test_the_first_point(initial: str, start: int, expected: list[tuple[Any, ...]]) -> None:
    run = Running(FACTORY, {"initial_value": initial})

    found = await values(run, number(10, 5, start), number(13, 6, start))

    assert expected == found
    assert dropped(run, "initial") == 2 - len(expected)


@pytest.mark.parametrize("one", [1, 1.0])
async def test_a_value_that_falls_is_dropped_and_is_what_follows_is_told_from(one: float) -> None:
    run = Running(FACTORY, KEEP)

    found = await values(run, *(number(one * value, 2 + at) for at, value in enumerate((5, 2, 6))))

    assert [(1, 2, 5), (3, 4, 4)] == found
    assert dropped(run, "reset") == 1
    assert {DropReason.UNCONVERTIBLE: 1} == run.ledger.dropped


async def test_a_new_start_is_a_new_stream() -> None:
    """DM-6: nothing is reset, the first value after a restart is all of it."""
    run = Running(FACTORY)

    found = await values(run, number(50, 5, 1), number(4, 9, 8), number(6, 10, 8))

    assert [(1, 5, 50), (8, 9, 4), (9, 10, 2)] == found


async def test_late_points_leave_no_trace_and_repeated_ones_add_nothing() -> None:
    run = Running(FACTORY, KEEP)

    found = await values(run, number(5, 5), number(3, 4), number(5, 5), number(9, 6))

    assert [(1, 5, 5), (5, 5, 0), (5, 6, 4)] == found
    assert dropped(run, "out_of_order") == 1


async def test_streams_are_told_by_attributes_in_any_order_type_and_resource() -> None:
    """DM-1, with the kind of number as well."""
    run = Running(FACTORY, KEEP)

    found = await values(
        run,
        number(5, 5, attributes={"a": "1", "b": "2"}),
        number(7, 6, attributes={"b": "2", "a": "1"}),
        number(7, 6, attributes={"a": "1"}),
        number(7.5, 6, attributes={"a": "1"}),
    )
    other = await run.give({"points": [number(1, 9)]}, resource={"service.name": "b"})

    assert [5, 2, 7, 7.5] == [value for *_, value in found]
    assert other[0].sum.data_points[0].as_int == 1


async def test_what_has_no_value_is_taken_out_and_does_not_count() -> None:
    """DM-10. A NaN passes as in the Collector, and is not remembered."""
    run = Running(FACTORY, KEEP)

    found = await values(
        run, number(5.0, 5), number(0.0, 6, flags=1), number(math.nan, 7), number(8.0, 8)
    )

    assert [5.0, 3.0] == [value for *_, value in found if not math.isnan(value)]
    assert {"no_recorded_value": 1} == run.ledger.filtered


@pytest.mark.parametrize(
    "metric",
    [
        {"kind": "gauge"},
        {"monotonic": False},
        {"temporality": DELTA},
        {"temporality": 0},
        {"kind": "summary", "points": [{"count": 1}]},
        {"points": []},
    ],
)
async def test_other_metrics_pass_as_they_are(metric: dict[str, Any]) -> None:
    run = Running(FACTORY)
    made = {"points": [number(1, 2)], **metric}
    if not made["points"]:
        made["temporality"] = DELTA
    wire = request(made)

    await run.give_wire(wire)

    assert wire == run.sink.payloads[0].joined()


@pytest.mark.parametrize(
    ("config", "converted"),
    [
        ({"include": {"metrics": ["a"], "match_type": "strict"}}, ["a"]),
        ({"include": {"metrics": ["^a"], "match_type": "regexp"}}, ["a", "ab"]),
        ({"exclude": {"metrics": ["b"], "match_type": "regexp"}}, ["a"]),
        (
            {
                "include": {"metrics": ["a"], "match_type": "regexp"},
                "exclude": {"metrics": ["ab"], "match_type": "strict"},
            },
            ["a"],
        ),
        ({"include": {"metric_types": ["Histogram"]}}, []),
        ({"exclude": {"metric_types": ["sum"]}}, []),
    ],
)
async def test_which_metrics_are_converted(config: dict[str, Any], converted: list[str]) -> None:
    run = Running(FACTORY, {**KEEP, **config})

    out = await run.give(*({"name": name, "points": [number(1, 2)]} for name in ("a", "ab")))

    deltas = [metric.name for metric in out if metric.sum.aggregation_temporality == DELTA]
    assert converted == deltas


def histogram(time: float, counts: list[int], **more: Any) -> dict[str, Any]:
    values = {"count": sum(counts), "sum": float(sum(counts)), "explicit_bounds": [1.0, 2.0]}
    return {"start": 1, "time": time, "bucket_counts": counts, **values, **more}


async def last(run: Running, kind: str, *points: dict[str, Any]) -> list[Any]:
    out: list[Any] = []
    for point in points:
        out = await run.give({"kind": kind, "points": [point]})
    assert run.ledger.imbalance == 0
    return [point for metric in out for point in getattr(metric, kind).data_points]


async def test_histograms_become_what_came_since() -> None:
    """DM-3: least and greatest values do not survive."""
    run = Running(FACTORY, KEEP)

    (point,) = await last(
        run,
        "histogram",
        histogram(2, [1, 2, 3], min=0.5, max=9.0),
        histogram(3, [1, 4, 4], min=0.5, max=9.0),
    )

    assert (3, 3.0, [0, 2, 1]) == (point.count, point.sum, list(point.bucket_counts))
    assert not point.HasField("min")
    assert not point.HasField("max")
    assert seconds(point.start_time_unix_nano) == 2


@pytest.mark.parametrize("counts", [[0, 1, 1], [5, 0, 5]])
async def test_a_histogram_that_was_reset_goes_on_in_full(counts: list[int]) -> None:
    """Whether its count has fallen or only one of its buckets."""
    run = Running(FACTORY, KEEP)

    (point,) = await last(run, "histogram", histogram(2, [1, 2, 3]), histogram(3, counts))

    assert counts == list(point.bucket_counts)


async def test_other_buckets_are_dropped_once() -> None:
    """DM-11."""
    run = Running(FACTORY, KEEP)
    changed = {"explicit_bounds": [1.0, 3.0]}

    assert not await last(
        run, "histogram", histogram(2, [1, 2, 3]), histogram(3, [2, 2, 3], **changed)
    )
    (point,) = await last(run, "histogram", histogram(4, [2, 3, 3], **changed))

    assert [0, 1, 0] == list(point.bucket_counts)
    assert dropped(run, "bucket_mismatch") == 1


async def test_a_sum_that_is_missing_or_no_number() -> None:
    run = Running(FACTORY, KEEP)
    nan = histogram(3, [2, 2, 3], sum=math.nan)
    (point,) = await last(run, "histogram", histogram(2, [1, 2, 3]), nan)
    assert point.sum == 0
    none = histogram(4, [2, 2, 4])
    del none["sum"]
    (point,) = await last(run, "histogram", none)
    assert not point.HasField("sum")


def exponential(time: float, scale: int, positive: tuple[int, list[int]], **more: Any) -> Any:
    count = sum(positive[1]) + more.get("zero_count", 0)
    values = {"count": count, "sum": float(count), "positive": positive, "scale": scale}
    return {"start": 1, "time": time, **values, **more}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            exponential(2, 1, (0, [1, 2])),
            exponential(3, 1, (-1, [1, 1, 4, 1])),
            (4, 0, -1, [1, 0, 2, 1]),
        ),
        (exponential(2, 1, (-3, [1, 2, 3])), exponential(3, 0, (-2, [3, 6])), (3, 0, -2, [2, 1])),
        (
            exponential(2, 0, (0, [2, 1]), zero_count=1),
            exponential(3, 0, (1, [3]), zero_count=4, zero_threshold=2.0),
            (3, 1, 1, [2]),
        ),
    ],
)
async def test_exponential_histograms(before: Any, after: Any, expected: tuple[Any, ...]) -> None:
    """DM-4: the earlier point is brought to the scale and threshold of the later."""
    run = Running(FACTORY, KEEP)

    (point,) = await last(run, "exponential_histogram", before, after)

    found = point.positive
    assert expected == (
        *(point.count, point.zero_count, found.offset),
        list(found.bucket_counts),
    )


@pytest.mark.parametrize(
    "after",
    [
        exponential(3, 1, (0, [1])),
        exponential(3, 2, (0, [9])),
        exponential(3, 1, (0, [1, 9])),
    ],
)
async def test_an_exponential_reset_is_dropped_and_not_remembered(after: Any) -> None:
    run = Running(FACTORY, KEEP)
    assert not await last(run, "exponential_histogram", exponential(2, 1, (0, [3])), after)
    (point,) = await last(run, "exponential_histogram", exponential(4, 1, (0, [5])))

    assert point.count == 2
    assert dropped(run, "reset") == 1


async def test_scales_that_make_no_sense_are_dropped() -> None:
    """DM-5."""
    run = Running(FACTORY, KEEP)

    assert not await last(run, "exponential_histogram", exponential(2, 1000, (0, [3])))
    assert dropped(run, "invalid") == 1


async def test_a_refused_request_leaves_no_trace() -> None:
    run = Running(FACTORY, KEEP)
    await values(run, number(5, 5))
    run.sink.error = RetryableError("full")
    for _ in range(2):
        with pytest.raises(RetryableError):
            await run.give({"points": [number(8, 6), number(1, 1)]})
    run.sink.error = None

    assert [(5, 6, 3)] == await values(run, number(8, 6))
    assert not run.ledger.dropped


async def test_streams_that_are_silent_are_forgotten() -> None:
    run = Running(FACTORY, {"max_staleness": "10s", **KEEP})
    await run.processor.start()
    await run.give({"points": [number(5, 5)]})
    await run.clock.advance(25)

    tracked = run.settings.meter.value("otelcol_cumulativetodelta_streams_tracked")
    assert tracked == 0
    assert [(1, 6, 7)] == await values(run, number(7, 6))
    await run.processor.shutdown()
    await run.clock.advance(0)
    assert run.clock.pending == 0


@settings(max_examples=30, deadline=None)
@given(
    history=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 100)), max_size=30
    )
)
async def test_deltas_add_up_to_what_was_counted(history: list[tuple[int, int, int]]) -> None:
    """Streams that are added to and restart, recomputed without the processor."""
    run = Running(FACTORY)
    totals: dict[int, int] = {}
    starts: dict[int, int] = {}
    expected = 0
    found = 0
    for at, (stream, restarts, added) in enumerate(history, 1):
        if restarts or stream not in totals:
            totals[stream], starts[stream] = 0, at
        totals[stream] += added
        expected += added
        point = number(totals[stream], at + 0.5, starts[stream], attributes={"s": str(stream)})
        for *_, value in await values(run, point):
            found += value

    assert expected == found


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
async def test_any_request_is_survived_and_accounted_for(seed: int) -> None:
    run = Running(FACTORY)
    wire = WireMaker(seed).request(Signal.METRICS)
    for _ in range(2):
        await run.give_wire(wire)

    assert run.ledger.imbalance == 0


async def test_unknown_fields_survive() -> None:
    run = Running(FACTORY, KEEP)
    wire = request({"points": [number(1, 2)]}) + b"\xf2\x3e\x03new"
    await run.give_wire(wire)

    out = run.sink.payloads[0].joined()
    expected = OFFICIAL[Signal.METRICS].FromString(wire)
    expected.resource_metrics[0].scope_metrics[0].metrics[0].sum.aggregation_temporality = DELTA
    assert canonical(Signal.METRICS, expected.SerializeToString()) == canonical(Signal.METRICS, out)


async def test_broken_framing_is_refused() -> None:
    run = Running(FACTORY)
    with pytest.raises(PermanentError) as raised:
        await run.processor.consume(Payload(Signal.METRICS, b"\x0a\x05\x00"))

    assert raised.value.reason is DropReason.MALFORMED


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"include": {"metrics": ["a"]}}, "match_type must be set"),
        ({"include": {"match_type": "strict"}}, "metrics must be supplied"),
        ({"exclude": {"metric_types": ["gauge"]}}, "found invalid metric type: gauge"),
        ({"include": {"metrics": ["("], "match_type": "regexp"}}, "no regular expression"),
        ({"max_staleness": "-1s"}, "not negative"),
        ({"initial_value": "first"}, "initial_value"),
    ],
)
def test_bad_configuration(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Config, config)
