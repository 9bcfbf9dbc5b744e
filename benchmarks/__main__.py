"""Runs the scenarios, prints tables, writes JSON, Markdown and plots. See README.md in this folder.

``python -m benchmarks compare A B`` puts two files of results side by side,
``python -m benchmarks publish A B`` makes the report of the top-level README out of such files.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import compare, known_peers, markdown, publish, ratios, report, scenarios
from benchmarks.neighbours import Neighbours, remark
from benchmarks.process import kill_all, on_core
from benchmarks.progress import Progress
from benchmarks.scenarios import Idle
from benchmarks.session import Session, expected_s

if TYPE_CHECKING:
    from benchmarks.scenarios import Scenario

_RESULTS = Path("benchmarks/results/latest.json")
_INTERRUPTED = 130


def main() -> int:
    commands = {"compare": compare.main, "publish": publish.main}
    if sys.argv[1:2] and sys.argv[1] in commands:
        return commands[sys.argv[1]](sys.argv[2:])
    parser, options = _options()
    every = scenarios.read(quick=options.quick, figures=options.figures)
    for text in options.only:
        if not any(scenarios.matches(one.name, [text]) for one in every):
            parser.error(f"no scenario has the words {text!r}")
    chosen = [one for one in every if not options.only or scenarios.matches(one.name, options.only)]
    if options.list:
        print(*(one.name for one in chosen), sep="\n")
        return 0
    try:
        peers, absent = known_peers.peers(options.peers, options.peer)
    except ValueError as error:
        parser.error(str(error))
    versions = {peer.name: known_peers.version(peer) for peer in peers}
    for name, text in versions.items():
        print(f"peer {name}: {text}")
    for name, why in absent.items():
        print(f"peer {name}: absent ({why})")
    session = Session(peers, options)
    _end_in_order()
    interrupted = False
    try:
        with on_core(session.conditions.load_core):  # the collectors' core is theirs
            _say_who_else_is_here()
            _run(session, chosen)
    except KeyboardInterrupt:
        interrupted = True
        kill_all()
        session.failures.append("interrupted")
    if not session.results:
        return _INTERRUPTED if interrupted else 1
    _write(session, versions, absent, options.json)
    exact = all(result.get("exact", True) for result in session.results)
    if interrupted:
        return _INTERRUPTED
    return 0 if exact and not session.failures else 1


def _options() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    quick = bool(os.environ.get("QUICK"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--only", action="append", default=[], metavar="WORDS",
        help="scenarios whose name has these words; -WORD: not this; repeat for more")  # fmt: skip
    add("--quick", action="store_true", default=quick,
        help="only the scenarios of a short run (also QUICK=1)")  # fmt: skip
    add("--figures", action="store_true",
        help="only the scenarios with a goal, and one run of those that README plots")  # fmt: skip
    add("--runs", type=int, help="runs of each (5; with QUICK=1: 1)")
    add("--seconds", type=float, help="of load in a run (5; with --figures 2, with QUICK=1: 1)")
    add("--peers", type=lambda text: text.split(","), default=[], metavar="NAME,NAME",
        help="of the known peers go and rotel only these; none: this collector alone")  # fmt: skip
    add("--peer", action="append", default=[], metavar="NAME=COMMAND",
        help="measure this collector beside ours too, run by run")  # fmt: skip
    add("--json", type=Path, default=_RESULTS, metavar="FILE")
    add("--list", action="store_true", help="print the names of the scenarios")
    return parser, parser.parse_args()


def _end_in_order() -> None:
    """Make what ends this program end what it has started, too, undisturbed by a second time."""
    ends = signal.SIGINT, signal.SIGTERM, signal.SIGHUP

    def end(*_: Any) -> None:
        for number in ends:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in ends:
        signal.signal(number, end)


def _say_who_else_is_here() -> None:
    neighbours = Neighbours()
    time.sleep(1)
    if text := remark(*neighbours.busy()):
        print(f"CAUTION: {text}: figures will be worse than on a quiet machine")


def _run(session: Session, chosen: list[Scenario]) -> None:
    total = sum(
        expected_s(one, session.conditions) * session.count(one)
        for one in chosen
        for peer in session.peers
        if peer.can(one.setup)
    )
    with Progress(total) as progress:
        # Those without load first: they have a table of their own.
        for idle, head in ((True, report.IDLE_HEAD), (False, report.LOAD_HEAD)):
            group = [one for one in chosen if isinstance(one, Idle) == idle]
            if group:
                progress.print(head)
            for scenario in group:
                session.run(scenario, progress)


def _write(session: Session, versions: dict[str, str], absent: dict[str, str], path: Path) -> None:
    print(*report.pace(session.results), sep="\n")
    document = report.document(session.results, versions, absent)
    document |= {"failures": session.failures, "lacking": session.lacking}
    print(*ratios.table(document), sep="\n")
    report.write(path, document)
    print("written to", path, *markdown.write(path, document))


if __name__ == "__main__":
    sys.exit(main())
