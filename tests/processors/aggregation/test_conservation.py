"""What goes in comes out: nothing is lost and nothing counts twice, also with too many series."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.errors import DropReason, RetryableError
from mlsysops_processors.aggregation import FACTORY
from tests.processors.aggregation.model import DELTA, Point, S, Series, Values
from tests.processors.aggregation.scenarios import read, request
from tests.processors.streams import Running

CONFIG = {
    "interval": "5s",
    "allowed_lateness": "10s",
    "max_series": 3,
    "max_stale": "0s",  # else there is room again, and a point that is repeated may get it
    "rules": [{"metrics": ["m"], "by": ["zone"], "functions": ["sum"]}],
}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["sum", "histogram"]),
        st.integers(0, 5),  # which series
        st.integers(-30, 3),  # how many seconds from now
        st.sampled_from(["go on", "again", "wait", "refuse"]),
    ),
    max_size=30,
)


def point(kind: str, series: int, time: int) -> Point:
    """One that is always the same for a time."""
    labels = (("pod", str(series)), ("zone", "x"))
    identity = Series("m", kind, "1", DELTA, kind == "sum", attributes=labels)
    value = 1 + (time // S * 7 + series) % 9
    content = value if kind == "sum" else Values((1.0,), ((0, value),), 0.5 * value, 0.5, 0.5)
    return Point(identity, time - S, time, content)


def amount(value: Any) -> int:
    return value.count if isinstance(value, Values) else int(value)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
async def test_deltas_come_out_as_often_as_they_came_in(steps: list[Any]) -> None:
    """The sum of all results is that of all points but the late ones, which are counted."""
    run = Running(FACTORY, CONFIG)
    await run.processor.start()
    taken: set[Point] = set()
    late = 0
    for kind, series, ahead, then in steps:
        given = point(kind, series, run.clock.unix_ns() + ahead * S)
        if then == "refuse":
            run.sink.error = RetryableError("not now")
        for _ in range(2 if then == "again" else 1):
            await run.give_wire(request([given]))
            assert run.ledger.imbalance == 0
            is_late = run.ledger.dropped[DropReason.LATE] > late
            late = run.ledger.dropped[DropReason.LATE]
            if not is_late:
                taken.add(given)
        if then == "wait":
            run.sink.error = None
            await run.clock.advance(7)
    run.sink.error = None
    await run.processor.shutdown()
    run.metrics()

    assert run.ledger.imbalance == run.ledger.held == 0
    assert late == run.ledger.dropped.total()
    results = [result for payload in run.sink.payloads for result in read(payload.joined())[0]]
    assert sum(amount(given.value) for given in taken) == sum(
        amount(result.value) for result in results
    )


async def test_a_result_of_too_many_series_is_kept_while_a_window_is_open() -> None:
    """Another window closes in between, after which what is silent is forgotten."""
    run = Running(FACTORY, {**CONFIG, "max_series": 1, "max_stale": "1s"})
    await run.processor.start()
    now = run.clock.unix_ns()
    for sent in (point("sum", 0, now - S), point("sum", 1, now), point("sum", 0, now + S)):
        await run.give_wire(request([sent]))
    await run.clock.advance(12)
    assert len(run.sink.payloads) == 1
    await run.give_wire(request([point("sum", 2, now)]))
    await run.processor.shutdown()

    results = [result for payload in run.sink.payloads for result in read(payload.joined())[0]]
    of_overflow = [result for result in results if result.attributes != (("zone", "x"),)]
    assert len(results) == 3
    assert [result.value for result in of_overflow] == [
        amount(point("sum", 1, now).value) + amount(point("sum", 2, now).value)
    ]
