"""The report of a session for people: Markdown, with plots beside it."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from benchmarks import ratios
from benchmarks.plots import Axis, Plot
from benchmarks.ratios import text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SIZED = re.compile(r"(.+) (\d+)")
_GROWN = re.compile(r"(.+) (\d+) (series|connections)")
_MEMORY_PLOTS = ("overload", "saturated", "node")
_GOALS = {"ready_s": "s to ready", "resident_mib": "MiB idle"}


def write(json_path: Path, document: dict[str, Any]) -> list[Path]:
    """Write the report and its plots beside the file of results; return their paths."""
    plots = {f"{json_path.stem}-{name}.svg": plot for name, plot in _plots(document)}
    paths = []
    for name, plot in plots.items():
        paths.append(json_path.with_name(name))
        paths[-1].write_text(plot.svg())
    report = json_path.with_suffix(".md")
    titles = {name: plot.title for name, plot in plots.items()}
    report.write_text("\n".join(lines(document, titles)) + "\n")
    return [report, *paths]


def lines(document: dict[str, Any], plots: dict[str, str]) -> Iterator[str]:
    """The report; ``plots``: titles by file name."""
    machine = document["machine"]
    yield "# Benchmark results"
    yield ""
    yield f"Taken {document['time']} at commit {document['commit']} with"
    yield f"`{shlex.join(document['command'])}` on {machine['cpu']}, {machine['cores']} cores,"
    yield f"Linux {machine['kernel']}, Python {machine['python']}. README.md says what is fair."
    yield ""
    for name, version in document["peers"].items():
        yield f"- {name}: {version}"
    yield ""
    yield from _ratios(document)
    yield from _idle(document)
    for name, title in plots.items():
        yield f"![{title}]({name})"
    yield ""
    yield from _all(document)


def _ratios(document: dict[str, Any]) -> Iterator[str]:
    rows = [one for one in ratios.read(document) if ratios.BASE in one.ns_per_item]
    if not rows:
        yield "No ratios: the Go collector did not run."
        yield ""
        return
    names = ratios.others(document)
    yield "## CPU per item in proportion to the Go collector"
    yield ""
    yield f"| scenario | Go ns/item | {' | '.join(names)} | goal |"
    yield f"| --- | ---: | {' | '.join('---:' for _ in names)} | --- |"
    for one in rows:
        cells = " | ".join(text(one.of(name)) for name in names)
        goal = f"{one.goal:.2f} {one.verdict}" if one.goal is not None else ""
        yield f"| {one.scenario} | {one.ns_per_item[ratios.BASE]:.0f} | {cells} | {goal} |"
    yield ""


def _idle(document: dict[str, Any]) -> Iterator[str]:
    results = [one for one in document["results"] if "ready_s" in one]
    if not results:
        return
    yield "## Nothing to do"
    yield ""
    yield "| scenario | peer | ready s | CPU s until then | MiB | CPU % | goals |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | --- |"
    for one in results:
        goals = ", ".join(
            f"{limit:g} {_GOALS[key]}" for key, limit in (one.get("at_most") or {}).items()
        )
        yield (
            f"| {one['scenario']} | {one['peer']} "
            f"| {one['ready_s']:.2f} | {one['ready_cpu_s']:.2f} "
            f"| {one['resident_mib']:.1f} | {one['idle_cpu_percent']:.2f} | {goals} |"
        )
    yield ""


def _all(document: dict[str, Any]) -> Iterator[str]:
    results = [one for one in document["results"] if "ns_per_item" in one]
    if not results:
        return
    yield "## All figures"
    yield ""
    yield "| scenario | peer | runs | ns/item | spread | items/s | p50 ms | p99 ms | peak MiB | |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    for one in results:
        remarks = [] if one["exact"] else [f"VOID ({one['surplus_items']:+.0f} items)"]
        remarks += filter(None, [one["remarks"]])
        if one["refused"]:
            remarks.append(f"{one['refused']:.0f} refused")
        yield (
            f"| {one['scenario']} | {one['peer']} | {one['runs']} | {one['ns_per_item']:.0f} "
            f"| {one['ns_per_item_spread']:.0f} | {one['items_per_s']:,.0f} | {one['p50_ms']:.1f} "
            f"| {one['p99_ms']:.1f} | {one['peak_mib']:.0f} | {'; '.join(remarks)} |"
        )


def _plots(document: dict[str, Any]) -> Iterator[tuple[str, Plot]]:
    yield from _cost_by_size(document)
    yield from _growth(document)
    for start in _MEMORY_PLOTS:
        found = [one for one in document["results"] if one["scenario"].startswith(start)]
        largest = found[-1]["scenario"] if found else ""
        memory = {
            one["peer"]: [(float(x), float(y)) for x, y in one["memory_mib"]]
            for one in found
            if one["scenario"] == largest and one.get("memory_mib")
        }
        if memory:
            title = f"Resident memory: {largest}"
            yield f"memory-{start}", Plot(title, Axis("seconds"), Axis("MiB"), memory)


def _cost_by_size(document: dict[str, Any]) -> Iterator[tuple[str, Plot]]:
    """Cost per item against request size, where there are at least three sizes."""
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for one in document["results"]:
        sized = _SIZED.fullmatch(one["scenario"])
        if sized and "ns_per_item" in one and one["exact"]:
            lines_ = series.setdefault(sized[1], {})
            lines_.setdefault(one["peer"], []).append((float(sized[2]), one["ns_per_item"]))
    for name, lines_ in series.items():
        if max(map(len, lines_.values())) < 3:
            continue
        axes = Axis("items a request", log=True), Axis("ns of CPU an item", log=True)
        plot = Plot(f"CPU per item: {name}", *axes, {k: sorted(v) for k, v in lines_.items()})
        yield "cost-" + name.replace(" ", "-"), plot


def _growth(document: dict[str, Any]) -> Iterator[tuple[str, Plot]]:
    """Peak memory against the number of series or connections."""
    grown: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for one in document["results"]:
        found = _GROWN.fullmatch(one["scenario"])
        if found and "ns_per_item" in one and one["exact"]:
            lines_ = grown.setdefault((found[1], found[3]), {})
            lines_.setdefault(one["peer"], []).append((float(found[2]), one["peak_mib"]))
    for (name, what), lines_ in grown.items():
        axes = Axis(what, log=True), Axis("peak MiB")
        plot = Plot(f"Peak memory: {name}", *axes, {k: sorted(v) for k, v in lines_.items()})
        yield f"growth-{what}", plot
