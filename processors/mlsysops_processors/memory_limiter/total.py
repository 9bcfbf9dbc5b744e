"""How much memory this process may use: the smallest of its cgroups' limits and the machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path("/")
_UNLIMITED_BYTES = 1 << 60
"""cgroup v1 writes "no limit" as a number near 2**63."""


def total_memory(root: Path = _ROOT) -> int:
    """Bytes that this process may use. Raises `OSError` where the system does not tell.

    A limit of a parent holds for its children, so every cgroup on the way to the top is asked.
    In a container the path of ``/proc/self/cgroup`` may be the host's; then the top is ours.
    ``root`` is where ``/proc`` and ``/sys`` are found.
    """
    limits = [limit for limit in _cgroup_limits(root) if limit < _UNLIMITED_BYTES]
    machine = _machine_bytes(root)
    if machine:
        limits.append(machine)
    if not limits:
        raise OSError(f"no memory limit in {root}sys/fs/cgroup and no MemTotal in {root}proc")
    return min(limits)


def _cgroup_limits(root: Path) -> Iterator[int]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            yield from _upwards(root / "sys/fs/cgroup", path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _upwards(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")


def _upwards(top: Path, path: str, name: str) -> Iterator[int]:
    parts = [part for part in path.split("/") if part not in {"", ".."}]
    for depth in range(len(parts), -1, -1):
        try:
            text = top.joinpath(*parts[:depth], name).read_text().strip()
        except OSError:
            continue
        if text.isascii() and text.isdigit():  # cgroup v2 writes "max" where there is no limit
            yield int(text)


def _machine_bytes(root: Path) -> int:
    try:
        text = (root / "proc/meminfo").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0
