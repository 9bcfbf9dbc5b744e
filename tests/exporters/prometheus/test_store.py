"""Series come, change, end and are forgotten, each by itself and by the clock."""

from __future__ import annotations

import pytest

from mlsysops_exporters.prometheus.store import FUTURE_NS, Series, Store
from mlsysops_pipeline.prometheus.names import Kind
from mlsysops_pipeline.prometheus.points import Family, Type
from mlsysops_pipeline.prometheus.translate import TARGET_INFO

NOW_NS = 1_700_000_000_000_000_000
GAUGE = Family("g", Kind.GAUGE, Type.GAUGE, help_="first", unit="")
DELTA = Family("d_total", Kind.COUNTER, Type.COUNTER, help_="", unit="", is_delta=True)


class Driver:
    """A store, a clock in seconds, and points whose times are seconds on the same clock."""

    def __init__(self, *, expiration_s: float = 60.0, weight_max: int = 1_000) -> None:
        self.store = Store(expiration_s=expiration_s, weight_max=weight_max)
        self.now = 0.0

    def point(
        self,
        value: float | None,
        at: float | None = None,
        *,
        family: Family = GAUGE,
        start: float | None = None,
        **labels: str,
    ) -> Series:
        series = self.store.series(family, tuple(sorted(labels.items())))
        self.again(series, value, at, family=family, start=start)
        return series

    def again(
        self,
        series: Series,
        value: float | None,
        at: float | None = None,
        *,
        family: Family = GAUGE,
        start: float | None = None,
    ) -> None:
        time_ns = self.ns(self.now if at is None else at)
        start_ns = 0 if start is None else self.ns(start)
        now_ns = self.ns(self.now)
        points = [(series, time_ns, start_ns, value, ())]
        self.store.numbers(family, points, self.now, now_ns)

    @staticmethod
    def ns(seconds: float) -> int:
        return NOW_NS + int(seconds * 1e9)

    def turn(self, seconds: float) -> None:
        self.now += seconds
        while self.store.expire(self.now, 100):
            pass

    def shown(self) -> dict[str, object]:
        """What a page would show now, whether `expire` was called or not."""
        alive_s = self.store.alive_s(self.now)
        return {
            f"{group.name}{{{series.text}}}": series.value
            for group in self.store.groups.values()
            for series in group.members.values()
            if series.value is not None and series.updated_s > alive_s
        }


def test_the_last_value_is_shown_and_each_series_once() -> None:
    driver = Driver()
    driver.point(1.0, 0, a="x")
    driver.point(2.0, 1, a="x")
    driver.point(3.0, 1, a="y")
    assert {'g{a="x"}': 2.0, 'g{a="y"}': 3.0} == driver.shown()
    assert 2 == driver.store.live == driver.store.weight


def test_same_and_older_times_are_ignored() -> None:
    driver = Driver()
    driver.point(1.0, 5)
    driver.point(2.0, 5)
    driver.point(3.0, 4)
    assert {"g{}": 1.0} == driver.shown()


def test_points_without_a_time_count_as_of_now() -> None:
    driver = Driver()
    series = driver.store.series(GAUGE, ())
    for value in (1.0, 2.0):
        driver.now += 1
        now_ns = driver.ns(driver.now)
        driver.store.numbers(GAUGE, [(series, 0, 0, value, ())], driver.now, now_ns)
    assert {"g{}": 2.0} == driver.shown()


def test_every_series_expires_by_its_own_time() -> None:
    driver = Driver(expiration_s=60)
    driver.point(1.0, a="x")
    driver.turn(30)
    driver.point(1.0, a="y")
    driver.now += 29.9
    assert 2 == len(driver.shown())
    driver.now += 0.1
    assert ['g{a="y"}'] == list(driver.shown())  # by the clock, before anything was cleaned up
    driver.turn(1.3)
    assert 1 == driver.store.live
    driver.turn(200)
    assert 0 == driver.store.live == driver.store.weight
    assert not driver.store.groups


def test_a_repeated_point_does_not_prolong_a_life() -> None:
    driver = Driver(expiration_s=60)
    driver.point(1.0, 0)
    for _ in range(30):
        driver.turn(10)
        driver.point(1.0, 0)
    assert {} == driver.shown()
    driver.turn(61)
    driver.point(1.0, driver.now)
    assert 1 == len(driver.shown())


def test_the_end_of_one_series_is_the_end_of_no_other() -> None:
    # contrib#51289: of five stale series of a metric one was removed.
    driver = Driver()
    series = [driver.point(1.0, 0, a=str(number)) for number in range(5)]
    ends = [(each, driver.ns(1), 0, None, ()) for each in series[:4]]
    driver.store.numbers(GAUGE, ends, 1.0, driver.ns(1))
    assert ['g{a="4"}'] == list(driver.shown())


@pytest.mark.parametrize("is_stale", [True, False])
def test_late_and_repeated_points_bring_nothing_back(is_stale: bool) -> None:
    driver = Driver(expiration_s=60)
    series = driver.point(1.0, 0)
    if is_stale:
        driver.point(None, 10)
    else:
        driver.turn(61)
    driver.point(2.0, -1)
    driver.again(series, 1.0, 0)
    assert {} == driver.shown()
    driver.point(3.0, 11)
    assert {"g{}": 3.0} == driver.shown()


def test_an_end_that_comes_late_ends_nothing() -> None:
    driver = Driver()
    driver.point(1.0, 10)
    driver.point(None, 9)
    assert 1 == len(driver.shown())
    driver.point(None, 10)  # not later than the value, but about it
    assert {} == driver.shown()
    driver.point(None, 11, a="never seen")
    assert 1 == driver.store.weight


def test_a_time_in_the_future_freezes_nothing() -> None:
    driver = Driver()
    driver.point(1.0, 1e6)
    driver.point(2.0, 0)
    assert {"g{}": 2.0} == driver.shown()
    driver.point(3.0, 1)
    assert {"g{}": 3.0} == driver.shown()


def test_a_sender_whose_clock_is_ahead_stays_in_order() -> None:
    driver = Driver()
    ahead = FUTURE_NS / 1e9 * 100
    driver.point(1.0, ahead)
    driver.point(2.0, ahead + 10)
    driver.point(3.0, ahead + 5)
    assert {"g{}": 2.0} == driver.shown()


def test_a_clock_that_was_set_back_freezes_nothing_for_ever() -> None:
    driver = Driver(expiration_s=60)
    driver.point(1.0, 0)
    for number in range(1, 20):
        driver.turn(10)
        driver.point(float(number), driver.now - 3600)
    assert 1 == len(driver.shown())


def test_a_series_that_was_forgotten_is_known_again_by_any_of_its_objects() -> None:
    driver = Driver(expiration_s=60)
    old = driver.point(1.0, a="x")
    driver.turn(200)
    assert not driver.store.groups
    driver.point(2.0, a="x")
    driver.again(old, 3.0, driver.now + 1)
    driver.turn(1)
    assert {'g{a="x"}': 3.0} == driver.shown()
    assert 1 == driver.store.weight


def test_zero_never_expires() -> None:
    driver = Driver(expiration_s=0)
    driver.point(1.0)
    driver.turn(1e9)
    assert 1 == len(driver.shown())
    driver.point(None)
    driver.turn(1e9)
    assert not driver.store.groups


def test_a_name_has_one_type_while_it_lives() -> None:
    # PO-15: a TYPE conflict drops whole metrics.
    driver = Driver(expiration_s=60)
    other = Family("g", Kind.COUNTER, Type.COUNTER, help_="", unit="")
    driver.point(1.0)
    driver.point(2.0, 1, family=other)
    assert {"g{}": 1.0} == driver.shown()
    assert 1 == driver.store.conflicts
    driver.turn(61)
    driver.point(3.0, family=other)
    assert {"g{}": 3.0} == driver.shown()
    assert Type.COUNTER is driver.store.groups["g"].type
    driver.point(9.0, 0, family=other)
    assert {"g{}": 3.0} == driver.shown()  # what the dead were is not forgotten with the type


def test_the_first_help_is_kept() -> None:
    # PO-15: HELP conflicts keep the points.
    driver = Driver()
    driver.point(1.0, a="x")
    other = Family("g", Kind.GAUGE, Type.GAUGE, help_="second", unit="")
    driver.point(1.0, family=other, a="y")
    assert "first" == driver.store.groups["g"].help
    assert 2 == len(driver.shown())


def test_a_counter_that_restarts_is_shown_as_it_is() -> None:
    # DM-6: whoever reads sees the reset; nothing is added to hide it.
    driver = Driver()
    cumulative = Family("c_total", Kind.COUNTER, Type.COUNTER, help_="", unit="")
    driver.point(100.0, 10, family=cumulative, start=0)
    driver.point(3.0, 20, family=cumulative, start=15)
    assert {"c_total{}": 3.0} == driver.shown()


def test_changes_are_added_up_while_they_join() -> None:
    # DM-6, DM-7, PO-6.
    driver = Driver()
    driver.point(5.0, 10, family=DELTA, start=0)
    driver.point(7.0, 20, family=DELTA, start=10)
    assert {"d_total{}": 12.0} == driver.shown()
    driver.point(1.0, 30, family=DELTA)  # it does not say where it starts
    assert {"d_total{}": 13.0} == driver.shown()
    driver.point(2.0, 50, family=DELTA, start=40)  # a gap
    assert {"d_total{}": 2.0} == driver.shown()
    driver.point(3.0, 60, family=DELTA, start=45)  # an overlap
    assert {"d_total{}": 3.0} == driver.shown()


def test_a_change_that_comes_late_or_twice_is_not_added() -> None:
    driver = Driver()
    driver.point(5.0, 10, family=DELTA, start=0)
    driver.point(5.0, 10, family=DELTA, start=0)
    assert 0 == driver.store.late
    driver.point(4.0, 5, family=DELTA, start=0)
    assert 1 == driver.store.late
    assert {"d_total{}": 5.0} == driver.shown()


def test_a_sum_begins_anew_when_its_series_does() -> None:
    driver = Driver(expiration_s=60)
    series = driver.point(5.0, 0, family=DELTA)
    driver.now += 60  # due, although nobody has cleaned up
    driver.again(series, 7.0, 60, family=DELTA, start=0)
    assert {"d_total{}": 7.0} == driver.shown()
    driver.point(None, 61, family=DELTA)
    driver.point(2.0, 62, family=DELTA, start=61)
    assert {"d_total{}": 2.0} == driver.shown()


def test_changes_are_not_added_to_a_value_that_was_none() -> None:
    driver = Driver()
    cumulative = Family("d_total", Kind.COUNTER, Type.COUNTER, help_="", unit="")
    driver.point(100.0, 0, family=cumulative)
    driver.point(1.0, 1, family=DELTA, start=0)
    assert {"d_total{}": 1.0} == driver.shown()


def test_series_have_a_limit_and_the_dead_make_room_first() -> None:
    driver = Driver(weight_max=3)
    for number in range(5):
        driver.point(1.0, 0, a=str(number))
    assert 3 == len(driver.shown()) == driver.store.weight
    assert 2 == driver.store.full
    driver.point(2.0, 1, a="0")  # who is known goes on
    driver.point(None, 1, a="1")
    driver.point(1.0, 0, a="9")
    assert {'g{a="0"}': 2.0, 'g{a="2"}': 1.0, 'g{a="9"}': 1.0} == driver.shown()


def test_large_labels_count_as_several_series() -> None:
    driver = Driver(weight_max=100)
    driver.point(1.0, 0, a="x" * 1024 * 50)
    driver.point(1.0, 0, b="x" * 1024 * 60)
    assert 1 == len(driver.shown()) == driver.store.full
    assert 51 == driver.store.weight


def test_memory_is_bounded_when_every_point_is_a_new_series() -> None:
    driver = Driver(expiration_s=60, weight_max=100)
    for number in range(10_000):
        driver.point(1.0, a=str(number))
        if number % 50 == 0:
            driver.turn(10)
    known = sum(len(group.members) for group in driver.store.groups.values())
    assert driver.store.weight == known <= 100


def test_a_target_is_described_once() -> None:
    # PO-14: at most one for each job and instance; the newest.
    driver = Driver()
    driver.point(1.0, 0, family=TARGET_INFO, job="j", instance="i", version="1")
    driver.point(1.0, 1, family=TARGET_INFO, job="j", instance="i", version="2")
    driver.point(1.0, 0, family=TARGET_INFO, job="j", instance="i", version="1")
    driver.point(1.0, 0, family=TARGET_INFO, job="j", instance="other", version="1")
    assert [
        'target_info{instance="i",job="j",version="2"}',
        'target_info{instance="other",job="j",version="1"}',
    ] == list(driver.shown())
    driver.point(1.0, 2, family=TARGET_INFO, job="j", instance="i", version="1")
    assert 2 == len(driver.shown()) == driver.store.weight


def test_another_type_waits_for_the_last_series_whichever_that_is() -> None:
    """PO-15. Which one lives is remembered, and looked for again only when it has died."""
    driver = Driver()
    other = Family("g", Kind.COUNTER, Type.COUNTER, help_="", unit="")
    for name in "abc":
        driver.point(1.0, 0, l=name)
    for name in "abc":
        driver.point(2.0, 1, family=other, l="x")
        assert [1.0] * len(driver.shown()) == list(driver.shown().values())
        driver.point(None, 2, l=name)
    driver.point(2.0, 3, family=other, l="x")
    assert [2.0] == list(driver.shown().values())
