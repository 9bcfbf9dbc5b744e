"""Runs the scenarios, prints tables, writes JSON, Markdown and plots. See README.md in this folder.

``python -m benchmarks compare A B`` puts two files of results side by side.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import compare, known_peers, markdown, measure, ratios, report, scenarios
from benchmarks.progress import Progress
from benchmarks.scenarios import Idle, Load, Scenario

if TYPE_CHECKING:
    from benchmarks.process import Peer

_RESULTS = Path("benchmarks/results/latest.json")


def main() -> int:
    if sys.argv[1:2] == ["compare"]:
        return compare.main(sys.argv[2:])
    parser, options = _options()
    chosen = [
        one
        for one in scenarios.read(quick=options.quick)
        if not options.only or scenarios.matches(one.name, options.only)
    ]
    if options.list:
        print(*(one.name for one in chosen), sep="\n")
        return 0
    if not chosen:
        parser.error("no scenario has these words")
    peers, absent = known_peers.peers(options.peers, options.peer)
    versions = {peer.name: known_peers.version(peer) for peer in peers}
    for name, text in [*versions.items(), *((name, "absent") for name in absent)]:
        print(f"peer {name}: {text}")
    conditions = measure.Conditions.of_this_machine(options.seconds)
    total = sum(
        _count(one, options.runs) for one in chosen for peer in peers if peer.can(one.setup)
    )
    results: list[dict[str, Any]] = []
    failures: list[str] = []
    with Progress(total) as progress:
        # Those without load first: they have a table of their own.
        for idle, head in ((True, report.IDLE_HEAD), (False, report.LOAD_HEAD)):
            group = [one for one in chosen if isinstance(one, Idle) == idle]
            if group:
                progress.print(head)
            for scenario in group:
                results += _runs(
                    scenario,
                    peers,
                    conditions,
                    options.runs,
                    progress=progress,
                    failures=failures,
                )
    if not results:
        return 1
    print(report.pace(results))
    document = report.document(results, versions, absent) | {"failures": failures}
    print(*ratios.table(document), sep="\n")
    report.write(options.json, document)
    written = [options.json, *markdown.write(options.json, document)]
    print("written to", *written)
    exact = all(result.get("exact", True) for result in results)
    return 0 if exact and not failures else 1


def _options() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    quick = bool(os.environ.get("QUICK"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--only", action="append", default=[], metavar="WORDS",
        help="scenarios whose name has these words; -WORD: not this; repeat for more")  # fmt: skip
    add("--quick", action="store_true", default=quick,
        help="only the scenarios of a short run (also QUICK=1)")  # fmt: skip
    add("--runs", type=int, default=1 if quick else 5, help="runs of each (5; with QUICK=1: 1)")
    add("--seconds", type=float, default=1.5 if quick else 5.0, help="of load in a run (5; 1.5)")
    add("--peers", type=lambda text: text.split(","), default=[], metavar="NAME,NAME",
        help="of the known peers go and rotel only these; none: this collector alone")  # fmt: skip
    add("--peer", action="append", default=[], metavar="NAME=COMMAND",
        help="measure this collector beside ours too, run by run")  # fmt: skip
    add("--json", type=Path, default=_RESULTS, metavar="FILE")
    add("--list", action="store_true", help="print the names of the scenarios")
    return parser, parser.parse_args()


def _runs(
    scenario: Scenario,
    peers: list[Peer],
    conditions: measure.Conditions,
    count: int,
    *,
    progress: Progress,
    failures: list[str],
) -> list[dict[str, Any]]:
    able = [peer for peer in peers if peer.can(scenario.setup)]
    runs: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in able}
    for _ in range(_count(scenario, count)):
        # Peers take turns, so that a machine that slows down slows all of them.
        for peer in able:
            progress.show(f"{scenario.name}, {peer.name}")
            try:
                runs[peer.name].append(measure.run(peer, scenario, conditions))
            except RuntimeError as error:
                # One that cannot do this must not take away the figures of the others.
                progress.print(f"{scenario.name:<46}{peer.name:<20} FAILED: {error}")
                failures.append(f"{scenario.name}, {peer.name}: {error}")
            progress.step()
    results = [
        report.median(runs[peer.name]) | {"at_most": scenario.at_most or {}}
        for peer in able
        if runs[peer.name]
    ]
    for result in results:
        progress.print(report.row(result))
    return results


def _count(scenario: Scenario, runs: int) -> int:
    return min(runs, scenario.runs_max) if isinstance(scenario, Load) else runs


if __name__ == "__main__":
    sys.exit(main())
