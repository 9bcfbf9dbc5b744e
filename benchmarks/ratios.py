"""What a figure is, divided by that of the Go collector in the same session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.process import OURS

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


def read(document: dict[str, Any]) -> list[Ratio]:
    """The scenarios of a file of results that have a load."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for result in document["results"]:
        if "ns_per_item" in result:
            grouped.setdefault(result["scenario"], []).append(result)
    return [
        Ratio(
            name,
            {one["peer"]: one["ns_per_item"] for one in group},
            frozenset(one["peer"] for one in group if not one["exact"]),
            group[0].get("at_most") or None,
        )
        for name, group in grouped.items()
    ]


def others(document: dict[str, Any]) -> list[str]:
    """The peers of a file of results besides the Go collector."""
    names = dict.fromkeys(result["peer"] for result in document["results"])
    return [name for name in names if name != BASE]


def table(document: dict[str, Any]) -> Iterator[str]:
    """Lines: one a scenario. Without the Go collector one line that says so."""
    rows = [one for one in read(document) if BASE in one.ns_per_item]
    if not rows:
        yield "no ratios: the Go collector did not run (make peers)"
        return
    names = others(document)
    yield "CPU per item in proportion to the Go collector (medians)"
    yield f"{'scenario':<46}{'go ns/item':>11}" + "".join(f"{one:>20}" for one in names) + "  goal"
    for one in rows:
        cells = "".join(f"{text(one.of(name)):>20}" for name in names)
        goal = f"  {one.goal:.2f} {one.verdict}" if one.goal is not None else ""
        yield f"{one.scenario:<46}{one.ns_per_item[BASE]:>11.0f}{cells}{goal}"


def text(ratio: float | None) -> str:
    """A ratio in a table."""
    return "-" if ratio is None else f"{ratio:.2f}"
