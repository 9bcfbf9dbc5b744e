"""Runs the scenarios, prints a table, writes a JSON file. See README.md in this folder."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from benchmarks import measure, report, scenarios
from benchmarks.process import OURS, Peer
from benchmarks.scenarios import Idle, Load, Scenario


def main() -> int:
    quick = bool(os.environ.get("QUICK"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--only", action="append", default=[], metavar="WORDS",
        help="run the scenarios whose name has all of these words; repeat for more")  # fmt: skip
    add("--runs", type=int, default=1 if quick else 5, help="runs of each (5; with QUICK=1: 1)")
    add("--seconds", type=float, default=1.5 if quick else 5.0, help="of load in a run (5; 1.5)")
    add("--peer", action="append", default=[], metavar="NAME=COMMAND",
        help="measure this collector beside ours, run by run")  # fmt: skip
    add("--json", type=Path, default=Path("benchmarks/results/latest.json"), metavar="FILE")
    add("--list", action="store_true", help="print the names of the scenarios")
    options = parser.parse_args()
    chosen = [one for one in scenarios.read() if _matches(one.name, options.only)]
    if options.list:
        print(*(one.name for one in chosen), sep="\n")
        return 0
    if not chosen:
        parser.error("no scenario has these words")
    peers = [OURS, *map(_peer, options.peer)]
    conditions = measure.Conditions.of_this_machine(options.seconds)
    idle = [one for one in chosen if isinstance(one, Idle)]
    load = [one for one in chosen if isinstance(one, Load)]
    results = []
    for head, group in ((report.IDLE_HEAD, idle), (report.LOAD_HEAD, load)):
        if group:
            print(head)
        for scenario in group:
            results += _runs(scenario, peers, conditions, options.runs)
    print(report.pace(results))
    report.write(options.json, results)
    print(f"written to {options.json}")
    return 0 if all(result.get("exact", True) for result in results) else 1


def _runs(
    scenario: Scenario, peers: list[Peer], conditions: measure.Conditions, count: int
) -> list[dict[str, Any]]:
    able = [peer for peer in peers if peer.has_modes or not scenario.setup.arguments]
    runs: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in able}
    for _ in range(count):
        # Peers take turns, so that a machine that slows down slows all of them.
        for peer in able:
            runs[peer.name].append(measure.run(peer, scenario, conditions))
    results = [report.median(runs[peer.name]) for peer in able]
    for result in results:
        print(report.row(result), flush=True)
    return results


def _matches(name: str, wanted: list[str]) -> bool:
    words = name.split()
    return not wanted or any(set(text.split()) <= set(words) for text in wanted)


def _peer(text: str) -> Peer:
    name, _, command = text.partition("=")
    return Peer(name, tuple(shlex.split(command)))


if __name__ == "__main__":
    sys.exit(main())
