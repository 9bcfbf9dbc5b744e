"""Total memory from cgroup v2, cgroup v1 and /proc/meminfo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlsysops_processors.memory_limiter.total import total_memory

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemFree:  1 kB\nMemTotal:  8388608 kB\n"}


def test_the_machine_without_cgroups(tmp_path: Path) -> None:
    assert 8 * GIB == total_memory(write(tmp_path, MEMINFO))


def test_cgroup_v2_and_the_smallest_limit_on_the_way_up(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            **MEMINFO,
            "proc/self/cgroup": "0::/system.slice/collector.service\n",
            "sys/fs/cgroup/system.slice/collector.service/memory.max": "max\n",
            "sys/fs/cgroup/system.slice/memory.max": f"{2 * GIB}\n",
        },
    )

    assert 2 * GIB == total_memory(root)


def test_cgroup_v2_in_a_container_that_does_not_see_its_path(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            **MEMINFO,
            "proc/self/cgroup": "0::/../../kubepods/pod1\n",
            "sys/fs/cgroup/memory.max": f"{GIB}\n",
        },
    )

    assert GIB == total_memory(root)


def test_cgroup_v1(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            **MEMINFO,
            "proc/self/cgroup": "9:cpu,cpuacct:/a\n4:memory:/docker/x\n0::/\n",
            "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": f"{3 * GIB}\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )

    assert 3 * GIB == total_memory(root)


def test_a_limit_above_the_machine_is_the_machine(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            **MEMINFO,
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "9223372036854771712",
        },
    )

    assert 8 * GIB == total_memory(root)


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no memory limit"):
        total_memory(write(tmp_path, {"proc/meminfo": "nothing here\n"}))


def test_this_machine_tells() -> None:
    assert total_memory() > 64 << 20
