"""Whatever comes in whatever order, the store keeps its books and shows only what it may."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlsysops_exporters.prometheus.store import FUTURE_NS
from mlsysops_pipeline.prometheus.names import Kind
from mlsysops_pipeline.prometheus.points import Family, Type
from tests.exporters.prometheus.test_store import Driver

FAMILIES = [
    Family("a", Kind.GAUGE, Type.GAUGE, help_="", unit=""),
    Family("a", Kind.COUNTER, Type.COUNTER, help_="", unit=""),
    Family("b_total", Kind.COUNTER, Type.COUNTER, help_="", unit="", is_delta=True),
]
EXPIRATION_S = 60


def points(*families: int) -> st.SearchStrategy[tuple[object, ...]]:
    return st.tuples(
        st.just("point"),
        st.sampled_from(families),
        st.sampled_from("xyz"),
        st.one_of(st.none(), st.integers(0, 9)),
        st.integers(-70, 10),
    )


turns = st.tuples(st.just("turn"), st.integers(0, 70))
waits = st.tuples(st.just("wait"), st.integers(0, 70))


def steps(*families: int) -> st.SearchStrategy[list[tuple[object, ...]]]:
    some = points(*families)
    return st.lists(st.one_of(some, some, some, turns, waits), max_size=40)


@given(steps=steps(0, 1, 2), weight_max=st.sampled_from([2, 1_000]))
def test_the_books_of_the_store_balance(steps: list[tuple[object, ...]], weight_max: int) -> None:
    driver = Driver(expiration_s=EXPIRATION_S, weight_max=weight_max)
    for step in steps:
        _do(driver, step)
        store = driver.store
        members = [series for group in store.groups.values() for series in group.members.values()]
        assert all(
            series.group is store.groups[series.group.name] for series in members if series.group
        )
        assert sum(series.weight for series in members) == store.weight <= weight_max
        assert sum(series.value is not None for series in members) == store.live
        assert store.live + len(store._dead) == len(members)
        for group in store.groups.values():
            assert group.members
            assert group.live == sum(each.value is not None for each in group.members.values())
    driver.turn(3 * EXPIRATION_S)
    driver.turn(3 * EXPIRATION_S)
    assert not driver.store.groups
    assert not driver.store._wheel


@given(steps=steps(0, 2))
def test_what_is_shown_is_new_enough_and_the_newest(steps: list[tuple[object, ...]]) -> None:
    driver = Driver(expiration_s=EXPIRATION_S)
    given: dict[str, list[tuple[float, float, object]]] = {}
    for step in steps:
        _do(driver, step)
        if step[0] == "point":
            name = FAMILIES[int(str(step[1]))].name
            at = driver.now + int(str(step[4]))
            given.setdefault(f'{name}{{l="{step[2]}"}}', []).append((driver.now, at, step[3]))
        for key, value in driver.shown().items():
            if key.startswith("a"):
                assert _may_be_shown(value, given[key], driver.now)


def _may_be_shown(value: object, given: list[tuple[float, float, object]], now: float) -> bool:
    """Whether a point with this value came lately, and nothing newer lately before or after it."""
    for place, (when, at, other) in enumerate(given):
        if other == value and now - when < EXPIRATION_S:
            before = [
                known
                for known in given[:place]
                if when - known[0] < EXPIRATION_S and known[1] >= at
            ]
            after = [known for known in given[place + 1 :] if known[1] > at]
            if not after and all(known[2] is None for known in before):
                return True
    return False


def _do(driver: Driver, step: tuple[object, ...]) -> None:
    if step[0] == "point":
        _, index, name, value, offset = step
        assert isinstance(offset, int)
        assert offset * 1_000_000_000 <= FUTURE_NS
        driver.point(
            None if value is None else float(str(value)),
            driver.now + offset,
            family=FAMILIES[int(str(index))],
            l=str(name),
        )
    elif step[0] == "turn":
        driver.turn(float(str(step[1])))
    else:
        driver.now += float(str(step[1]))
