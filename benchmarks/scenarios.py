"""What is measured: small files in `scenarios/`, each of which stands for one or many scenarios."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.workload import Workload
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent / "scenarios"
_CONFIGS = Path(__file__).parent / "configs"
_ROTEL_COMPRESSIONS = {"none", "gzip"}


@dataclass(frozen=True, slots=True)
class Setup:
    """How a collector is started, and what stands around it.

    ``config`` is a Collector file. Without one, only collectors with the modes that ``arguments``
    name can run; with ``rotel``, rotel can do the same work by arguments of its own.
    """

    config: Path | None
    arguments: tuple[str, ...] = ()
    sink: str = "sink"
    """The program of this folder that it sends to."""
    compression: str = "none"
    """Of requests that come in and that go out."""
    rotel: bool = False
    series: int = 0
    """Of the page that the program `target` serves to be scraped; zero: there is none."""
    tls: bool = False
    """Whether requests come in by TLS."""
    page_s: float = 0.0
    """How often the collector's own Prometheus page is read; zero: never."""


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing is sent."""

    name: str
    setup: Setup
    at_most: dict[str, float] = field(default_factory=dict)
    """The most that a figure may be: a goal, which the report compares with what came out."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """The collector scrapes by itself; nothing else is sent."""

    name: str
    setup: Setup
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the sink must have of what was acknowledged: between two shares of the items.

    Both are 1 where a collector only forwards. Where they are equal the sink must have exactly
    that, else (sampling, one point a series and interval) something between.
    """

    least: float = 1.0
    most: float = 1.0
    signal: Signal | None = None
    """As what it arrives; ``None``: as what it was sent as."""

    @classmethod
    def of(cls, plan: dict[str, Any]) -> Arrival:
        """From the keys ``arrives`` (a share, or two) and ``arrives_as`` of a scenario's file."""
        shares = plan.get("arrives", 1.0)
        least, most = shares if isinstance(shares, list) else (shares, shares)
        name = plan.get("arrives_as")
        return cls(float(least), float(most), Signal(name) if name else None)


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of one kind at one rate. ``rate`` 0: as fast as acknowledgements allow."""

    name: str
    setup: Setup
    transport: str
    workload: Workload
    rate: float
    connections: int
    in_flight: int
    at_most: float | None = None
    """The goal: CPU per item divided by that of the Go collector."""
    seconds: float | None = None
    """How long, where that is not left to the command line."""
    runs_max: int = 1000
    """The most runs of one session: those of minutes are not repeated as often."""
    arrival: Arrival = Arrival()


Scenario = Idle | Load | Scrape


def read(folder: Path = FOLDER, *, quick: bool = False) -> list[Scenario]:
    """All scenarios of a folder; ``quick``: only those that their files name for a short run.

    Raises `ValueError` for a file with an unknown key.
    """
    return [one for path in sorted(folder.glob("*.yaml")) for one in _read_file(path, quick=quick)]


def matches(name: str, wanted: list[str]) -> bool:
    """Whether a name has all words of one of the texts, and none that it has with a minus."""
    words = set(name.split())
    for text in wanted:
        unwanted = {word[1:] for word in text.split() if word.startswith("-")}
        needed = {word for word in text.split() if not word.startswith("-")}
        if needed <= words and not unwanted & words:
            return True
    return False


_KEYS = {
    "name", "config", "arguments", "idle", "transports", "workloads", "sizes", "connections",
    "in_flight", "sink", "compression", "rotel", "series", "page_s", "scrape", "quick", "at_most",
    "seconds", "runs_max", "tls", "arrives", "arrives_as",
}  # fmt: skip


def _read_file(path: Path, *, quick: bool) -> Iterator[Scenario]:
    plan: dict[str, Any] = yaml.safe_load(path.read_text())
    if unknown := plan.keys() - _KEYS:
        raise ValueError(f"{path}: unknown keys {', '.join(sorted(unknown))}")
    for one in _scenarios(plan):
        if not quick or "quick" not in plan or matches(one.name, plan["quick"]):
            yield one


def _scenarios(plan: dict[str, Any]) -> Iterator[Scenario]:
    goals = plan.get("at_most")
    for compression in plan.get("compression", ["none"]):
        setup = Setup(
            _CONFIGS / plan["config"] if "config" in plan else None,
            tuple(plan.get("arguments", ())),
            plan.get("sink", "sink"),
            compression,
            plan.get("rotel", False) and compression in _ROTEL_COMPRESSIONS,
            plan.get("series", 0),
            plan.get("tls", False),
            plan.get("page_s", 0.0),
        )
        if plan.get("idle"):
            yield Idle(plan["name"], setup, goals or {})
        elif plan.get("scrape"):
            yield Scrape(plan["name"], setup, goals)
        else:
            yield from _loads(plan, setup, goals or {})


def _loads(plan: dict[str, Any], setup: Setup, goals: dict[str, float]) -> Iterator[Load]:
    connections = plan["connections"]
    several = isinstance(connections, list)
    for transport, size, kind, lines in itertools.product(
        plan["transports"],
        plan["sizes"],
        plan["workloads"],
        connections if several else [connections],
    ):
        workload = Workload(
            Signal(kind["signal"]),
            size["items"],
            kind.get("points", 1),
            steady=kind.get("steady", False),
            delta=kind.get("delta", False),
            distinct=size.get("distinct", 0),
        )
        if workload.points > workload.items:
            continue  # the same as with fewer points a metric
        compressed = "" if setup.compression == "none" else f" {setup.compression}"
        name = f"{plan['name']} {transport}{compressed} {workload.name}"
        if several:
            name += f" {lines} connections"
        yield Load(
            name,
            setup,
            transport,
            workload,
            size["rate"],
            lines,
            plan["in_flight"],
            next((goal for words, goal in goals.items() if matches(name, [words])), None),
            plan.get("seconds"),
            plan.get("runs_max", 1000),
            Arrival.of(plan),
        )
