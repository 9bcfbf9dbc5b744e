"""Success means equal counts for every signal, nothing twice, and no mishap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.demo.reports import (
    SIGNALS,
    ArrivedCounts,
    SdkReport,
    SentCounts,
    SinkReport,
)
from mlsysops_pipeline.demo.verdict import Outcome, differences


def outcome(mishaps: list[str] | None = None) -> Outcome:
    """A run in which ten items of each signal were sent and arrived."""
    sdk = SdkReport(final=True, signals={name: SentCounts(10, 10, 0) for name in SIGNALS})
    sink = SinkReport(
        final=True,
        signals={name: ArrivedCounts(10) for name in SIGNALS},
        levels=[(["node", "cluster"], 30)],
    )
    return Outcome(sdk, sink, mishaps or [])


def test_equal_counts_are_a_success() -> None:
    assert [] == outcome().problems()


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("difference", [-1, 1])
def test_one_item_less_or_more_is_a_failure(signal: str, difference: int) -> None:
    run = outcome()
    run.sink.signals[signal].items += difference
    (problem,) = run.problems()
    assert problem.startswith(f"{signal}: the SDK program sent 10 ")
    assert f"the sink got {10 + difference}" in problem


def test_a_loss_hidden_by_a_duplicate_is_a_failure() -> None:
    run = outcome()
    run.sink.signals["logs"] = ArrivedCounts(items=10, duplicates=1, gaps=[4])
    (problem,) = run.problems()
    assert "1 of them twice; 1 missing, among them number 4" in problem


def test_what_the_agent_did_not_acknowledge_is_a_failure() -> None:
    run = outcome()
    run.sdk.signals["traces"] = SentCounts(made=12, acknowledged=10, failed=2)
    (problem,) = run.problems()
    assert "traces: of 12 recorded spans the agent did not acknowledge 2" == problem


def test_nothing_sent_shows_nothing() -> None:
    run = outcome()
    run.sdk.signals["metrics"], run.sink.signals["metrics"] = SentCounts(), ArrivedCounts()
    (problem,) = run.problems()
    assert "nothing is shown" in problem


def test_ends_that_did_not_finish_are_failures() -> None:
    run = outcome()
    run.sdk.final = run.sink.final = False
    assert 2 == len(run.problems())


def test_a_mishap_is_a_failure_though_the_counts_are_equal() -> None:
    assert ["cluster ended with status 3"] == outcome(["cluster ended with status 3"]).problems()


@given(
    st.builds(SentCounts, *(st.integers(0, 5) for _ in range(3))),
    st.builds(ArrivedCounts, st.integers(0, 5), st.integers(0, 5)),
)
def test_only_complete_and_single_arrival_has_no_differences(
    sent: SentCounts, arrived: ArrivedCounts
) -> None:
    fine = (
        0 < sent.made == sent.acknowledged == arrived.items
        and sent.failed == 0
        and arrived.duplicates == 0
    )
    assert fine == (differences("logs", sent, arrived) == [])


def test_the_summary_names_each_signal_its_verdict_and_the_levels() -> None:
    run = outcome()
    run.sink.signals["logs"].items = 9
    text = "\n".join(run.lines())
    assert 2 == text.count("   equal")
    assert 1 == text.count("NOT EQUAL")
    assert "node -> cluster  on 30 items" in text


def test_the_summary_of_an_empty_sink_says_so() -> None:
    assert "nothing arrived" in Outcome(SdkReport(), SinkReport()).lines()[-1]
