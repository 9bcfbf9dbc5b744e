"""Who else uses the machine: what the kernel counted, less what the harness and its programs took.

Figures of a machine that is busy with something else are worse than those of a quiet one, and not
for all peers alike. This says how much of a core others took, and who they were.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BUSY = 0.2
"""Above this share of a core it is worth a remark."""
_NAMED = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")
_KERNEL = 2
"""The parent of the kernel's own threads, which work for whom they work for."""


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    name: str
    cpu_s: float


class Neighbours:
    """Looks when it is made, and again at `busy`."""

    def __init__(self) -> None:
        self._at_s, self._total_s, self._processes = _now()

    def busy(self) -> tuple[float, str]:
        """The cores' worth of time that others took since, and the names of the busiest.

        What a hypervisor took for somebody else counts, too.
        """
        at_s, total_s, processes = _now()
        elapsed_s = max(at_s - self._at_s, 1e-3)
        ours = _descendants(processes, os.getpid()) | _descendants(processes, _KERNEL)
        spent_s = {
            pid: one.cpu_s - (self._processes[pid].cpu_s if pid in self._processes else 0.0)
            for pid, one in processes.items()
        }
        others_s = total_s - self._total_s - sum(spent_s[pid] for pid in ours)
        names = [
            processes[pid].name
            for pid, cpu_s in sorted(spent_s.items(), key=lambda item: -item[1])
            if pid not in ours and cpu_s > _NAMED * elapsed_s
        ]
        return max(0.0, others_s / elapsed_s), ", ".join(dict.fromkeys(names[:3]))


def remark(busy: float, names: str) -> str:
    """What to say of it; nothing where it is little."""
    if busy <= BUSY:
        return ""
    return f"other processes took {busy:.1f} of a core" + (f" ({names})" if names else "")


def _now() -> tuple[float, float, dict[int, _Process]]:
    """The time, the time of all cores that somebody used, and all processes."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, _irq, _softirq, steal = map(int, fields[:8])
    processes = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            head, _, rest = path.read_text().rpartition(")")
            values = rest.split()
            cpu_s = (int(values[11]) + int(values[12])) / _TICKS
            name = head.partition("(")[2]
            processes[int(path.parent.name)] = _Process(int(values[1]), name, cpu_s)
    return time.monotonic(), (user + nice + system + steal) / _TICKS, processes


def _descendants(processes: dict[int, _Process], root: int) -> set[int]:
    found, fresh = set(), {root} & processes.keys()
    while fresh:
        found |= fresh
        fresh = {pid for pid, one in processes.items() if one.parent in fresh} - found
    return found
