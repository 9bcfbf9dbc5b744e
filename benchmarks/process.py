"""Programs under measurement and around it: started, watched through the kernel, stopped."""

from __future__ import annotations

import atexit
import compileall
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Self

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scenarios import Setup

_START_S_MAX = 30.0
_STOP_S_MAX = 20.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LOG_CHARACTERS = 2000
_REFERENCE_STEPS = 300_000


_ROTEL_ARGUMENTS = (
    "start",
    "--otlp-grpc-endpoint", "127.0.0.1:$GRPC_PORT",
    "--otlp-http-endpoint", "127.0.0.1:$HTTP_PORT",
    "--otlp-grpc-max-recv-msg-size-mib", "64",
    "--exporter", "otlp",
    "--otlp-exporter-protocol", "grpc",
    "--otlp-exporter-endpoint", "http://127.0.0.1:$SINK_PORT",
    "--otlp-exporter-compression", "$COMPRESSION",
)  # fmt: skip


_PACKAGES = ("pipeline", "receivers", "processors", "exporters")


@cache
def _compile() -> None:
    """Give this collector the bytecode that pip makes when it installs it and a checkout lacks."""
    for name in _PACKAGES:
        spec = find_spec(f"mlsysops_{name}")
        for folder in (spec and spec.submodule_search_locations) or ():
            compileall.compile_dir(folder, quiet=2)


@dataclass(frozen=True, slots=True)
class Peer:
    """A collector that can be measured."""

    name: str
    command: tuple[str, ...]
    has_modes: bool = False
    """Whether it has the modes of this collector; then it can start without a file."""
    is_rotel: bool = False
    """Whether it is told by rotel's arguments what to do. All others read a Collector file."""

    def can(self, setup: Setup) -> bool:
        """Whether it has what a scenario needs."""
        if self.is_rotel:
            return setup.rotel
        return self.has_modes or not setup.arguments

    def arguments(self, setup: Setup, values: dict[str, str]) -> list[str]:
        """The command line that makes it do what the scenario says."""
        if self.is_rotel:
            return [Template(text).substitute(values) for text in _ROTEL_ARGUMENTS]
        arguments = [Template(text).substitute(values) for text in setup.arguments]
        return arguments if setup.config is None else [*arguments, "--config", values["CONFIG"]]


OURS = Peer("mlsysops-collector", (sys.executable, "-m", "mlsysops_pipeline.cli"), has_modes=True)


@dataclass(frozen=True, slots=True)
class Around:
    """Ports of what stands around a collector."""

    sink: int
    target: int = 0


class Measured:
    """A collector and its children, pinned to one core. A context manager: it runs inside."""

    def __init__(self, peer: Peer, setup: Setup, around: Around, core: int | None) -> None:
        self.peer = peer
        self.grpc_port, self.http_port, self.page_port = free_port(), free_port(), free_port()
        self._values = {
            "GRPC_PORT": str(self.grpc_port),
            "HTTP_PORT": str(self.http_port),
            "PAGE_PORT": str(self.page_port),
            "SINK_PORT": str(around.sink),
            "TARGET_PORT": str(around.target),
            "COMPRESSION": setup.compression,
            "CONFIG": str(setup.config),
        }
        if setup.tls:
            certificate, key = _certificate()
            self._values |= {"CERTIFICATE": certificate, "KEY": key}
        self.certificate = self._values.get("CERTIFICATE", "")
        """The file of the certificate that it shows, where it has one."""
        self.command: list[str] = []
        """How it was started."""
        self._setup = setup
        self._core = core
        self._stack = ExitStack()
        self._log = Path()
        self._process: subprocess.Popen[bytes]
        self.ready_s = 0.0
        """From the start until both ports accepted connections."""
        self.ready_cpu_s = 0.0
        """CPU time until then, which others on the machine do not change."""

    def __enter__(self) -> Self:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        self._log = folder / "log"
        if self._setup.pipelines > 1 and self._setup.config is not None:
            config = folder / "config.yaml"
            config.write_text(_multiplied(self._setup.config, self._setup.pipelines))
            self._values["CONFIG"] = str(config)
        self.command = [*self.peer.command, *self.peer.arguments(self._setup, self._values)]
        environment = os.environ | {f"BENCH_{name}": text for name, text in self._values.items()}
        _compile()
        began_s = time.perf_counter()
        # On its core from the first instruction: Go counts cores once, at its start.
        with self._log.open("wb") as log, on_core(self._core):
            try:
                # Ctrl-C is for the harness, which then ends what it has started.
                self._process = subprocess.Popen(
                    self.command, stdout=log, stderr=log, env=environment, start_new_session=True
                )
            except OSError as error:
                self._stack.close()
                raise RuntimeError(f"{self.peer.name} did not start: {error}") from error
        self._stack.callback(self._stop)
        try:
            self._await_ports(began_s)
        except BaseException:
            self._stack.close()
            raise
        self.ready_s = time.perf_counter() - began_s
        self.ready_cpu_s = self.cpu_s()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            # Nobody wants its figures any more.
            self._process.kill()
        self._stack.close()

    def _await_ports(self, began_s: float) -> None:
        while not (_answers(self.grpc_port) and _answers(self.http_port)):
            if self._process.poll() is not None or time.perf_counter() - began_s > _START_S_MAX:
                raise RuntimeError(f"{self.peer.name} did not start:\n{self.log()}")
            time.sleep(0.005)

    def cpu_s(self) -> float:
        """User and system time of the whole process tree so far, to the nanosecond."""
        return sum(map(cpu_s, self._tree()))

    def resident_bytes(self) -> int:
        """Resident memory of the whole process tree now."""
        return sum(map(_resident_bytes, self._tree()))

    def peak_bytes(self) -> int:
        """The largest resident memory of each process of the tree, summed."""
        return sum(map(_peak_bytes, self._tree()))

    def log(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-_LOG_CHARACTERS:]

    @property
    def pid(self) -> int:
        """The first process of the tree."""
        return self._process.pid

    def _tree(self) -> list[int]:
        return tree(self._process.pid)

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(ProcessLookupError):  # what it has started and left behind
            os.killpg(self._process.pid, signal.SIGKILL)


class Helper:
    """A program of this harness: a line goes in, a JSON line comes out."""

    def __init__(self, module: str, core: int | None) -> None:
        with on_core(core):
            self.process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )

    def tell(self, line: str = "") -> None:
        """Write a line. Raises `RuntimeError` when the program has ended."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise RuntimeError(f"{self.process.args!r} has ended") from error

    def hear(self) -> Any:
        """Read a line. Raises `RuntimeError` when the program has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} has ended")
        return json.loads(line)

    def stop(self) -> None:
        """End its input and wait, or insist."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(_STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@contextmanager
def helper(module: str, core: int | None) -> Iterator[Helper]:
    """Run a program of this harness."""
    program = Helper(module, core)
    try:
        yield program
    except BaseException:
        program.process.kill()
        raise
    finally:
        program.stop()


def kill_all() -> None:
    """End every process that this one has started, and theirs."""
    for pid in reversed(tree(os.getpid())[1:]):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def tree(root: int) -> list[int]:
    """A process and its descendants, parents first."""
    found = [root]
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def cpu_s(pid: int) -> float:
    """CPU time of one process, ended threads included; zero when it is gone."""
    # clock_getcpuclockid(3) of another process, which Python does not offer: see the kernel's
    # include/linux/posix-timers.h. /proc would only give hundredths of a second.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def reference_ms(core: int | None) -> float:
    """CPU time of a fixed piece of Python on this core now, some 40 ms.

    Neighbours on a shared machine slow a core down without taking its time: caches and clock are
    shared. This says by how much, so that figures of two sessions can be compared.
    """
    with on_core(core):
        began_s = time.thread_time()
        total = 0
        for number in range(_REFERENCE_STEPS):
            total += number * number % 7
        return (time.thread_time() - began_s) * 1e3


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def _peak_bytes(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return 0


def _multiplied(config: Path, count: int) -> str:
    """A Collector file whose pipeline for metrics is there several times, and no other."""
    document = yaml.safe_load(config.read_text())
    pipeline = document["service"]["pipelines"]["metrics"]
    document["service"]["pipelines"] = {f"metrics/{n}": dict(pipeline) for n in range(count)}
    return str(yaml.safe_dump(document))


@cache
def _certificate() -> tuple[str, str]:
    """The files of a certificate for this machine and its key, made by OpenSSL's command, once."""
    folder = tempfile.TemporaryDirectory(prefix="bench-")
    atexit.register(folder.cleanup)
    certificate, key = f"{folder.name}/certificate.pem", f"{folder.name}/key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-out", certificate, "-keyout", key,
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


def free_port() -> int:
    """A TCP port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Runs this thread, and what it starts, on one core; with None, wherever it may."""
    allowed = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
