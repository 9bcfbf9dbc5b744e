from __future__ import annotations

import pytest

from mlsysops_pipeline.testing import JumpClock
from mlsysops_receivers.prometheus.schedule import Schedule

NOON_NS = 1_700_000_000_000_000_000  # a multiple of ten seconds


class Ticks:
    """Remembers the times that it was given."""

    def __init__(self) -> None:
        self.at_ns: list[int] = []
        self.left_out = 0

    def missed(self, ticks: int) -> None:
        self.left_out += ticks

    def tick(self, at_ns: int) -> None:
        self.at_ns.append(at_ns)

    def seconds(self) -> list[float]:
        return [round((at - NOON_NS) / 1e9, 3) for at in self.at_ns]


async def test_ticks_are_at_the_same_place_of_every_interval() -> None:
    clock, ticks = JumpClock(unix_ns=NOON_NS), Ticks()
    schedule = Schedule(clock)
    await clock.advance(3.0)

    schedule.add(ticks, 10.0, 0.25)
    await clock.advance(27.0)

    assert [12.5, 22.5] == ticks.seconds()


async def test_a_place_that_is_still_to_come_is_this_intervals() -> None:
    clock, ticks = JumpClock(unix_ns=NOON_NS), Ticks()
    schedule = Schedule(clock)
    await clock.advance(3.0)

    schedule.add(ticks, 10.0, 0.5)
    await clock.advance(7.0)

    assert [5.0] == ticks.seconds()


async def test_many_targets_need_one_timer() -> None:
    clock = JumpClock(unix_ns=NOON_NS)
    schedule = Schedule(clock)
    all_ticks = [Ticks() for _ in range(1_000)]
    for number, ticks in enumerate(all_ticks):
        schedule.add(ticks, 1.0, number / 1_000)

    assert clock.pending == 1
    await clock.advance(2.9995)
    assert {3} == {len(ticks.at_ns) for ticks in all_ticks}
    assert clock.pending == 1
    assert 1_000 == len(schedule)


async def test_intervals_below_a_second() -> None:
    clock, ticks = JumpClock(unix_ns=NOON_NS), Ticks()
    Schedule(clock).add(ticks, 0.25, 0.5)
    await clock.advance(1.0)

    assert [0.125, 0.375, 0.625, 0.875] == ticks.seconds()


async def test_an_initial_delay_comes_before_everything() -> None:
    clock, ticks = JumpClock(unix_ns=NOON_NS), Ticks()
    Schedule(clock).add(ticks, 10.0, 0.7, delay_s=1.5)
    await clock.advance(12.0)

    assert [1.5, 11.5] == ticks.seconds()


async def test_what_is_removed_is_not_called_again() -> None:
    clock, ticks, other = JumpClock(unix_ns=NOON_NS), Ticks(), Ticks()
    schedule = Schedule(clock)
    place = schedule.add(ticks, 1.0, 0.5)
    schedule.add(other, 1.0, 0.5)
    await clock.advance(1.0)
    place.remove()
    await clock.advance(1.0)

    assert ([0.5], [0.5, 1.5]) == (ticks.seconds(), other.seconds())
    assert len(schedule) == 1


async def test_stopped_is_stopped() -> None:
    clock, ticks = JumpClock(unix_ns=NOON_NS), Ticks()
    schedule = Schedule(clock)
    schedule.add(ticks, 1.0, 0.5)
    schedule.stop()
    schedule.add(ticks, 1.0, 0.5)
    await clock.advance(5.0)

    assert ([], 0) == (ticks.at_ns, clock.pending)


class LateClock(JumpClock):
    """A clock whose timers ring late, as those of a busy process do."""

    late_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.late_s

    def unix_ns(self) -> int:
        return super().unix_ns() + int(self.late_s * 1e9)


@pytest.mark.parametrize(
    ("late_s", "expected_s"), [(0.001, 5.0), (0.0019, 5.0), (0.1, 5.1), (3.0, 8.0)]
)
async def test_a_little_late_counts_as_in_time(late_s: float, expected_s: float) -> None:
    clock, ticks = LateClock(unix_ns=NOON_NS), Ticks()
    Schedule(clock).add(ticks, 10.0, 0.5)
    clock.late_s = late_s
    await clock.advance(5.0)

    assert [expected_s] == ticks.seconds()


async def test_ticks_that_are_much_too_late_are_left_out() -> None:
    clock, ticks = LateClock(unix_ns=NOON_NS), Ticks()
    Schedule(clock).add(ticks, 1.0, 0.5)
    clock.late_s = 4.0
    await clock.advance(0.5)
    clock.late_s = 0.0
    assert [4.5] == ticks.seconds()
    assert ticks.left_out == 4

    await clock.advance(5.5)

    assert [4.5, 5.5] == ticks.seconds()


async def test_a_wall_clock_that_is_set_changes_the_times_but_not_the_rhythm() -> None:
    class Set(JumpClock):
        shift_ns = 0

        def unix_ns(self) -> int:
            return super().unix_ns() + self.shift_ns

    clock, ticks = Set(unix_ns=NOON_NS), Ticks()
    Schedule(clock).add(ticks, 1.0, 0.5)
    await clock.advance(1.0)
    clock.shift_ns = 3_600 * 10**9
    await clock.advance(2.0)

    assert [0.5, 3_601.5, 3_602.5] == ticks.seconds()
