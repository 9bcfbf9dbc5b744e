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
_GROWN = re.compile(r"(.+) (\d+) (series|connections|pipelines)")
_MEMORY_PLOTS = ("overload grpc", "overload own", "saturated", "node")


def write(json_path: Path, document: dict[str, Any]) -> list[Path]:
    """Write the report and its plots beside the file of results; return their paths."""
    return write_as(json_path.with_suffix(".md"), f"{json_path.stem}-", document)


def write_as(report: Path, prefix: str, document: dict[str, Any]) -> list[Path]:
    """The same to a path of its own; ``prefix``: what the names of plots begin with."""
    plots = {f"{prefix}{name}.svg": plot for name, plot in _plots(document)}
    paths = []
    for name, plot in plots.items():
        paths.append(report.with_name(name))
        paths[-1].write_text(plot.svg())
    titles = {name: plot.title for name, plot in plots.items()}
    report.write_text("\n".join(lines(document, titles)) + "\n")
    return [report, *paths]


def lines(document: dict[str, Any], plots: dict[str, str]) -> Iterator[str]:
    """The report; ``plots``: titles by file name."""
    yield "# Benchmark results"
    yield ""
    yield from taken(document)
    yield "The README.md of the folder `benchmarks` says what is fair and how to repeat it."
    yield ""
    for name, version in document["peers"].items():
        yield f"- {name}: {version}"
    for name, version in document["machine"].get("versions", {}).items():
        yield f"- {name} {version}"
    yield ""
    yield from goals(document)
    yield from _ratios(document)
    yield from _idle(document)
    for name, title in plots.items():
        yield f"![{title}]({name})"
    yield ""
    yield from _all(document)
    yield from _failures(document)


def taken(document: dict[str, Any]) -> Iterator[str]:
    """When, with which commands and on which machine: a paragraph."""
    machine = document["machine"]
    for session in document.get("sessions", [document]):
        command = shlex.join(session["command"])
        yield f"Taken {session['time']} at commit {session['commit']} with `{command}`."
    yield f"On {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']},"
    yield f"Python {machine['python']}."


def goals(document: dict[str, Any]) -> Iterator[str]:
    """What was to be reached, and what came out: a table."""
    found = list(ratios.goals(document))
    if not found:
        return
    yield "## Goals"
    yield ""
    yield from goal_table(found)
    yield ""


def goal_table(found: list[ratios.Goal]) -> Iterator[str]:
    """A line for each goal."""
    yield "| scenario | figure | goal | came out | |"
    yield "| --- | --- | ---: | ---: | --- |"
    for one in found:
        yield f"| {one.scenario} | {one.what} | {one.limit} | {one.value} | {one.verdict} |"


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
    yield "| scenario | peer | runs | ready s | spread | CPU s until then | MiB | CPU % | |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    for one in results:
        yield (
            f"| {one['scenario']} | {one['peer']} | {one['runs']} "
            f"| {one['ready_s']:.2f} | {one.get('ready_s_spread', 0):.2f} "
            f"| {one['ready_cpu_s']:.2f} | {one['resident_mib']:.1f} "
            f"| {one['idle_cpu_percent']:.2f} | {one.get('remarks', '')} |"
        )
    yield ""


def _all(document: dict[str, Any]) -> Iterator[str]:
    results = [one for one in document["results"] if "ns_per_item" in one]
    if not results:
        return
    yield "## All figures"
    yield ""
    yield (
        "| scenario | peer | runs | ns/item | spread | items/s | p50 ms | p99 ms "
        "| MiB | peak MiB | |"
    )
    yield f"| --- | --- |{' ---: |' * 8} --- |"
    for one in results:
        yield (
            f"| {one['scenario']} | {one['peer']} | {one['runs']} | {one['ns_per_item']:.0f} "
            f"| {one['ns_per_item_spread']:.0f} | {one['items_per_s']:,.0f} | {one['p50_ms']:.1f} "
            f"| {one['p99_ms']:.1f} | {one['resident_mib']:.0f} | {one['peak_mib']:.0f} "
            f"| {'; '.join(_remarks(one))} |"
        )
    yield ""


def _remarks(one: dict[str, Any]) -> Iterator[str]:
    if not one["exact"]:
        yield f"VOID ({one['surplus_items']:+.0f} items)"
    if "half_items_per_s" in one:
        yield f"p50 and p99 at {one['half_items_per_s']:,.0f} items/s"
    if "goodput_share" in one:
        yield (
            f"{one['offered_items_per_s']:,.0f} items/s offered, it takes "
            f"{one['saturation_items_per_s']:,.0f} alone; {one['goodput_share']:.0%} of the smaller"
        )
    if one["refused"]:
        yield f"{one['refused']:.0f} requests refused"
    if one["remarks"]:
        yield one["remarks"]


def _failures(document: dict[str, Any]) -> Iterator[str]:
    lacking = [f"{text}: not compared" for text in document.get("lacking", [])]
    if failures := [*lacking, *document.get("failures", [])]:
        yield "## What is missing"
        yield ""
        for one in failures:
            yield "- " + one.replace("\n", " ")


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
            yield (
                "memory-" + start.replace(" ", "-"),
                Plot(title, Axis("seconds"), Axis("MiB"), memory),
            )


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
    """Peak memory, and cost, against the number of series, connections or pipelines."""
    for key, title, axis in (
        ("peak_mib", "Peak memory", Axis("peak MiB")),
        ("us_per_request", "CPU", Axis("us of CPU a request")),
    ):
        grown: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
        for one in document["results"]:
            found = _GROWN.fullmatch(one["scenario"])
            if found and key in one and one["exact"]:
                lines_ = grown.setdefault((found[1], found[3]), {})
                lines_.setdefault(one["peer"], []).append((float(found[2]), one[key]))
        for (name, what), lines_ in grown.items():
            if max(map(len, lines_.values())) < 2:
                continue
            series = {k: sorted(v) for k, v in lines_.items()}
            plot = Plot(f"{title}: {name}", Axis(what, log=True), axis, series)
            transport = next((one for one in ("grpc", "http") if one in name.split()), "")
            kind = "memory" if key == "peak_mib" else "cost"
            yield "-".join(filter(None, ("growth", what, transport, kind))), plot
