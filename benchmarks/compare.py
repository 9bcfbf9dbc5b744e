"""Two files of results side by side: what has changed, and whether by more than runs differ."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIGURES = ("ns_per_item", "peak_mib", "ready_s", "resident_mib")


def main(arguments: list[str]) -> int:
    """The command. Returns its status: 0, as a change is for the reader to judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare", description=__doc__)
    parser.add_argument("before", type=Path, metavar="A")
    parser.add_argument("after", type=Path, metavar="B")
    options = parser.parse_args(arguments)
    before, after = (json.loads(path.read_text()) for path in (options.before, options.after))
    print(*lines(before, after), sep="\n")
    return 0


def lines(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """The table. Machines that differ are named first: figures of two do not compare."""
    for key in ("cpu", "cores", "python"):
        one, other = before["machine"].get(key), after["machine"].get(key)
        if one != other:
            yield f"CAUTION: {key} differs: {one!r} and {other!r}"
    yield f"A: {before['commit']}, {before['time']}   B: {after['commit']}, {after['time']}"
    yield (f"{'scenario':<46}{'peer':<20}{'figure':<14}{'A':>10}{'B':>10}{'change':>9}")
    old = {(one["scenario"], one["peer"]): one for one in before["results"]}
    new = {(one["scenario"], one["peer"]): one for one in after["results"]}
    for pair, result in new.items():
        if pair in old:
            yield from _rows(pair, old[pair], result)
    for pair in sorted(old.keys() ^ new.keys()):
        yield f"{pair[0]:<46}{pair[1]:<20}only in {'A' if pair in old else 'B'}"


def _rows(key: tuple[str, str], old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for figure in _FIGURES:
        if not old.get(figure) or figure not in new:
            continue
        change = new[figure] / old[figure] - 1
        spread = max(old.get(f"{figure}_spread", 0), new.get(f"{figure}_spread", 0))
        # One run has no spread, so that nothing can be said of it.
        single = min(old["runs"], new["runs"]) < 2
        within = not single and abs(new[figure] - old[figure]) <= spread
        remark = "one run" if single else "within the spread" if within else ""
        void = "" if old.get("exact", True) and new.get("exact", True) else "  VOID"
        yield (
            f"{key[0]:<46}{key[1]:<20}{figure:<14}{old[figure]:>10.1f}{new[figure]:>10.1f}"
            f"{change:>+9.0%}  {remark}{void}"
        ).rstrip()
