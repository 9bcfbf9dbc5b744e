"""What is not aggregated goes on with every field, also those that nobody knows here."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_processors.aggregation import FACTORY
from tests.core.pdata.wires import OFFICIAL, WireMaker, field, leaves
from tests.processors.aggregation.model import CUMULATIVE, Point, Series
from tests.processors.aggregation.scenarios import SCOPE, T0, request
from tests.processors.streams import Running

S = 1_000_000_000
RULE = {"metrics": ["taken*"], "functions": ["sum"]}
TAKEN = Series("taken", "gauge", attributes=(("a", "1"),))
COUNTER = Series("taken_total", "sum", "1", CUMULATIVE, is_monotonic=True)
UNKNOWN = field(77, b"what a later version of OTLP says")


async def started(**config: Any) -> Running:
    run = Running(FACTORY, {"interval": "10s", "rules": [RULE], **config})
    await run.processor.start()
    return run


def points(*seconds: float) -> list[Point]:
    """Of a gauge and of a counter."""
    return [
        Point(series, T0 - S, T0 + int(second * S), 1)
        for series in (TAKEN, COUNTER)
        for second in seconds
    ]


def extended(wire: bytes) -> bytes:
    """The same with a field that nobody knows in every message from the group to the point."""
    made = OFFICIAL[Signal.METRICS].FromString(wire)
    _extend(made, ("resource_metrics", "scope_metrics", "metrics", "data", "data_points"))
    return bytes(made.SerializeToString())


def _extend(message: Any, depth: tuple[str, ...]) -> None:
    message.MergeFromString(UNKNOWN)
    if not depth:
        return
    if depth[0] == "data":
        _extend(getattr(message, message.WhichOneof("data")), depth[1:])
        return
    for child in getattr(message, depth[0]):
        _extend(child, depth[1:])


def passed(run: Running) -> Counter[tuple[bytes, ...]]:
    """What came out that was not made here."""
    return Counter(
        leaf
        for payload in run.sink.payloads
        for leaf in leaves(Signal.METRICS, payload.joined())
        if not any(SCOPE.encode() in part for part in leaf)
    )


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), is_first=st.booleans())
async def test_other_metrics_are_left_alone(seed: int, is_first: bool) -> None:
    """Whatever stands beside what is taken: every leaf goes on as its bytes were."""
    other = WireMaker(seed, one_kind=True).request(Signal.METRICS)
    taken = request(points(1, 2))
    run = await started()
    await run.give_wire(taken + other if is_first else other + taken)

    assert Counter(leaves(Signal.METRICS, other)) == passed(run)
    assert run.ledger.held + run.ledger.aggregated == 4
    await run.clock.advance(60)
    run.metrics()
    assert run.ledger.imbalance == 0
    await run.processor.shutdown()


async def test_late_points_are_forwarded_as_they_came() -> None:
    run = await started(late="forward")
    late = extended(request(points(-60, 90)))
    await run.give_wire(late + request(points(1)))

    assert Counter(leaves(Signal.METRICS, late)) == passed(run)
    await run.processor.shutdown()


async def test_points_that_are_late_are_parted_from_their_neighbours() -> None:
    """In one metric: what is in time is taken, and what is late goes on with all its fields."""
    run = await started(late="forward")
    whole = extended(request(points(1, -60, 2)))
    expected = extended(request(points(-60)))
    await run.give_wire(whole)

    assert Counter(leaves(Signal.METRICS, expected)) == passed(run)
    assert run.ledger.imbalance == 0
    await run.processor.shutdown()


async def test_the_original_goes_on_untouched_beside_the_results() -> None:
    run = await started(keep_original=True)
    wire = extended(request(points(1, -60, 2)))
    await run.give_wire(wire)
    await run.clock.advance(60)
    run.metrics()

    assert Counter(leaves(Signal.METRICS, wire)) == passed(run)
    assert wire == run.sink.payloads[0].joined()
    assert len(run.sink.payloads) > 1
    assert run.ledger.imbalance == 0
    await run.processor.shutdown()
