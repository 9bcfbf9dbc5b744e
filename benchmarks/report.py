"""Runs become a result, results a table and a file."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.neighbours import BUSY

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSIONS = ("grpcio", "protobuf", "aiohttp", "uvloop", "hpack", "pydantic", "cramjam", "isal")
LOAD_HEAD = (
    f"{'scenario':<46}{'peer':<20}{'ns/item':>9}{'best':>8}{'+-':>7}{'us/req':>9}"
    f"{'items/s':>11}{'p50 ms':>8}{'p99 ms':>8}{'MiB':>6}{'peak':>6}  exact"
)
IDLE_HEAD = (
    f"{'scenario':<46}{'peer':<20}{'ready s':>9}{'CPU s':>7}{'idle MiB':>9}{'idle CPU %':>11}"
)


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of numbers, with ``KEY_spread`` (largest less smallest); the worst of what voids.

    ``KEY_min`` is what a machine comes closest to that does nothing else: others on it only add.
    """
    result: dict[str, Any] = {"runs": len(runs)}
    for key, first in runs[0].items():
        values = [run[key] for run in runs]
        if isinstance(first, list):
            result[key] = values[-1]
        elif isinstance(first, bool):
            result[key] = all(values)
        elif key == "surplus_items":
            result[key] = max(values, key=abs)
        elif isinstance(first, (int, float)):
            result[key] = statistics.median(values)
            result[f"{key}_spread"] = max(values) - min(values)
            result[f"{key}_min"] = min(values)
        else:
            result[key] = "; ".join(dict.fromkeys(filter(None, values)))
    return result


def row(result: dict[str, Any]) -> str:
    """One line of a table."""
    head = f"{result['scenario']:<46}{result['peer']:<20}"
    if "ready_s" in result:
        return (
            f"{head}{result['ready_s']:>9.2f}{result['ready_cpu_s']:>7.2f}"
            f"{result['resident_mib']:>9.1f}{result['idle_cpu_percent']:>11.2f}"
            f"  {result.get('remarks', '')}"
        ).rstrip()
    exact = "yes" if result["exact"] else f"VOID ({result['surplus_items']:+.0f} items)"
    refused = f" ({result['refused']:.0f} refused)" if result["refused"] else ""
    over = ""
    if "half_items_per_s" in result:
        over = f" (p50, p99 at {result['half_items_per_s']:,.0f} items/s)"
    elif "goodput_share" in result:
        over = (
            f" ({result['offered_items_per_s']:,.0f} items/s offered, "
            f"{result['goodput_share']:.0%} of {result['saturation_items_per_s']:,.0f} or of these)"
        )
    remarks = f"  {result['remarks']}" if result["remarks"] else ""
    return (
        f"{head}{result['ns_per_item']:>9.0f}{result['ns_per_item_min']:>8.0f}"
        f"{result['ns_per_item_spread']:>7.0f}"
        f"{result['us_per_request']:>9.1f}{result['items_per_s']:>11,.0f}"
        f"{result['p50_ms']:>8.1f}{result['p99_ms']:>8.1f}"
        f"{result['resident_mib']:>6.0f}{result['peak_mib']:>6.0f}  {exact}{refused}{over}{remarks}"
    )


def pace(results: list[dict[str, Any]]) -> Iterator[str]:
    """How fast the machine was in this session, compared with itself, and who else used it."""
    typical = statistics.median(result["reference_ms"] for result in results)
    best = min(result["reference_ms_min"] for result in results)
    yield (
        f"a fixed piece of Python took {best:.1f} ms at best, {typical:.1f} ms usually: "
        f"figures are some {typical / best:.1f} times those of this machine when it is quiet"
    )
    others = [result["others_busy"] for result in results if "others_busy" in result]
    if busy := [share for share in others if share > BUSY]:
        yield (
            f"other processes used the machine in {len(busy)} of {len(others)} scenarios, "
            f"up to {max(busy):.1f} of a core: measure again when it is quiet"
        )


def document(
    results: list[dict[str, Any]], versions: dict[str, str], absent: dict[str, str]
) -> dict[str, Any]:
    """A whole session: machine, commit, command, time, peers and why some are absent, results."""
    return {
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "command": [Path(sys.executable).name, *sys.orig_argv[1:]],
        "machine": _machine(),
        "peers": versions | {name: f"absent ({why})" for name, why in absent.items()},
        "results": results,
    }


def write(path: Path, session: dict[str, Any]) -> None:
    """The file of a session."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(session, indent=1) + "\n")


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    versions = {}
    for name in _VERSIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "cpu": next(models, platform.machine()),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
        "versions": versions,
    }
