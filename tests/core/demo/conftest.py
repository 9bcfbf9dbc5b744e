"""What tests of the demo share: free ports, and a look at the processes that are left."""

from __future__ import annotations

import os
import signal
import socket
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MARK = "DEMO_TEST_MARK"


@pytest.fixture
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


class Family:
    """Finds the processes that a test started, by a variable that they inherit."""

    def __init__(self) -> None:
        self.variable = f"{_MARK}={uuid.uuid4()}"

    def members(self) -> dict[int, str]:
        """Process ids and command lines, this process left out."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if int(folder.name) != os.getpid() and self._is_one(folder):
                    command = (folder / "cmdline").read_bytes()
                    found[int(folder.name)] = command.replace(b"\0", b" ").decode()
        return found

    def _is_one(self, folder: Path) -> bool:
        return self.variable.encode() in (folder / "environ").read_bytes().split(b"\0")

    def left(self, wait_s: float = 5.0) -> dict[int, str]:
        """Who is still there after the time that the kernel may take to end a process."""
        deadline_s = time.monotonic() + wait_s
        while (members := self.members()) and time.monotonic() < deadline_s:
            time.sleep(0.02)  # between two looks at /proc
        return members


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Family]:
    """Processes of this test; whoever is left at the end is ended."""
    found = Family()
    monkeypatch.setenv(*found.variable.split("=", 1))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a demo that is killed leaves its folder
    yield found
    for pid in found.members():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
