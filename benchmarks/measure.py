"""One run of one scenario against one collector."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.load import Plan
from benchmarks.process import Helper, Measured, Peer, helper, reference_ms
from benchmarks.scenarios import Idle, Load

_MIB = 2**20
_ARRIVE_S_MAX = 15.0
_IDLE_SETTLE_S = 2.0
_IDLE_S = 3.0
_BUSY = 0.9
_LATE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is the same for all runs."""

    seconds: float
    warm_up_s: float = 0.5
    collector_core: int | None = 0
    load_core: int | None = 1

    @classmethod
    def of_this_machine(cls, seconds: float) -> Conditions:
        """The collector on the first core, load and sink on the second, if there are two."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            return cls(seconds, collector_core=None, load_core=None)
        return cls(seconds, collector_core=cores[0], load_core=cores[1])


def run(peer: Peer, scenario: Idle | Load, conditions: Conditions) -> dict[str, Any]:
    """Measure. Raises `RuntimeError` when a program does not start or breaks off."""
    with (
        helper(f"benchmarks.{scenario.setup.sink}", conditions.load_core) as sink,
        Measured(peer, scenario.setup, sink.hear(), conditions.collector_core) as collector,
    ):
        reference = reference_ms(conditions.collector_core)
        head = {"peer": peer.name, "scenario": scenario.name, "reference_ms": reference}
        if isinstance(scenario, Idle):
            return head | _idle(collector)
        return head | _load(collector, scenario, sink, conditions)


def _idle(collector: Measured) -> dict[str, Any]:
    time.sleep(_IDLE_SETTLE_S)
    before_s = collector.cpu_s()
    time.sleep(_IDLE_S)
    return {
        "ready_s": collector.ready_s,
        "ready_cpu_s": collector.ready_cpu_s,
        "idle_cpu_percent": (collector.cpu_s() - before_s) / _IDLE_S * 100,
        "resident_mib": collector.resident_bytes() / _MIB,
        "peak_mib": collector.peak_bytes() / _MIB,
    }


def _load(
    collector: Measured, scenario: Load, sink: Helper, conditions: Conditions
) -> dict[str, Any]:
    workload = scenario.workload
    port = collector.grpc_port if scenario.transport == "grpc" else collector.http_port
    plan = Plan(
        scenario.transport, port, str(workload.signal), workload.items, workload.points,
        scenario.rate, conditions.seconds, conditions.warm_up_s,
        scenario.connections, scenario.in_flight, workload.steady,
    )  # fmt: skip
    signal = plan.signal
    with helper("benchmarks.load", conditions.load_core) as generator:
        generator.tell(json.dumps(asdict(plan)))
        warm = generator.hear()
        expected = int(warm["acknowledged"]) * workload.items
        before = _arrived(sink, signal, expected)
        cpu_before_s = collector.cpu_s()
        generator.tell()
        result = generator.hear()
        items = int(result["acknowledged"]) * workload.items
        expected += items
        after = _arrived(sink, signal, expected)
        cpu_s = collector.cpu_s() - cpu_before_s
    elapsed_s = result["elapsed_s"]
    load_s = result["cpu_s"] + after["cpu_s"] - before["cpu_s"]
    return {
        "ns_per_item": cpu_s / max(1, items) * 1e9,
        "us_per_request": cpu_s / max(1, result["acknowledged"]) * 1e6,
        "items_per_s": items / elapsed_s,
        "p50_ms": result["p50_ms"],
        "p99_ms": result["p99_ms"],
        "resident_mib": collector.resident_bytes() / _MIB,
        "peak_mib": collector.peak_bytes() / _MIB,
        "collector_busy": cpu_s / elapsed_s,
        "load_busy": load_s / elapsed_s,
        "items_per_export": items / max(1, after["requests"] - before["requests"]),
        "refused": result["refused"] + warm["refused"],
        "exact": after[signal] == expected,
        "surplus_items": after[signal] - expected,
        "remarks": _remarks(result, load_s / elapsed_s, cpu_s / elapsed_s),
        "log": "" if after[signal] == expected else collector.log(),
    }


def _remarks(result: dict[str, float], load_busy: float, collector_busy: float) -> str:
    """Who was the bottleneck, where somebody was."""
    remarks = []
    if load_busy > _BUSY:
        remarks.append("load generator and sink were the bottleneck")
    if collector_busy > _BUSY:
        remarks.append("the collector was saturated")
    if result["late"] > _LATE_SHARE * result["sent"] and not remarks:
        remarks.append("requests were late: the machine was busy with something else")
    return "; ".join(remarks)


def _arrived(sink: Helper, signal: str, expected: int) -> dict[str, Any]:
    """What the sink has, as soon as that is as much as expected, or when it is late."""
    deadline_s = time.monotonic() + _ARRIVE_S_MAX
    while True:
        sink.tell()
        counts: dict[str, Any] = sink.hear()
        if counts[signal] >= expected or time.monotonic() >= deadline_s:
            return counts
        time.sleep(0.05)
