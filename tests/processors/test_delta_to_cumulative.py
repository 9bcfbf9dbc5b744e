"""The delta_to_cumulative processor: the table of the component reference, and recomputation."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError, DropReason, RetryableError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_processors.delta_to_cumulative import FACTORY, Config
from tests.core.pdata.wires import WireMaker
from tests.processors.streams import CUMULATIVE, DELTA, Running, number, request, seconds


def errors(run: Running, error: str) -> float:
    return run.settings.meter.value("otelcol_deltatocumulative.datapoints", error=error)


async def totals(run: Running, *points: dict[str, Any], **metric: Any) -> list[tuple[Any, ...]]:
    """What comes out of deltas that are given one by one: start, time and value."""
    found = []
    for point in points:
        for out in await run.give({"temporality": DELTA, **metric, "points": [point]}):
            assert out.sum.aggregation_temporality == CUMULATIVE
            found += [
                (
                    seconds(each.start_time_unix_nano),
                    seconds(each.time_unix_nano),
                    getattr(each, each.WhichOneof("value") or "as_int"),
                )
                for each in out.sum.data_points
            ]
    assert run.ledger.imbalance == 0
    return found


@pytest.mark.parametrize("monotonic", [True, False])
@pytest.mark.parametrize("one", [1, 1.0])
async def test_deltas_add_up_and_keep_the_first_start(monotonic: bool, one: float) -> None:
    """DM-7, but for gaps, which change nothing (the last point)."""
    run = Running(FACTORY)

    found = await totals(
        run,
        number(5 * one, 2, 1),
        number(3 * one, 3, 2),
        number(1 * one, 9, 8),
        monotonic=monotonic,
    )

    assert [(1, 2, 5), (1, 3, 8), (1, 9, 9)] == found
    assert {type(one)} == {type(value) for *_, value in found}


@pytest.mark.parametrize(
    ("point", "error"),
    [
        (number(1, 9, 0), "older_start"),
        (number(1, 2, 1), "out_of_order"),
        (number(1, 1.5, 1), "out_of_order"),
        (number(math.nan, 9, 2), "invalid"),
        (number(math.inf, 9, 2), "invalid"),
    ],
)
async def test_what_cannot_be_added_is_dropped(point: dict[str, Any], error: str) -> None:
    run = Running(FACTORY)
    first = number(1.5, 2, 1)

    assert [(1, 2, 1.5), (1, 10, 2.5)] == await totals(run, first, point, number(1.0, 10, 9))
    assert errors(run, error) == 1
    assert {DropReason.UNCONVERTIBLE: 1} == run.ledger.dropped


async def test_integers_wrap_around_at_64_bits() -> None:
    run = Running(FACTORY)
    highest = (1 << 63) - 1

    found = await totals(run, number(highest, 2), number(2, 3, 2))

    assert [highest, -(1 << 63) + 1] == [value for *_, value in found]


async def test_a_point_without_a_value_goes_on_and_ends_its_stream() -> None:
    """DM-10."""
    run = Running(FACTORY)

    found = await totals(
        run, number(5, 2), {"time": 3, "start": 2, "flags": 1}, number(3, 5, start=4)
    )

    assert [(1, 2, 5), (2, 3, 0), (4, 5, 3)] == found


@pytest.mark.parametrize(
    "metric",
    [
        {"kind": "gauge", "points": [number(1, 2)]},
        {"points": [number(1, 2)]},
        {"temporality": 0, "points": [number(1, 2)]},
        {"kind": "summary", "points": [{"count": 1}]},
    ],
)
async def test_what_is_no_delta_passes_as_it_is(metric: dict[str, Any]) -> None:
    run = Running(FACTORY)
    wire = request(metric)

    await run.give_wire(wire)

    assert wire == run.sink.payloads[0].joined()


async def test_streams_beyond_the_limit_are_dropped_and_what_is_emptied_is_not_sent() -> None:
    run = Running(FACTORY, {"max_streams": 2})
    points = [number(1, 2, attributes={"a": str(index)}) for index in range(3)]

    assert len(await totals(run, *points)) == 2
    assert len(run.sink.payloads) == 2
    assert errors(run, "limit") == 1
    assert {DropReason.CARDINALITY: 1} == run.ledger.dropped
    assert run.settings.meter.value("otelcol_deltatocumulative.streams.limit") == 2
    assert run.settings.meter.value("otelcol_deltatocumulative.streams.tracked") == 2


async def test_silent_streams_are_forgotten_once_a_minute() -> None:
    run = Running(FACTORY, {"max_stale": "90s"})
    await run.processor.start()
    await totals(run, number(5, 2))
    await run.clock.advance(100)
    assert [(1, 3, 6)] == await totals(run, number(1, 3, 2))
    await run.clock.advance(200)

    assert run.settings.meter.value("otelcol_deltatocumulative.streams.tracked") == 0
    assert [(3, 4, 1)] == await totals(run, number(1, 4, 3))
    await run.processor.shutdown()


async def test_a_refused_request_leaves_no_trace() -> None:
    run = Running(FACTORY)
    await totals(run, number(5, 2))
    run.sink.error = RetryableError("full")
    with pytest.raises(RetryableError):
        await totals(run, number(3, 3, 2))
    run.sink.error = None

    assert [(1, 3, 8)] == await totals(run, number(3, 3, 2))


async def last(run: Running, kind: str, *points: dict[str, Any]) -> Any:
    out: list[Any] = []
    for point in points:
        out = await run.give({"kind": kind, "temporality": DELTA, "points": [point]})
    assert run.ledger.imbalance == 0
    (metric,) = out
    (point,) = getattr(metric, kind).data_points
    return point


def histogram(time: float, counts: list[int], bounds: list[float], **more: Any) -> dict[str, Any]:
    values = {"count": sum(counts), "bucket_counts": counts, "explicit_bounds": bounds}
    return {"start": time - 1, "time": time, **values, **more}


async def test_histograms_add_bucket_by_bucket() -> None:
    """DM-2, DM-3: least and greatest values combine."""
    run = Running(FACTORY)

    point = await last(
        run,
        "histogram",
        histogram(2, [1, 2, 3], [1.0, 2.0], sum=9.0, min=0.5, max=4.0),
        histogram(3, [1, 0, 1], [1.0, 2.0], sum=4.0, min=0.25, max=3.0),
    )

    assert (8, [2, 2, 4]) == (point.count, list(point.bucket_counts))
    assert (13.0, 0.25, 4.0) == (point.sum, point.min, point.max)
    assert seconds(point.start_time_unix_nano) == 1


async def test_what_one_point_does_not_know_the_total_does_not_know() -> None:
    run = Running(FACTORY)
    known = {"sum": 1.0, "min": 1.0, "max": 1.0}
    one = histogram(2, [1], [], **known)
    for point in (one, histogram(3, [1], []), histogram(4, [1], [], **known)):
        out = await last(run, "histogram", point)

    assert out.count == 3
    assert not any(out.HasField(name) for name in known)


async def test_other_bounds_begin_anew() -> None:
    """DM-11."""
    run = Running(FACTORY)

    point = await last(
        run,
        "histogram",
        histogram(2, [1, 2], [1.0]),
        histogram(3, [1, 1], [2.0]),
        histogram(4, [1, 0], [2.0]),
    )

    assert [2, 1] == list(point.bucket_counts)
    assert seconds(point.start_time_unix_nano) == 2


def exponential(time: float, scale: int, positive: tuple[int, list[int]], **more: Any) -> Any:
    count = sum(positive[1]) + more.get("zero_count", 0)
    values = {"count": count, "positive": positive, "scale": scale}
    return {"start": time - 1, "time": time, **values, **more}


async def test_exponential_histograms_merge_at_the_lower_scale_and_larger_threshold() -> None:
    """DM-4."""
    run = Running(FACTORY)

    point = await last(
        run,
        "exponential_histogram",
        exponential(2, 1, (-3, [1, 2, 3, 0, 4])),
        exponential(3, 0, (-2, [1]), zero_count=2, zero_threshold=0.25),
    )

    assert (0, 0.25, 2) == (point.scale, point.zero_threshold, point.zero_count)
    assert (-2, [2, 5, 4]) == (point.positive.offset, list(point.positive.bucket_counts))
    assert point.count == 13


async def test_far_buckets_are_brought_together() -> None:
    run = Running(FACTORY)

    point = await last(
        run, "exponential_histogram", exponential(2, 3, (0, [1])), exponential(3, 3, (1000, [1]))
    )

    assert point.scale == 0
    assert sum(point.positive.bucket_counts) == 2
    assert len(point.positive.bucket_counts) <= 160


@settings(max_examples=30, deadline=None)
@given(
    deltas=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.lists(st.integers(0, 9), min_size=3, max_size=3),
            st.booleans(),
        ),
        max_size=25,
    )
)
async def test_totals_are_what_was_sent(deltas: list[tuple[int, list[int], bool]]) -> None:
    """Some requests are refused once and sent again; every stream adds up all the same."""
    run = Running(FACTORY)
    expected: dict[int, list[int]] = {}
    for at, (stream, counts, refused) in enumerate(deltas, 2):
        point = histogram(at, counts, [1.0, 2.0], attributes={"s": str(stream)})
        if refused:
            run.sink.error = RetryableError("full")
            with pytest.raises(RetryableError):
                await last(run, "histogram", point)
            run.sink.error = None
        before = expected.get(stream, [0, 0, 0])
        expected[stream] = [one + other for one, other in zip(before, counts, strict=True)]
        out = await last(run, "histogram", point)

        assert expected[stream] == list(out.bucket_counts)
        assert sum(expected[stream]) == out.count


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
async def test_any_request_is_survived_and_accounted_for(seed: int) -> None:
    run = Running(FACTORY)
    wire = WireMaker(seed).request(Signal.METRICS)
    for _ in range(2):
        await run.give_wire(wire)

    assert run.ledger.imbalance == 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"max_streams": -1}, "must not be negative"),
        ({"max_stale": "-1s"}, "not negative"),
        ({"max_staleness": "1s"}, "max_staleness"),
    ],
)
def test_bad_configuration(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Config, config)
