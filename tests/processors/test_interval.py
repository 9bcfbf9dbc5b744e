"""The interval processor: the table of the component reference, and what may not be lost."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError, DropReason, PermanentError, RetryableError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_processors.interval import FACTORY, STREAMS_MAX, Config
from tests.core.pdata.wires import OFFICIAL, WireMaker, canonical
from tests.processors import streams
from tests.processors.streams import CUMULATIVE, DELTA, Running, number, request, seconds

PASSING = {"pass_through": {"gauge": True, "summary": True}}


async def started(config: dict[str, Any] | None = None) -> Running:
    run = Running(FACTORY, {"interval": "10s", **(config or {})})
    await run.processor.start()
    return run


async def flushed(run: Running) -> list[Any]:
    """The metrics that come out at the end of the interval."""
    before = len(run.sink.payloads)
    await run.clock.advance(10)
    found = run.metrics(before)
    assert run.ledger.imbalance == 0
    return found


def points(metrics: list[Any]) -> list[tuple[Any, ...]]:
    """Start, time and value of the points of sums and gauges."""
    return [
        (
            seconds(point.start_time_unix_nano),
            seconds(point.time_unix_nano),
            getattr(point, point.WhichOneof("value")),
        )
        for metric in metrics
        for point in getattr(metric, metric.WhichOneof("data")).data_points
    ]


@pytest.mark.parametrize("metric", [{"temporality": CUMULATIVE}, {"kind": "gauge"}])
async def test_the_newest_point_is_kept(metric: dict[str, Any]) -> None:
    """DM-2."""
    run = await started()
    for point in (number(5, 2), number(9, 4), number(7, 3), number(8, 4)):
        assert not await run.give({**metric, "points": [point]})
        assert run.ledger.imbalance == 0

    assert [(1, 4, 9)] == points(await flushed(run))
    assert run.ledger.aggregated == 3
    assert not await flushed(run)
    await run.processor.shutdown()


async def test_deltas_are_added_up() -> None:
    run = await started()
    for point in (number(5, 3, 2), number(9, 4, 3), number(7, 2, 1)):
        assert not await run.give({"temporality": DELTA, "points": [point]})

    assert [(1, 4, 21)] == points(await flushed(run))
    await run.give({"temporality": DELTA, "points": [number(1, 5, 4)]})
    assert [(4, 5, 1)] == points(await flushed(run))
    await run.processor.shutdown()


async def test_delta_histograms_are_added_up_and_those_of_other_bounds_go_on() -> None:
    """DM-11: nothing is lost when bounds change."""
    run = await started()

    async def give(counts: list[int], bounds: list[float], time: int) -> list[Any]:
        point = {"count": sum(counts), "bucket_counts": counts, "explicit_bounds": bounds}
        metric = {"kind": "histogram", "temporality": DELTA}
        found: list[Any] = await run.give(
            {**metric, "points": [{**point, "time": time, "start": time - 1}]}
        )
        return found

    assert not await give([1, 2], [1.0], 2)
    assert not await give([3, 4], [1.0], 3)
    (other,) = await give([1, 1], [2.0], 4)
    (metric,) = await flushed(run)

    assert [1, 1] == list(other.histogram.data_points[0].bucket_counts)
    assert [4, 6] == list(metric.histogram.data_points[0].bucket_counts)
    await run.processor.shutdown()


async def test_exponential_deltas_are_merged() -> None:
    """DM-4."""
    run = await started()
    for time, scale, offset in ((2, 1, 2), (3, 0, 0)):
        point = {"count": 1, "scale": scale, "positive": (offset, [1]), "time": time}
        await run.give({"kind": "exponential_histogram", "temporality": DELTA, "points": [point]})

    (metric,) = await flushed(run)
    (merged,) = metric.exponential_histogram.data_points
    assert (2, 0, 0) == (merged.count, merged.scale, merged.positive.offset)
    assert [1, 1] == list(merged.positive.bucket_counts)
    await run.processor.shutdown()


@pytest.mark.parametrize(
    ("metric", "config"),
    [
        ({"monotonic": False, "points": [number(1, 2)]}, {}),
        ({"temporality": 0, "points": [number(1, 2)]}, {}),
        ({"kind": "gauge", "points": [number(1, 2)]}, PASSING),
        ({"kind": "summary", "points": [{"count": 1}]}, PASSING),
        ({"temporality": DELTA, "points": [number(math.nan, 2)]}, {}),
        ({"temporality": DELTA, "points": [number(1, 2, flags=1)]}, {}),
    ],
)
async def test_what_goes_on_at_once(metric: dict[str, Any], config: dict[str, Any]) -> None:
    run = await started(config)
    wire = request(metric)

    await run.give_wire(wire)

    assert canonical(Signal.METRICS, wire) == canonical(
        Signal.METRICS, run.sink.payloads[0].joined()
    )
    assert not await flushed(run)
    await run.processor.shutdown()


async def test_streams_of_all_resources_scopes_and_metrics_stay_apart() -> None:
    """DM-1."""
    run = await started()
    for resource in ("a", "b"):
        await run.give(
            {"name": "x", "points": [number(1, 2, attributes={"k": "1"}), number(2, 2)]},
            {"name": "x", "unit": "s", "points": [number(3, 2)]},
            {"name": "x", "kind": "gauge", "points": [number(4, 2)]},
            {"name": "x", "kind": "summary", "points": [{"count": 1}]},
            resource={"service.name": resource},
        )
    assert run.ledger.held == 10

    assert len(await flushed(run)) == 8
    assert run.sink.items == 10
    await run.processor.shutdown()


async def test_what_is_held_is_what_came_with_unknown_fields() -> None:
    run = await started()
    wire = request({"points": [number(1, 2, attributes={"k": "1"})]})
    made = OFFICIAL[Signal.METRICS].FromString(wire)
    group = made.resource_metrics[0]
    group.schema_url = "https://example.org/1"
    group.scope_metrics[0].metrics[0].description = "text"
    for message in (group, group.scope_metrics[0], group.scope_metrics[0].metrics[0]):
        message.MergeFromString(b"\xf2\x3e\x03new")
    wire = made.SerializeToString()
    await run.give_wire(wire)
    await flushed(run)

    assert canonical(Signal.METRICS, wire) == canonical(
        Signal.METRICS, run.sink.payloads[-1].joined()
    )
    await run.processor.shutdown()


async def test_stopping_hands_on_what_is_held() -> None:
    run = await started()
    await run.give({"points": [number(5, 2)]})
    await run.processor.shutdown()

    assert [(1, 2, 5)] == points(run.metrics())
    with pytest.raises(RetryableError):
        await run.give({"points": [number(5, 2)]})
    assert run.ledger.imbalance == 0


async def test_what_is_refused_for_now_is_kept_and_the_next_interval_too() -> None:
    run = await started()
    await run.give({"points": [number(5, 2)]})
    run.sink.error = RetryableError("full")
    await run.clock.advance(10)
    await run.give({"points": [number(7, 9)]})
    assert run.ledger.held == 2
    await run.clock.advance(15)
    run.sink.error = None
    await run.clock.advance(30)

    assert [(1, 2, 5), (1, 9, 7)] == points(run.metrics())
    assert run.ledger.imbalance == 0
    await run.processor.shutdown()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermanentError("no", reason=DropReason.REJECTED), DropReason.REJECTED),
        (ValueError("bug"), DropReason.PROCESSOR_ERROR),
    ],
)
async def test_what_is_refused_for_good_is_counted(error: Exception, reason: DropReason) -> None:
    run = await started()
    await run.give({"points": [number(5, 2)]})
    run.sink.error = error
    await run.clock.advance(10)

    assert {reason: 1} == run.ledger.dropped
    assert run.ledger.imbalance == 0
    await run.processor.shutdown()


async def test_a_stopping_processor_gives_up_after_a_while() -> None:
    run = await started()
    await run.give({"points": [number(5, 2)]})
    run.sink.error = RetryableError("full")
    stopping = run.settings.tasks.spawn("stop", run.processor.shutdown())
    await run.clock.advance(6)
    await stopping

    assert {DropReason.SHUTDOWN: 1} == run.ledger.dropped
    assert run.ledger.imbalance == 0


async def test_a_refused_request_leaves_no_trace() -> None:
    """Part of it is held, the rest is refused."""
    run = await started()
    await run.give({"temporality": DELTA, "points": [number(1, 2)]})
    mixed = [
        {"temporality": DELTA, "points": [number(5, 3, attributes={"k": "1"}), number(2, 3)]},
        {"monotonic": False, "points": [number(5, 2)]},
    ]
    run.sink.error = RetryableError("full")
    for _ in range(2):
        with pytest.raises(RetryableError):
            await run.give(*mixed)
    run.sink.error = None
    assert run.ledger.held == 1
    await run.give(*mixed)

    assert {3, 5} == {value for *_, value in points(await flushed(run))}
    assert run.ledger.aggregated == 1
    await run.processor.shutdown()


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 100),
            st.integers(1, 9),
            st.sampled_from(["go on", "go on", "tick", "refuse"]),
        ),
        max_size=25,
    )
)
async def test_totals_of_deltas_are_what_was_sent(steps: list[tuple[int, int, int, str]]) -> None:
    run = await started()
    sent = 0
    for stream, value, time, then in steps:
        point = number(value, time, attributes={"s": str(stream)})
        metric = {"temporality": DELTA, "points": [point]}
        passing = {"monotonic": False, "points": [number(0, 1)]}
        if then == "refuse":
            run.sink.error = RetryableError("full")
            with pytest.raises(RetryableError):
                await run.give(metric, passing)
            run.sink.error = None
        await run.give(metric, passing)
        sent += value
        if then == "tick":
            await flushed(run)
    await run.processor.shutdown()

    assert sent == sum(value for *_, value in points(run.metrics()))
    assert run.ledger.imbalance == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
async def test_any_request_is_survived_and_accounted_for(seed: int) -> None:
    run = await started()
    wire = WireMaker(seed).request(Signal.METRICS)
    for _ in range(2):
        await run.give_wire(wire)
        await flushed(run)
    await run.processor.shutdown()

    assert run.ledger.imbalance == 0


def several(
    streams_: list[int], time: float, value: float, *, start: float = 1, last: float = 0
) -> dict[str, Any]:
    """A metric with a point of each of these streams; the last one's time is ``last`` later."""
    found = [number(value + at, time, start, attributes={"s": str(at)}) for at in streams_]
    found[-1]["time"] += last
    return {"points": found}


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([[0, 1, 2]] * 9 + [[3, 4, 5]] * 3 + [[2, 1, 0], [2, 3], [0, 0, 1]]),
            st.sampled_from([2, 2, 2, 2, 1, 0]),
            st.sampled_from([0, 0, 0, -2, 1]),
            st.sampled_from([1, 1, 1, 1, 0.5]),
            st.sampled_from(["go on", "go on", "tick", "refuse"]),
        ),
        min_size=3,
        max_size=12,
    )
)
async def test_the_newest_of_each_stream_is_kept_however_metrics_are_cut(
    steps: list[tuple[list[int], int, int, float, str]],
) -> None:
    """DM-1, DM-2: whether a metric looks as before or not, and whatever is refused."""
    run = await started()
    newest: dict[str, tuple[int, int, float]] = {}

    async def check() -> None:
        found = [point for metric in await flushed(run) for point in metric.sum.data_points]
        assert newest == {
            point.attributes[0].value.string_value: (
                point.time_unix_nano,
                point.start_time_unix_nano,
                getattr(point, point.WhichOneof("value")),
            )
            for point in found
        }
        assert len(newest) == len(found)
        newest.clear()

    again = [step for step in steps for _ in range(3)]
    for at, (cut, later, last, start, then) in enumerate(again):
        metric = several(cut, at + later, at, start=start, last=last)
        passing = {"monotonic": False, "points": [number(0, 1)]}
        if then == "refuse":
            run.sink.error = RetryableError("full")
            with pytest.raises(RetryableError):
                await run.give(metric, passing)
            run.sink.error = None
            assert run.ledger.held == len(newest)
        else:
            await run.give(metric)
            for point in metric["points"]:
                key = point["attributes"]["s"]
                time_ns = streams.T0 + point["time"] * streams.S
                if key not in newest or time_ns > newest[key][0]:
                    start_ns = streams.T0 + int(start * streams.S)
                    newest[key] = (time_ns, start_ns, point["value"])
        assert run.ledger.held == len(newest)
        assert run.ledger.imbalance == 0
        if then == "tick":
            await check()
    await check()
    await run.processor.shutdown()


async def test_a_metric_that_looks_as_before_is_kept_as_it_came() -> None:
    """And one that was seen to look otherwise is looked at point by point."""
    run = await started()
    for time in (2, 3, 4):
        await run.give(several([0, 1, 2], time, time))
    assert run.ledger.held == 3
    await run.give(several([1, 2, 3], 5, 5))
    await run.give(several([0, 1, 2], 4, 9))

    assert [(1, 4, 4), (1, 5, 6), (1, 5, 7), (1, 5, 8)] == points(await flushed(run))
    await run.give(several([0, 1, 2], 6, 6, start=5))
    assert [(5, 6, 6), (5, 6, 7), (5, 6, 8)] == points(await flushed(run))
    await run.processor.shutdown()


async def test_two_known_halves_of_a_metric_do_not_replace_each_other() -> None:
    run = await started()
    for half in ([0, 1, 2], [3, 4]):
        for time in (2, 3, 4):
            await run.give(several(half, time, time))
        await flushed(run)
    await run.give(several([0, 1, 2], 5, 5))
    await run.give(several([3, 4], 6, 5))

    assert [5, 6, 7, 8, 9] == [value for *_, value in points(await flushed(run))]
    await run.processor.shutdown()


async def test_layouts_are_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlsysops_processors.interval.layouts._POINTS_MAX", 5)
    run = await started()
    for time in range(2, 8):
        await run.give(
            *({**several([0, 1, 2], time, time), "name": name} for name in ("a", "b", "c"))
        )

    assert len(points(await flushed(run))) == 9
    assert run.ledger.aggregated == 45
    await run.processor.shutdown()


async def test_streams_beyond_the_limit_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsysops_processors.interval.STREAMS_MAX", 2)
    assert STREAMS_MAX > 2
    run = await started()
    found = await run.give(
        {"points": [number(1, 2, attributes={"a": str(index)}) for index in range(3)]}
    )

    assert len(points(found)) == 1
    assert len(points(await flushed(run))) == 2
    await run.processor.shutdown()


def test_bad_configuration() -> None:
    with pytest.raises(ConfigError, match="invalid interval value"):
        parse_config(Config, {"interval": "0s"})
    with pytest.raises(ConfigError, match="pass_through"):
        parse_config(Config, {"pass_through": {"sum": True}})


def test_times_are_told_from_the_start_of_tests() -> None:
    assert seconds(streams.T0) == 0
