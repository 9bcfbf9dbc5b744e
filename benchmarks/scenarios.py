"""What is measured: small files in `scenarios/`, each of which stands for one or many scenarios."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.workload import Workload
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent / "scenarios"
_CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True, slots=True)
class Setup:
    """How a collector is started: with a file, or with arguments that only some understand.

    ``sink``: the program of this folder that it sends to.
    """

    config: Path | None
    arguments: tuple[str, ...] = ()
    sink: str = "sink"


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing is sent."""

    name: str
    setup: Setup


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


Scenario = Idle | Load


def read(folder: Path = FOLDER) -> list[Scenario]:
    """All scenarios of a folder. Raises `ValueError` for a file with an unknown key."""
    return [one for path in sorted(folder.glob("*.yaml")) for one in _read_file(path)]


_KEYS = {
    "name", "config", "arguments", "idle", "transports", "workloads", "sizes", "connections",
    "in_flight", "sink",
}  # fmt: skip


def _read_file(path: Path) -> Iterator[Scenario]:
    plan: dict[str, Any] = yaml.safe_load(path.read_text())
    if unknown := plan.keys() - _KEYS:
        raise ValueError(f"{path}: unknown keys {', '.join(sorted(unknown))}")
    config = _CONFIGS / plan["config"] if "config" in plan else None
    setup = Setup(config, tuple(plan.get("arguments", ())), plan.get("sink", "sink"))
    if plan.get("idle"):
        yield Idle(plan["name"], setup)
        return
    for transport, size, kind in itertools.product(
        plan["transports"], plan["sizes"], plan["workloads"]
    ):
        workload = Workload(
            Signal(kind["signal"]),
            size["items"],
            kind.get("points", 1),
            steady=kind.get("steady", False),
        )
        if workload.points > workload.items:
            continue  # the same as with fewer points a metric
        yield Load(
            f"{plan['name']} {transport} {workload.name}",
            setup,
            transport,
            workload,
            size["rate"],
            plan["connections"],
            plan["in_flight"],
        )
