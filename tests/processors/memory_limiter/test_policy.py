"""The decisions of the memory limiter, without clock and memory (CV-2)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlsysops_processors.memory_limiter.policy import Gate, Limits, Policy, Pressure

MIB = 1 << 20


def policy(
    soft: int = 80 * MIB, hard: int = 100 * MIB, *, soft_s: float = 10, hard_s: float = 0
) -> Policy:
    return Policy(
        Limits(soft, hard),
        Gate(soft_s, 30, check_interval_s=1),
        Gate(hard_s, 30, check_interval_s=1),
    )


def test_refuses_from_the_soft_limit_of_bytes_in_flight() -> None:
    limiter = policy()

    assert not limiter.judge(80 * MIB - 1, 0)
    assert limiter.judge(80 * MIB, 0)


def test_bytes_in_flight_decide_between_two_looks_too() -> None:
    limiter = policy()
    limiter.judge(0, 0)

    assert limiter.admits(100 * MIB, in_flight=0)
    assert not limiter.admits(100 * MIB + 1, in_flight=0)
    assert not limiter.admits(30 * MIB, in_flight=71 * MIB)
    assert not limiter.admits(1, in_flight=80 * MIB)
    assert limiter.admits(1, in_flight=79 * MIB)


def test_between_two_looks_no_more_comes_in_than_there_was_room_for() -> None:
    """The process itself takes memory too, of which bytes in flight know nothing."""
    limiter = policy()
    limiter.judge(10 * MIB, 60 * MIB)

    assert limiter.admits(1 * MIB, in_flight=49 * MIB)
    assert not limiter.admits(1 * MIB, in_flight=50 * MIB)


def test_without_room_the_spike_limit_may_come_in() -> None:
    limiter = policy()
    limiter.judge(0, 500 * MIB)
    limiter.judge(0, 500 * MIB)

    assert limiter.admits(1 * MIB, in_flight=19 * MIB)
    assert not limiter.admits(1 * MIB, in_flight=20 * MIB)


def test_a_message_larger_than_the_room_gets_in_when_little_else_is_in_flight() -> None:
    limiter = policy()
    limiter.judge(0, 70 * MIB)

    assert limiter.admits(90 * MIB, in_flight=10 * MIB)
    assert not limiter.admits(89 * MIB, in_flight=11 * MIB)
    assert not limiter.admits(101 * MIB, in_flight=0)


def test_what_grew_since_it_was_admitted_goes_on_up_to_the_hard_limit() -> None:
    limiter = policy()
    limiter.judge(0, 0)

    assert limiter.keeps(100 * MIB)
    assert not limiter.keeps(100 * MIB + 1)
    limiter.judge(80 * MIB, 0)
    assert not limiter.keeps(0)


def test_resumes_below_the_soft_limit_at_once() -> None:
    limiter = policy()
    limiter.judge(90 * MIB, 95 * MIB)

    assert not limiter.judge(79 * MIB, 79 * MIB)


def test_resident_memory_that_python_keeps_does_not_keep_the_door_shut() -> None:
    limiter = policy()
    assert limiter.judge(70 * MIB, 95 * MIB)

    assert limiter.judge(60 * MIB, 95 * MIB), "too much is still in flight"
    assert not limiter.judge(1 * MIB, 95 * MIB)
    assert not limiter.judge(1 * MIB, 95 * MIB), "and it stays open"


def test_above_the_hard_limit_less_may_be_in_flight() -> None:
    limiter = policy()
    assert limiter.judge(30 * MIB, 100 * MIB)

    assert limiter.judge(30 * MIB, 100 * MIB)
    assert not limiter.judge(10 * MIB, 100 * MIB)


def test_what_the_program_around_us_holds_is_no_pressure_but_growth_is() -> None:
    limiter = policy()
    limiter.begin(500 * MIB)

    assert not limiter.judge(0, 500 * MIB)
    assert not limiter.judge(0, 519 * MIB)
    assert limiter.judge(0, 521 * MIB)


def test_growing_resident_memory_keeps_refusing() -> None:
    limiter = policy()
    assert limiter.judge(0, 90 * MIB)

    assert limiter.judge(0, 95 * MIB)
    assert limiter.judge(0, 98 * MIB)
    assert not limiter.judge(0, 98 * MIB)


def test_growth_beyond_what_is_tolerated_is_pressure_again() -> None:
    limiter = policy()
    limiter.judge(0, 120 * MIB)
    assert not limiter.judge(0, 120 * MIB)

    assert not limiter.judge(30 * MIB, 140 * MIB)
    assert limiter.judge(30 * MIB, 141 * MIB)


def test_slow_growth_is_not_tolerated_step_by_step() -> None:
    limiter = policy()
    limiter.judge(0, 120 * MIB)
    limiter.judge(0, 120 * MIB)

    refused = [limiter.judge(30 * MIB, (120 + 5 * step) * MIB) for step in range(1, 6)]

    assert [False, False, False, False, True] == refused


def test_what_is_tolerated_sinks_with_what_is_given_back() -> None:
    limiter = policy()
    limiter.judge(0, 200 * MIB)
    limiter.judge(0, 200 * MIB)
    limiter.judge(0, 90 * MIB)

    assert limiter.judge(0, 111 * MIB)


def test_collects_only_above_the_soft_limit_and_not_more_often_than_allowed() -> None:
    limiter = policy()
    assert Pressure.NONE is limiter.wants_collection(0.0, 80 * MIB - 1)
    assert Pressure.SOFT is limiter.wants_collection(0.0, 80 * MIB)

    assert limiter.collected(Pressure.SOFT, 0.0, 0.0, before=90 * MIB, after=80 * MIB)
    assert Pressure.NONE is limiter.wants_collection(9.9, 90 * MIB)
    assert Pressure.SOFT is limiter.wants_collection(10.0, 90 * MIB)
    assert Pressure.HARD is limiter.wants_collection(1.0, 100 * MIB)


def test_useless_collections_are_put_off_longer_and_longer() -> None:
    gate = Gate(min_s=10, max_s=30, check_interval_s=1)

    waits = []
    for _ in range(3):
        gate.learn(useful=False)
        waits.append(gate.wait_s)
    assert [20, 30, 30] == waits

    gate.learn(useful=True)
    assert 10 == gate.wait_s


def test_putting_off_begins_near_the_check_interval_and_0_switches_it_off() -> None:
    gate = Gate(min_s=0, max_s=30, check_interval_s=2)
    gate.learn(useful=False)
    assert 1.9 == gate.wait_s

    steady = Gate(min_s=5, max_s=0, check_interval_s=2)
    assert not steady.learn(useful=False)
    assert 5 == steady.wait_s


def test_a_collection_is_useful_that_frees_a_twentieth_or_gets_below_the_soft_limit() -> None:
    assert policy().collected(Pressure.HARD, 0, 0, before=200 * MIB, after=190 * MIB)
    assert not policy().collected(Pressure.HARD, 0, 0, before=200 * MIB, after=191 * MIB)
    assert policy().collected(Pressure.SOFT, 0, 0, before=80 * MIB, after=80 * MIB - 1)


def test_collecting_never_takes_more_than_a_twentieth_of_the_time() -> None:
    limiter = policy(hard_s=0)
    limiter.collected(Pressure.HARD, 100.0, 0.3, before=200 * MIB, after=100 * MIB)

    assert Pressure.NONE is limiter.wants_collection(105.9, 120 * MIB)
    assert Pressure.HARD is limiter.wants_collection(106.1, 120 * MIB)


@given(
    st.lists(st.tuples(st.integers(0, 300 * MIB), st.integers(0, 900 * MIB)), max_size=30),
    st.integers(0, 900 * MIB),
)
def test_whatever_happened_before_a_drained_limiter_accepts_within_two_looks(
    history: list[tuple[int, int]], resident: int
) -> None:
    limiter = policy()
    for in_flight, memory in history:
        limiter.judge(in_flight, memory)

    limiter.judge(0, resident)
    limiter.judge(0, resident)

    assert not limiter.refusing
    assert limiter.admits(1 * MIB, 0)


@given(st.lists(st.tuples(st.integers(0, 300 * MIB), st.integers(0, 900 * MIB)), max_size=30))
def test_above_the_soft_limit_of_bytes_in_flight_nothing_is_admitted(
    history: list[tuple[int, int]],
) -> None:
    limiter = policy()
    for in_flight, memory in history:
        limiter.judge(in_flight, memory)
        assert limiter.refusing or in_flight < limiter.limits.soft
        assert not limiter.admits(0, max(in_flight, limiter.limits.soft))
