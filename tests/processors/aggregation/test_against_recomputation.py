"""The processor against the recomputation of `oracle`, from whatever random senders send.

Senders are delayed, overtake each other, repeat themselves and begin anew; the next stage refuses
for a while; the processor is stopped and started again.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from itertools import groupby
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import DropReason, RetryableError
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import JumpClock, Sink, make_settings
from mlsysops_processors.aggregation import FACTORY
from tests.processors.aggregation import scenarios
from tests.processors.aggregation.model import (
    CUMULATIVE,
    Point,
    Result,
    S,
    Setup,
    Values,
    Within,
)
from tests.processors.aggregation.oracle import Outcome, recompute


class Life:
    """A processor from its start to its end, and what arrived when."""

    def __init__(self, setup: Setup, clock: JumpClock) -> None:
        self.setup = setup
        self.clock = clock
        self.born = clock.unix_ns()
        self.stopped: int | None = None
        self.sink = Sink()
        self.arrivals: list[tuple[int, Point]] = []
        self.settings = make_settings("aggregation", clock=clock, signals=FACTORY.signals)
        self.ledger = self.settings.pipeline_ledger
        config: Any = parse_config(FACTORY.config, scenarios.config(setup))
        self.processor: Any = FACTORY.create(config, self.settings, self.sink)

    async def give(self, points: list[Point]) -> None:
        """Send until it is taken, as senders do."""
        payload = Payload(Signal.METRICS, scenarios.request(points))
        while True:
            now = self.clock.unix_ns()
            try:
                await self.processor.consume(payload)
            except RetryableError:
                self.check()
                await self.clock.advance(0.25)
                self.sink.error = None
            else:
                break
        self.ledger.received += payload.items
        self.arrivals.extend((now, point) for point in points)
        self.check()

    async def stop(self) -> None:
        self.sink.error = None
        self.stopped = self.clock.unix_ns()
        await self.processor.shutdown()
        self.check()
        assert self.ledger.held == 0
        assert self.settings.memory.in_flight == 0

    def check(self) -> None:
        """The identity of the ledger, which holds at any time."""
        self.ledger.handed_on = self.sink.items
        assert self.ledger.imbalance == 0, self.ledger

    def found(self) -> tuple[list[Result], list[Point]]:
        results, passed = [], []
        for payload in self.sink.payloads:
            of_results, of_passed = scenarios.read(payload.joined())
            results.extend(of_results)
            passed.extend(of_passed)
        return results, passed


async def simulate(rng: random.Random, *, series: int, points: int) -> list[Life]:
    """Run a random setup on what random senders send; the lives of its processors."""
    setup = scenarios.setup(rng)
    clock = JumpClock()
    await clock.advance(rng.randint(0, 40) / 4)
    lives = [Life(setup, clock)]
    await lives[-1].processor.start()
    arrivals = scenarios.arrivals(rng, series=series, points=points)
    for at, group in groupby(arrivals, key=lambda arrival: arrival[0]):
        if clock.unix_ns() < at:
            await clock.advance((at - clock.unix_ns()) / S)
        lives[-1].check()
        event = rng.random()
        if event < 0.03:
            await lives[-1].stop()
            lives.append(Life(setup, clock))
            await lives[-1].processor.start()
        elif event < 0.08:
            lives[-1].sink.error = RetryableError("not now")
        elif event < 0.13:
            lives[-1].sink.error = None
        sent = [point for _, point in group]
        rng.shuffle(sent)
        await lives[-1].give(sent)
    lives[-1].sink.error = None
    if rng.random() < 0.5:
        await clock.advance(120)
        lives[-1].check()
    await lives[-1].stop()
    return lives


def check(lives: list[Life]) -> None:
    """Whether results are those of the recomputation, and the laws hold that need none."""
    for life in lives:
        expected = recompute(life.setup, life.born, life.arrivals, life.stopped)
        results, passed = life.found()
        assert Counter(map(_plain, expected.passed)) == Counter(map(_plain, passed))
        compare(expected.results, results)
        check_ledger(life, expected, len(results))
        check_totals(results)


def _plain(point: Point) -> Any:
    return point.series, point.start, point.time, repr(point.value)


def compare(expected: list[Result], found: list[Result]) -> None:
    """As sets; numbers up to rounding, quantiles up to the bound that is documented."""
    ours, theirs = _by_identity(found), _by_identity(expected)
    missing, extra = sorted(theirs.keys() - ours.keys()), sorted(ours.keys() - theirs.keys())
    assert not missing + extra, (missing[:3], extra[:3])
    for key, results in theirs.items():
        assert len(results) == len(ours[key]), key
        for one, other in zip(results, ours[key], strict=True):
            assert is_same(one.value, other.value), (one, other)


def _by_identity(results: list[Result]) -> dict[Any, list[Result]]:
    found = defaultdict(list)
    for result in results:
        identity = (result.metric, result.resource, result.attributes, result.is_partial)
        found[(*identity, result.start, result.time)].append(result)
    return found


def is_same(expected: Any, found: Any) -> bool:
    if isinstance(expected, Within):
        return bool(expected.low <= found <= expected.high)
    if isinstance(expected, Values):
        if (expected.layout, expected.cells) != (found.layout, found.cells):
            return False
        names = ("sum", "least", "greatest")
        return all(is_same(getattr(expected, name), getattr(found, name)) for name in names)
    if isinstance(expected, int) or expected is None:
        return type(expected) is type(found) and bool(expected == found)
    if isinstance(found, int):  # a double that added nothing does not show
        return bool(expected == found)
    if math.isnan(expected):
        return math.isnan(found)
    return isinstance(found, float) and math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-9)


def check_ledger(life: Life, expected: Outcome, results: int) -> None:
    """What was late is counted, and what was taken became results."""
    ledger = life.ledger
    late = 0 if life.setup.forwards_late else expected.late
    copies = expected.taken + late + expected.impossible if life.setup.keeps_original else 0
    dropped = {DropReason.LATE: late, DropReason.UNCONVERTIBLE: expected.impossible}
    assert expected.taken == ledger.aggregated
    assert results == ledger.created - copies
    assert {reason: count for reason, count in dropped.items() if count} == dict(ledger.dropped)


def check_totals(results: list[Result]) -> None:
    """DM-12: a cumulative total never falls while its start is the same."""
    last: dict[Any, tuple[int, Any]] = {}
    for result in sorted(results, key=lambda result: result.time):
        _, kind, _, temporality, is_monotonic = result.metric
        if temporality != CUMULATIVE or (kind == "sum" and not is_monotonic):
            continue
        key = (result.metric, result.resource, result.attributes)
        value = result.value.count if isinstance(result.value, Values) else result.value
        start, before = last.get(key, (0, 0))
        assert start <= result.start
        assert value >= before or start < result.start
        last[key] = result.start, value


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a choice of a sender does not shrink
)
@given(rng=st.randoms(use_true_random=False))
async def test_windows_are_as_recomputed(rng: random.Random) -> None:
    """DM-1 to DM-4, DM-6, DM-10 to DM-12."""
    check(await simulate(rng, series=3, points=6))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
async def test_many_series_are_as_recomputed(seed: int) -> None:
    """The same at length: restarts, and the next stage refusing now and then."""
    rng = random.Random(seed)  # noqa: S311  not a secret
    check(await simulate(rng, series=40, points=20))
