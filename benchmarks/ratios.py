"""What a figure is, divided by that of the Go collector in the same session; and the goals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.process import OURS
from benchmarks.scenarios import FIGURES

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = "go"


@dataclass(frozen=True, slots=True)
class Ratio:
    """One scenario: CPU per item of every peer, and what it is in proportion."""

    scenario: str
    ns_per_item: dict[str, float]
    void: frozenset[str]
    """Peers whose runs were inexact; their figures count for nothing."""
    goal: float | None

    def of(self, peer: str) -> float | None:
        """CPU per item divided by the Go collector's; None where one of the two is missing."""
        ours, base = self.ns_per_item.get(peer), self.ns_per_item.get(BASE)
        if ours is None or not base or self.void & {peer, BASE}:
            return None
        return ours / base

    @property
    def verdict(self) -> str:
        """Whether the goal is reached; empty where there is none or nothing to compare with."""
        ratio = self.of(OURS.name)
        if self.goal is None or ratio is None:
            return ""
        return "reached" if ratio <= self.goal else "missed"


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal of one scenario, and what this collector has come to."""

    scenario: str
    what: str
    limit: str
    value: str
    """Empty where there is nothing to judge."""
    verdict: str
    """reached, missed, or why it is neither."""


def read(document: dict[str, Any]) -> list[Ratio]:
    """The scenarios of a file of results that have a load."""
    return [
        Ratio(
            name,
            {one["peer"]: one["ns_per_item"] for one in group},
            frozenset(one["peer"] for one in group if not one["exact"]),
            group[0].get("goal"),
        )
        for name, group in _grouped(document).items()
        if "ns_per_item" in group[0]
    ]


def goals(document: dict[str, Any]) -> Iterator[Goal]:
    """All goals of a session, in the order of its results."""
    by_name = {one.scenario: one for one in read(document)}
    for name, group in _grouped(document).items():
        row = by_name.get(name)
        if row is not None and row.goal is not None:
            ratio = row.of(OURS.name)
            missing = "void" if row.void else "nothing to compare with"
            what = "CPU per item to the Go collector's"
            yield Goal(name, what, f"{row.goal:.2f}", text(ratio), row.verdict or missing)
        for one in group:
            if one["peer"] == OURS.name:
                yield from _figure_goals(one)


def _figure_goals(result: dict[str, Any]) -> Iterator[Goal]:
    exact = result.get("exact", True)
    for most, limits in ((True, result.get("at_most")), (False, result.get("at_least"))):
        for key, limit in (limits or {}).items():
            value = result[key]
            reached = exact and (value <= limit if most else value >= limit)
            verdict = "reached" if reached else "missed" if exact else "void"
            shown = (
                (f"{limit:.0%}", f"{value:.0%}")
                if key.endswith("_share")
                else (f"{limit:g}", f"{value:.2f}" if value < 10 else f"{value:.0f}")
            )
            yield Goal(result["scenario"], FIGURES[key], *shown, verdict)


def _grouped(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for result in document["results"]:
        grouped.setdefault(result["scenario"], []).append(result)
    return grouped


def others(document: dict[str, Any]) -> list[str]:
    """The peers of a file of results besides the Go collector."""
    names = dict.fromkeys(result["peer"] for result in document["results"])
    return [name for name in names if name != BASE]


def table(document: dict[str, Any]) -> Iterator[str]:
    """Lines: one a scenario. Without the Go collector one line that says so. Then other goals."""
    rows = [one for one in read(document) if BASE in one.ns_per_item]
    if rows:
        names = others(document)
        yield "CPU per item in proportion to the Go collector (medians)"
        heads = "".join(f"{one:>20}" for one in names)
        yield f"{'scenario':<46}{'go ns/item':>11}{heads}  goal"
        for one in rows:
            cells = "".join(f"{text(one.of(name)):>20}" for name in names)
            goal = f"  {one.goal:.2f} {one.verdict}" if one.goal is not None else ""
            yield f"{one.scenario:<46}{one.ns_per_item[BASE]:>11.0f}{cells}{goal}"
    else:
        yield "no ratios: the Go collector did not run (make peers)"
    for result in document["results"]:
        if result["peer"] == OURS.name:
            for figure in _figure_goals(result):
                yield (
                    f"{figure.scenario:<46}{figure.value:>11} {figure.what}, "
                    f"goal {figure.limit}: {figure.verdict}"
                )


def text(ratio: float | None) -> str:
    """A ratio in a table."""
    return "-" if ratio is None else f"{ratio:.2f}"
