"""Machines of a continuum as network namespaces, with links between them that can be cut.

Each machine has its own ports and addresses, so the framework's files run in it as they are. Needs
root and iproute2.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.conftest import Program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CLONE_NEWNET = 0x40000000
_SETTINGS = Path("/etc/netns")
"""What is in a folder of this one that is called like a namespace lies over /etc in it."""


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, f"ip {' '.join(arguments)}: {done.stderr}"


def require_namespaces() -> None:
    """Skip where namespaces cannot be made: that is the machine's business, not a missing peer."""
    if shutil.which("ip") is None:
        pytest.skip("iproute2 is not installed")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    name = f"try{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"network namespaces cannot be made here: {done.stderr.strip()}")
    ip("netns", "delete", name)


class Machine:
    """A namespace. ``hosts``: names that it knows, and their addresses."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.namespace = f"{name}{os.getpid()}"
        ip("netns", "add", self.namespace)
        self._settings = _SETTINGS / self.namespace
        self._settings.mkdir(parents=True)
        self._hosts = self._settings / "hosts"
        self.know({})
        ip("-netns", self.namespace, "link", "set", "lo", "up")

    def know(self, hosts: dict[str, str]) -> None:
        """Know these names and no other; programs that run here see it at once."""
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in hosts.items())]
        self._hosts.write_text("\n".join(lines) + "\n")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread opens are the machine's."""
        with Path("/proc/thread-self/ns/net").open() as back:
            self.enter()
            try:
                yield
            finally:
                _enter(back.fileno())

    def enter(self) -> None:
        """Like `inside`, for the rest of the thread's life."""
        with Path("/run/netns", self.namespace).open() as there:
            _enter(there.fileno())

    def run(self, command: Sequence[str], log: Path, env: dict[str, str] | None = None) -> Program:
        """A program on this machine."""
        return Program(["ip", "netns", "exec", self.namespace, *command], log, env)

    def connections(self, port: int) -> int:
        """Connections from here to this port of others that are established."""
        with self.inside():
            lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
        remote_and_state = (line.split()[2:4] for line in lines)
        return sum(
            state == "01" and int(remote.rpartition(":")[2], 16) == port
            for remote, state in remote_and_state
        )

    def remove(self) -> None:
        ip("netns", "delete", self.namespace)
        self._hosts.unlink()
        self._settings.rmdir()


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Router:
    """What is between the machines: it passes packets on, or swallows them."""

    def __init__(self) -> None:
        self.machine = Machine("router")

    def connect(self, first: Machine, second: Machine, net: str) -> Link:
        """A link: ``first`` has the address ``NET.1.1`` on it, ``second`` ``NET.2.1``."""
        ends = []
        for side, (machine, other) in enumerate(((first, second), (second, first)), start=1):
            end = f"{machine.name[:6]}-{other.name[:6]}"
            ip(
                *("-netns", self.machine.namespace, "link", "add", end, "type", "veth"),
                *("peer", "name", end, "netns", machine.namespace),
            )
            for namespace, address in (
                (machine.namespace, f"{net}.{side}.1/24"),
                (self.machine.namespace, f"{net}.{side}.254/24"),
            ):
                ip("-netns", namespace, "address", "add", address, "dev", end)
                ip("-netns", namespace, "link", "set", end, "up")
            far = f"{net}.{3 - side}.0/24"
            ip("-netns", machine.namespace, "route", "add", far, "via", f"{net}.{side}.254")
            ends.append(end)
        link = Link(self.machine, ends)
        link.mend()
        return link

    def remove(self) -> None:
        self.machine.remove()


class Link:
    """A way between two machines."""

    def __init__(self, router: Machine, ends: Sequence[str]) -> None:
        self._router = router
        self._ends = ends

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Nothing gets through, and nobody is told: packets are swallowed half-way."""
        self._forward("0")
        try:
            yield
        finally:
            self.mend()

    def mend(self) -> None:
        """Everything gets through."""
        self._forward("1")

    def _forward(self, value: str) -> None:
        with self._router.inside():
            for end in self._ends:
                Path("/proc/sys/net/ipv4/conf", end, "forwarding").write_text(value)
