"""Runs the demo with stand-ins for collectors: in this process, or as a program of its own.

As a program: ``fakes.py DURATION_S [HOP=HOW ...]``, where HOW is a misbehaviour of `fake_hop`.
"""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from mlsysops_pipeline.demo.hops import Plan, Ports, collector_command, free_ports
from mlsysops_pipeline.demo.supervisor import Demo, Options
from mlsysops_pipeline.demo.table import Display

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.demo.supervisor import HopCommand

_FAKE_HOP = str(Path(__file__).with_name("fake_hop.py"))


def fake_command(
    misbehave: dict[str, str] | None = None, *, real: frozenset[str] = frozenset()
) -> HopCommand:
    """Makes commands of stand-ins, and of the collector itself for the hops called ``real``."""

    def command(plan: Plan, ports: Ports, export_to: int, remote_write: str | None) -> list[str]:
        known = collector_command(plan, ports, export_to, remote_write)
        if plan.name in real:
            return known
        arguments = known[known.index("run") :]
        how = (misbehave or {}).get(plan.name)
        bad = ["--misbehave", how] if how else []
        return [sys.executable, "-P", _FAKE_HOP, *arguments, *bad]

    return command


async def run(
    options: Options,
    hop_command: HopCommand,
    *,
    pick_ports: Callable[[int], list[int]] = free_ports,
    stream: TextIO | None = None,
    prometheus: str | None = None,
) -> tuple[int, str]:
    """One run in this process: its exit status and what it showed."""
    shown = io.StringIO() if stream is None else stream
    demo = Demo(
        options,
        Display(shown),
        hop_command=hop_command,
        pick_ports=pick_ports,
        prometheus=prometheus,
    )
    status = await demo.run()
    return status, shown.getvalue() if isinstance(shown, io.StringIO) else ""


def main() -> int:
    duration_s, *bad = sys.argv[1:]
    command = fake_command(dict(text.split("=") for text in bad))
    return asyncio.run(run(Options(float(duration_s)), command, stream=sys.stdout))[0]


if __name__ == "__main__":
    sys.exit(main())
