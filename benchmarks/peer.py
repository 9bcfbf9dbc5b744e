"""One collector under measurement: started with a file, watched through /proc, stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

CONFIG = """
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{grpc}", max_recv_msg_size_mib: 64}}
      http: {{endpoint: "127.0.0.1:{http}"}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: 2048}}
  batch: {{}}
exporters:
  otlp:
    endpoint: 127.0.0.1:{sink}
    tls: {{insecure: true}}
    compression: none
service:
  telemetry:
    metrics: {{level: none}}
  pipelines:
    metrics: {{receivers: [otlp], processors: [memory_limiter, batch], exporters: [otlp]}}
    logs: {{receivers: [otlp], processors: [memory_limiter, batch], exporters: [otlp]}}
    traces: {{receivers: [otlp], processors: [memory_limiter, batch], exporters: [otlp]}}
"""


def own_command() -> list[str]:
    """How this collector is started."""
    return [sys.executable, "-m", "mlsysops_pipeline.cli"]


@dataclass
class Peer:
    """A collector process (and its children) pinned to one core, fed by a configuration file."""

    name: str
    command: list[str]
    sink_port: int
    core: int | None = None
    grpc_port: int = 0
    http_port: int = 0
    ready_s: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    _folder: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="bench-")
    )

    def start(self) -> None:
        """Start and wait until the gRPC port answers; ``ready_s`` is how long that took."""
        self.grpc_port, self.http_port = free_port(), free_port()
        path = Path(self._folder.name) / "config.yaml"
        path.write_text(
            CONFIG.format(grpc=self.grpc_port, http=self.http_port, sink=self.sink_port)
        )
        log = (Path(self._folder.name) / "log").open("wb")
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [*self.command, "--config", str(path)], stdout=log, stderr=log
        )
        if self.core is not None:
            os.sched_setaffinity(self.process.pid, {self.core})
        while not _answers(self.http_port):
            if self.process.poll() is not None or time.perf_counter() - started > 30:
                text = (Path(self._folder.name) / "log").read_text(errors="replace")
                raise RuntimeError(f"{self.name} did not start:\n{text[-2000:]}")
            time.sleep(0.005)
        self.ready_s = time.perf_counter() - started

    def cpu_s(self) -> float:
        """User and system time of the whole process tree so far."""
        return sum(_cpu_ticks(pid) for pid in self._tree()) * _TICK_S

    def resident_bytes(self) -> int:
        """Resident memory of the whole process tree now."""
        return sum(_statm(pid) for pid in self._tree())

    def peak_bytes(self) -> int:
        """The largest resident memory of the main process so far."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
        return 0

    def _tree(self) -> list[int]:
        assert self.process is not None
        found = [self.process.pid]
        for pid in found:
            with suppress(OSError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                found += map(int, children)
        return found

    def stop(self) -> None:
        """Ask to stop, and insist after ten seconds."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._folder.cleanup()


def free_port() -> int:
    """A TCP port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _cpu_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def _statm(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0
