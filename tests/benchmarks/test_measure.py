"""A whole run of the harness, around a collector that is honest and one that is not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

# The wheel has no benchmarks; there these tests have nothing to test.
pytest.importorskip("benchmarks.load")

from benchmarks import books, measure, process
from benchmarks.process import Peer
from benchmarks.scenarios import Arrival, Idle, Load, Mode, Setup
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


def test_at_saturation_latencies_are_those_of_half_the_load() -> None:
    load = replace(_LOAD, mode=Mode.SATURATION, rate=0)
    result = measure.run(Peer("honest", (sys.executable, _FORWARDER)), load, _ALWAYS)
    assert result["exact"]
    assert 0.2 < result["half_items_per_s"] / result["items_per_s"] < 0.8
    assert 0 < result["p50_ms"] <= result["p99_ms"]


def test_an_overload_is_twice_what_was_said_and_is_held_against_what_is_taken_alone() -> None:
    load = replace(_LOAD, mode=Mode.OVERLOAD, in_flight=4)
    peer = Peer("honest", (sys.executable, _FORWARDER))
    result = measure.run(peer, load, _ALWAYS, base=20_000)
    assert 200_000 == result["offered_items_per_s"]
    assert result["given_up"] > 0
    assert 0 < result["goodput_share"] < 3
    assert 100_000 > result["saturation_items_per_s"] > 0
    assert result["exact"]
    alone = measure.saturation(peer, load, _ALWAYS)
    assert alone > 1
    fallback = measure.run(peer, load, _ALWAYS)
    assert 1000 == fallback["offered_items_per_s"]
    assert "no Go collector to ask" in fallback["remarks"]


def test_a_run_that_loses_one_request_is_void(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "_ARRIVE_S_MAX", 0.3)
    result = measure.run(Peer("liar", (sys.executable, _FORWARDER, "--lose")), _LOAD, _ALWAYS)
    assert not result["exact"]
    assert -5 == result["surplus_items"]


def test_a_run_may_ask_for_a_share_of_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "_ARRIVE_S_MAX", 0.3)
    monkeypatch.setattr(books, "_QUIET_S", 0.1)
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


def test_a_program_that_is_not_there_does_not_start() -> None:
    with pytest.raises(RuntimeError, match="nowhere did not start"):
        measure.run(Peer("nowhere", ("/no/such/program",)), _LOAD, _ALWAYS)


def test_a_file_of_several_pipelines_has_the_one_for_metrics_so_often() -> None:
    path = Path(process.__file__).parent / "configs" / "forward.yaml"
    pipelines = yaml.safe_load(process._multiplied(path, 3))["service"]["pipelines"]
    assert ["metrics/0", "metrics/1", "metrics/2"] == list(pipelines)


def test_what_ends_the_harness_ends_what_it_has_started(tmp_path: Path) -> None:
    config = Path(process.__file__).parent / "configs" / "forward.yaml"
    assert config.is_file()
    command = f"mine={sys.executable} {_FORWARDER}"
    harness = subprocess.Popen(
        [
            sys.executable, "-m", "benchmarks", "--only", "forward grpc x10 100 -gzip -zstd",
            "--peers", "none", "--peer", command, "--json", str(tmp_path / "one.json"),
            "--seconds", "30", "--runs", "1",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=config.parent.parent.parent,
    )  # fmt: skip
    started: list[int] = []
    while len(started) < 3:  # sink, generator, collector
        assert harness.poll() is None
        started = process.tree(harness.pid)[1:]
        time.sleep(0.02)  # between two looks at another process
    for number in (signal.SIGINT, signal.SIGINT):  # an impatient user
        harness.send_signal(number)
    assert 130 == harness.wait(20)
    assert [] == [pid for pid in started if Path(f"/proc/{pid}").exists()]


def test_a_collector_that_does_not_start_says_why() -> None:
    peer = Peer("broken", (sys.executable, "-c", "raise SystemExit('no such thing')"))
    with pytest.raises(RuntimeError, match=r"broken did not start:\nno such thing"):
        measure.run(peer, _LOAD, _ALWAYS)
