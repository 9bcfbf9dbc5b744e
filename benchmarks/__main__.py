"""Runs the scenarios, prints a table, writes a JSON file. See README.md in this folder.

python -m benchmarks [--only TEXT] [--runs N] [--peer NAME=COMMAND] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.peer import Peer, own_command
from benchmarks.workload import Workload
from mlsysops_pipeline.pdata import Signal

_COLLECTOR_CORE, _LOAD_CORE = 0, 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table."""

    transport: str
    workload: Workload
    requests: int

    @property
    def name(self) -> str:
        return f"{self.transport} {self.workload.name}"


def scenarios(seconds: float) -> list[Scenario]:
    """Every combination that the table shows, sized to last about ``seconds`` each."""
    rows = []
    for transport in ("grpc", "http"):
        for items, per_s in ((1, 2500), (100, 2000), (1000, 1000)):
            rows += [
                Scenario(transport, workload, int(per_s * seconds))
                for workload in (
                    Workload(Signal.METRICS, items, 10),
                    Workload(Signal.METRICS, items, 1),
                    Workload(Signal.LOGS, items),
                    Workload(Signal.TRACES, items),
                )
                if items > 1 or workload.points == 1 or workload.signal is not Signal.METRICS
            ]
    return rows


class Sink:
    """The sink process on the load's core."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sink"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        _pin(self.process.pid, _LOAD_CORE)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def counts(self) -> dict[str, int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        counts: dict[str, int] = json.loads(self.process.stdout.readline())
        return counts

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


def load(plan: dict[str, Any]) -> dict[str, Any]:
    """Run the load generator to its end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _pin(process.pid, _LOAD_CORE)
    output, _ = process.communicate(json.dumps(plan), timeout=300)
    result: dict[str, Any] = json.loads(output)
    return result


def measure(name: str, command: list[str], scenario: Scenario) -> dict[str, Any]:
    """One run of one scenario against one peer. An inexact run is marked void."""
    sink = Sink()
    peer = Peer(name, command, sink.port, _COLLECTOR_CORE)
    workload = scenario.workload
    plan = {
        "transport": scenario.transport,
        "signal": str(workload.signal),
        "items": workload.items,
        "points": workload.points,
        "concurrency": 8,
    }
    try:
        peer.start()
        plan["port"] = peer.grpc_port if scenario.transport == "grpc" else peer.http_port
        warm = load({**plan, "requests": 50})
        expected = warm["acknowledged"] * workload.items
        _await_count(sink, str(workload.signal), expected)
        before_s = peer.cpu_s()
        done = load({**plan, "requests": scenario.requests})
        expected += done["acknowledged"] * workload.items
        arrived = _await_count(sink, str(workload.signal), expected)
        cpu_s = peer.cpu_s() - before_s
        items = done["acknowledged"] * workload.items
        return {
            "peer": name,
            "scenario": scenario.name,
            "ns_per_item": cpu_s / items * 1e9,
            "us_per_request": cpu_s / done["acknowledged"] * 1e6,
            "items_per_s": items / done["elapsed_s"],
            "p50_ms": done["p50_ms"],
            "p99_ms": done["p99_ms"],
            "resident_mib": peer.resident_bytes() / 2**20,
            "peak_mib": peer.peak_bytes() / 2**20,
            "collector_busy": cpu_s / done["elapsed_s"],
            "exact": arrived == expected and done["acknowledged"] == scenario.requests,
        }
    finally:
        peer.stop()
        sink.stop()


def idle(name: str, command: list[str]) -> dict[str, Any]:
    """Start to ready, resident memory and CPU while nothing happens."""
    sink = Sink()
    peer = Peer(name, command, sink.port, _COLLECTOR_CORE)
    try:
        peer.start()
        time.sleep(2)
        before_s, seconds = peer.cpu_s(), 5
        time.sleep(seconds)
        return {
            "peer": name,
            "scenario": "idle",
            "ready_s": peer.ready_s,
            "resident_mib": peer.resident_bytes() / 2**20,
            "cpu_percent": (peer.cpu_s() - before_s) / seconds * 100,
        }
    finally:
        peer.stop()
        sink.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="run the scenarios whose name contains this")
    parser.add_argument("--runs", type=int, default=1 if os.environ.get("QUICK") else 5)
    parser.add_argument("--seconds", type=float, default=1.5 if os.environ.get("QUICK") else 5)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/latest.json"))
    arguments = parser.parse_args()
    peers = {"mlsysops-collector": own_command()}
    for text in arguments.peer:
        name, _, command = text.partition("=")
        peers[name] = shlex.split(command)
    rows = [row for row in scenarios(arguments.seconds) if arguments.only in row.name]
    results: list[dict[str, Any]] = []
    for name, command in peers.items():
        runs = [idle(name, command) for _ in range(arguments.runs)]
        results.append(_median(runs))
        print(
            f"{name}: ready {results[-1]['ready_s']:.2f} s, idle "
            f"{results[-1]['resident_mib']:.0f} MiB, {results[-1]['cpu_percent']:.2f} % CPU"
        )
    print(
        f"{'scenario':<34}{'peer':<22}{'ns/item':>9}{'us/req':>9}{'p99 ms':>8}{'peak MiB':>9}  ok"
    )
    for row in rows:
        # Peers take turns, so that a machine that slows down slows all of them.
        runs_of: dict[str, list[dict[str, Any]]] = {name: [] for name in peers}
        for _ in range(arguments.runs):
            for name, command in peers.items():
                runs_of[name].append(measure(name, command, row))
        for name, runs in runs_of.items():
            result = _median(runs)
            results.append(result)
            print(
                f"{row.name:<34}{name:<22}{result['ns_per_item']:>9.0f}"
                f"{result['us_per_request']:>9.1f}{result['p99_ms']:>8.1f}"
                f"{result['peak_mib']:>9.0f}  {'yes' if result['exact'] else 'VOID'}",
                flush=True,
            )
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({"machine": _machine(), "results": results}, indent=1))


def _await_count(sink: Sink, signal: str, expected: int) -> int:
    deadline = time.monotonic() + 10
    while (count := sink.counts()[signal]) < expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return count


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, first in runs[0].items():
        values = [run[key] for run in runs]
        if isinstance(first, bool):
            result[key] = all(values)
        elif isinstance(first, (int, float)):
            result[key] = statistics.median(values)
            result[f"{key}_spread"] = max(values) - min(values)
        else:
            result[key] = first
    return result


def _machine() -> dict[str, Any]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    versions = {name: metadata.version(name) for name in ("grpcio", "protobuf", "aiohttp")}
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "command": sys.argv,
        **versions,
    }


def _pin(pid: int, core: int) -> None:
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(pid, {core})


if __name__ == "__main__":
    main()
