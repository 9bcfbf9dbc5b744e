"""A whole run of the harness, around a collector that is honest and one that is not."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

# The wheel has no benchmarks; there these tests have nothing to test.
pytest.importorskip("benchmarks.load")

from benchmarks import measure
from benchmarks.process import Peer
from benchmarks.scenarios import Arrival, Idle, Load, Setup
from benchmarks.workload import Workload
from mlsysops_pipeline.pdata.signal import Signal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

_FORWARDER = str(Path(__file__).with_name("forwarder.py"))
_ALWAYS = measure.Conditions(0.2, 0.1, None, None)
_LOAD = Load("test", Setup(None), "grpc", Workload(Signal.METRICS, 5, 5), 200, 2, 8)


def test_a_run_in_which_everything_arrives_is_exact() -> None:
    result = measure.run(Peer("honest", (sys.executable, _FORWARDER)), _LOAD, _ALWAYS)
    assert result["exact"]
    assert (0, 0) == (result["surplus_items"], result["refused"])
    assert result["ns_per_item"] > 1000
    assert 5 * result["ns_per_item"] == pytest.approx(1000 * result["us_per_request"])
    assert 0 < result["resident_mib"] <= result["peak_mib"]
    assert 5 == result["items_per_export"]
    assert 0 < result["p50_ms"] <= result["p99_ms"]


def test_a_run_that_loses_one_request_is_void(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_ARRIVE_S_MAX", 0.3)
    result = measure.run(Peer("liar", (sys.executable, _FORWARDER, "--lose")), _LOAD, _ALWAYS)
    assert not result["exact"]
    assert -5 == result["surplus_items"]


def test_a_run_may_ask_for_a_share_of_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_ARRIVE_S_MAX", 0.3)
    monkeypatch.setattr(measure, "_QUIET_S", 0.1)
    honest = Peer("honest", (sys.executable, _FORWARDER))
    half = measure.run(honest, replace(_LOAD, arrival=Arrival(0.5, 0.5)), _ALWAYS)
    assert not half["exact"]
    assert half["surplus_items"] > 0
    enough = measure.run(honest, replace(_LOAD, arrival=Arrival(0.5, 1.0)), _ALWAYS)
    assert enough["exact"]
    assert 0 == enough["surplus_items"]


def test_an_idle_collector_is_measured_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_IDLE_SETTLE_S", 0.0)
    monkeypatch.setattr(measure, "_IDLE_S", 0.1)
    peer = Peer("honest", (sys.executable, _FORWARDER))
    result = measure.run(peer, Idle("idle", Setup(None)), _ALWAYS)
    assert 0 < result["ready_cpu_s"] < 10
    assert 0 < result["ready_s"]
    assert 1 < result["resident_mib"] < 1000


def test_a_collector_that_does_not_start_says_why() -> None:
    peer = Peer("broken", (sys.executable, "-c", "raise SystemExit('no such thing')"))
    with pytest.raises(RuntimeError, match=r"broken did not start:\nno such thing"):
        measure.run(peer, _LOAD, _ALWAYS)
