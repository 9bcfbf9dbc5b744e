"""What is measured: small files in `scenarios/`, each of which stands for one or many scenarios."""

from __future__ import annotations

import enum
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
_LONG_S = 30
FIGURES = {
    "ready_s": "s until ready",
    "resident_mib": "MiB resident",
    "peak_mib": "MiB resident at the peak",
    "goodput_share": "of own saturation delivered",
    "ns_per_item": "ns of CPU an item",
}
"""Figures that a goal can be for, and how they are called in a report."""


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
    pipelines: int = 1
    """How often the file's pipeline for metrics is there, each fed by the same receivers."""


@dataclass(frozen=True, slots=True)
class Goals:
    """What has to come out; the report says whether it did."""

    ratio: float | None = None
    """The most that CPU per item may be, divided by that of the Go collector."""
    at_most: dict[str, float] = field(default_factory=dict)
    """The most that a figure of this collector may be, by its name in results."""
    at_least: dict[str, float] = field(default_factory=dict)
    """The least that it may be."""

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.ratio is not None or bool(self.at_most or self.at_least)

    @classmethod
    def of(cls, plan: dict[str, Any], name: str) -> Goals:
        """Those of one scenario, from the keys ``at_most`` and ``at_least`` of its file.

        Goals stand under words of names; a number alone is a ratio. A file with one scenario
        may leave the words out.
        """
        most, least = (_for_name(plan.get(key), name) for key in ("at_most", "at_least"))
        if isinstance(most, dict):
            return cls(None, most, least or {})
        return cls(most, {}, least or {})


def _for_name(goals: Any, name: str) -> Any:
    if not isinstance(goals, dict) or goals.keys() <= FIGURES.keys():
        return goals
    return next((goal for words, goal in goals.items() if matches(name, [words])), None)


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing is sent."""

    name: str
    setup: Setup
    goals: Goals = Goals()
    runs_max: int = 1000


@dataclass(frozen=True, slots=True)
class Scrape:
    """The collector scrapes by itself; nothing else is sent."""

    name: str
    setup: Setup
    goals: Goals = Goals()
    runs_max: int = 1000


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
    def of(cls, plan: dict[str, Any], pipelines: int) -> Arrival:
        """From the keys ``arrives`` (a share, or two) and ``arrives_as`` of a scenario's file.

        What each of some pipelines hands on arrives as often as there are pipelines.
        """
        shares = plan.get("arrives", 1.0)
        least, most = shares if isinstance(shares, list) else (shares, shares)
        name = plan.get("arrives_as")
        signal = Signal(name) if name else None
        return cls(float(least) * pipelines, float(most) * pipelines, signal)


class Mode(enum.StrEnum):
    """How requests are sent."""

    STEADY = "steady"
    """At one rate, the same for all collectors."""
    SATURATION = "saturation"
    """As fast as acknowledgements allow; then at half of that, to see how long they take."""
    OVERLOAD = "overload"
    """As ``SATURATION`` at first; then at twice what the Go collector takes, whatever comes."""
    OVERLOAD_OWN = "overload_own"
    """The same at twice what the collector itself takes."""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of one kind."""

    name: str
    setup: Setup
    transport: str
    workload: Workload
    rate: float
    """Requests a second. Of an overload: used where there is no Go collector to ask."""
    connections: int
    in_flight: int
    goals: Goals = Goals()
    mode: Mode = Mode.STEADY
    seconds: float | None = None
    """How long, where that is not left to the command line."""
    runs_max: int = 1000
    """The most runs of one session: those of minutes are not repeated as often."""
    arrival: Arrival = Arrival()


Scenario = Idle | Load | Scrape


def read(folder: Path = FOLDER, *, quick: bool = False, figures: bool = False) -> list[Scenario]:
    """All scenarios of a folder. ``quick``: only those that their files name for a short run.

    ``figures``: only those with a goal, and those that are named for the plots of the top-level
    README; but none of half a minute or more. Raises `ValueError` for a file with an unknown key.
    """
    return [
        one
        for path in sorted(folder.glob("*.yaml"))
        for one in _read_file(path, quick=quick, figures=figures)
    ]


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
    "seconds", "runs_max", "tls", "arrives", "arrives_as", "at_least", "mode", "pipelines",
    "figures",
}  # fmt: skip


def _read_file(path: Path, *, quick: bool, figures: bool) -> Iterator[Scenario]:
    plan: dict[str, Any] = yaml.safe_load(path.read_text())
    if unknown := plan.keys() - _KEYS:
        raise ValueError(f"{path}: unknown keys {', '.join(sorted(unknown))}")
    for one in _scenarios(plan):
        if quick and "quick" in plan and not matches(one.name, plan["quick"]):
            continue
        shown = one.goals or matches(one.name, plan.get("figures", []))
        if figures and (not shown or plan.get("seconds", 0) >= _LONG_S):
            continue
        yield one


def _scenarios(plan: dict[str, Any]) -> Iterator[Scenario]:
    runs_max = plan.get("runs_max", 1000)
    pipelines = plan.get("pipelines", [1])
    for compression, count in itertools.product(plan.get("compression", ["none"]), pipelines):
        setup = Setup(
            _CONFIGS / plan["config"] if "config" in plan else None,
            tuple(plan.get("arguments", ())),
            plan.get("sink", "sink"),
            compression,
            plan.get("rotel", False) and compression in _ROTEL_COMPRESSIONS,
            plan.get("series", 0),
            plan.get("tls", False),
            plan.get("page_s", 0.0),
            count,
        )
        name = plan["name"]
        if plan.get("idle"):
            yield Idle(name, setup, Goals.of(plan, name), runs_max)
        elif plan.get("scrape"):
            yield Scrape(name, setup, Goals.of(plan, name), runs_max)
        else:
            yield from _loads(plan, setup)


def _loads(plan: dict[str, Any], setup: Setup) -> Iterator[Load]:
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
        if "pipelines" in plan:
            name += f" {setup.pipelines} pipelines"
        yield Load(
            name,
            setup,
            transport,
            workload,
            size.get("rate", 0),
            lines,
            plan["in_flight"],
            Goals.of(plan, name),
            Mode(plan.get("mode", Mode.STEADY)),
            plan.get("seconds"),
            plan.get("runs_max", 1000),
            Arrival.of(plan, setup.pipelines),
        )
