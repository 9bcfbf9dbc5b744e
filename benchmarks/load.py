"""The load generator: sends precomputed requests at a rate and says what was acknowledged.

It is a program of its own. One JSON object on standard input says what to send (see `Plan`); when
that is computed it prints a line. Then every line is a part (see `Part`), which it runs over the
same connections, and whose result it prints.

The loop is open: a request is due at its time whatever became of those before it, and its latency
counts from then, so that a collector that stalls cannot hide it. With ``rate`` 0 it is closed.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from benchmarks.client_grpc import GrpcClient
from benchmarks.client_http import HttpClient
from benchmarks.workload import Workload
from mlsysops_pipeline.pdata.signal import Signal

_WAIT_S_MAX = 0.1
_STALL_S_MAX = 30.0
_LATE_S = 0.005


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, to whom, over how many connections."""

    transport: str
    port: int
    signal: str
    items: int
    points: int
    connections: int
    steady: bool = False
    """See `Workload`; not with compression, as times are put in late."""
    compression: str = "none"
    certificate: str = ""
    """The file of the certificate that the collector shows, where there is TLS."""
    distinct: int = 0
    """See `Workload`."""
    delta: bool = False
    """See `Workload`."""


@dataclass(frozen=True, slots=True)
class Part:
    """How fast, how long."""

    rate: float
    """Requests a second. Zero: as fast as acknowledgements allow."""
    seconds: float
    in_flight: int
    """The most requests under way on all connections together."""
    gives_up: bool = False
    """Whether a request that is due while too many are under way is never sent.

    Otherwise it is sent late, so that all collectors do the same work.
    """


@dataclass(slots=True)
class Result:
    """What came of a part. Latencies, of what was acknowledged, are in milliseconds."""

    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    given_up: int = 0
    """Requests that were due and never sent."""
    late: int = 0
    """Requests that were sent over 5 ms after they were due."""
    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    latencies_s: list[float] = field(default_factory=list)

    def finish(self) -> dict[str, float]:
        """The result for the harness, single latencies left out."""
        ordered = sorted(self.latencies_s) or [0.0]
        self.p50_ms = ordered[len(ordered) // 2] * 1e3
        self.p99_ms = ordered[int(len(ordered) * 0.99)] * 1e3
        self.latencies_s = []
        return asdict(self)


class Client(Protocol):
    """One side of a connection, without its socket."""

    outgoing: list[bytes]

    def request(self, index: int) -> int:
        """Send a request of the list and return a number that `receive` names it by."""

    def receive(self, data: bytes) -> list[tuple[int, bool]]:
        """The requests that have ended, and whether they were acknowledged."""


class Line:
    """A connection with its socket."""

    def __init__(self, client: Client, port: int, certificate: str = "") -> None:
        self.client = client
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if certificate:
            context = ssl.create_default_context(cafile=certificate)
            context.set_alpn_protocols(["h2" if isinstance(client, GrpcClient) else "http/1.1"])
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.socket.settimeout(0)
        self.due_s: dict[int, float] = {}
        self.unsent = b""
        self.send()  # what a connection begins with: servers do not wait for ever

    def send(self) -> None:
        """Write what is to be sent, as far as the socket takes it."""
        while self.unsent or self.client.outgoing:
            if not self.unsent:
                parts = self.client.outgoing
                self.unsent = parts[0] if len(parts) == 1 else b"".join(parts)
                parts.clear()
            try:
                sent = self.socket.send(self.unsent)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            self.unsent = self.unsent[sent:]

    def receive(self) -> list[tuple[int, bool]]:
        """Read once. Raises `ConnectionError` at the end of the stream."""
        try:
            data = self.socket.recv(262_144)
        except ssl.SSLWantReadError:
            return []  # half a record
        if not data:
            raise ConnectionError("the collector closed the connection")
        # `select` does not see what TLS has read and holds.
        while isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            data += self.socket.recv(262_144)
        return self.client.receive(data)

    def fileno(self) -> int:
        """For `select`."""
        return self.socket.fileno()


class Generator:
    """Runs parts of a plan over the same connections."""

    def __init__(self, plan: Plan, requests: list[bytes]) -> None:
        signal = Signal(plan.signal)
        authority = f"127.0.0.1:{plan.port}"
        self._plan = plan
        self._requests = len(requests)
        self._turn = 0
        make: Any = GrpcClient if plan.transport == "grpc" else HttpClient
        path = signal.method if plan.transport == "grpc" else signal.url_path
        client: Any = None
        self._clients: list[Client] = []
        for _ in range(plan.connections):
            client = make(authority, path, requests, plan.compression, client)
            self._clients.append(client)
        self._lines: list[Line] = []

    def connect(self) -> None:
        """Open the connections. Raises `OSError` when nobody answers."""
        plan = self._plan
        self._lines = [Line(client, plan.port, plan.certificate) for client in self._clients]

    def run(self, part: Part) -> Result:
        """Send what is due in the part's time, and wait for what is still under way."""
        result, under_way = Result(), 0
        cpu_began_s = time.process_time()
        began_s = moved_s = time.perf_counter()
        rate, requests = part.rate, round(part.rate * part.seconds)
        while True:
            now_s = time.perf_counter()
            passed_s = now_s - began_s
            due = min(requests, int(passed_s * rate) + 1)
            turns = result.sent + result.given_up
            while under_way < part.in_flight and (turns < due if rate else passed_s < part.seconds):
                due_s = began_s + turns / rate if rate else now_s
                self._send_one(due_s)
                result.late += now_s - due_s > _LATE_S
                result.sent += 1
                turns += 1
                under_way += 1
                if not rate:
                    passed_s = time.perf_counter() - began_s
            if part.gives_up and turns < due:
                result.given_up += due - turns
                turns = due
            sending = turns < requests if rate else passed_s < part.seconds
            if not sending and not under_way:
                break
            wait_s = _WAIT_S_MAX
            if sending and rate and (under_way < part.in_flight or part.gives_up):
                wait_s = min(wait_s, max(0.0, began_s + turns / rate - now_s))
            ended = self._exchange(wait_s, result)
            under_way -= ended
            moved_s = now_s if ended or not under_way else moved_s
            if now_s - moved_s > _STALL_S_MAX:
                raise TimeoutError(f"{under_way} requests without an answer")
        result.elapsed_s = time.perf_counter() - began_s
        result.cpu_s = time.process_time() - cpu_began_s
        return result

    def _send_one(self, due_s: float) -> None:
        line = self._lines[self._turn % len(self._lines)]
        number = line.client.request(self._turn % self._requests)
        line.due_s[number] = due_s
        self._turn += 1
        line.send()

    def _exchange(self, wait_s: float, result: Result) -> int:
        """Wait for sockets, read and write, and return how many requests have ended."""
        writing = [line for line in self._lines if line.unsent or line.client.outgoing]
        readable, writable, _ = select.select(self._lines, writing, [], wait_s)
        count = 0
        for line in readable:
            ended = line.receive()
            now_s = time.perf_counter()
            for number, acknowledged in ended:
                due_s = line.due_s.pop(number)
                if acknowledged:
                    result.latencies_s.append(now_s - due_s)
                result.acknowledged += acknowledged
                result.refused += not acknowledged
            count += len(ended)
            line.send()
        for line in writable:
            line.send()
        return count

    def close(self) -> None:
        """Close all connections."""
        for line in self._lines:
            line.socket.close()


def main() -> None:
    plan = Plan(**json.loads(sys.stdin.readline()))
    workload = Workload(
        Signal(plan.signal),
        plan.items,
        plan.points,
        steady=plan.steady,
        distinct=plan.distinct,
        delta=plan.delta,
    )
    generator = Generator(plan, workload.requests())
    print(json.dumps({}), flush=True)
    for number, line in enumerate(sys.stdin):
        if not number:
            generator.connect()
        result = generator.run(Part(**json.loads(line)))
        print(json.dumps(result.finish()), flush=True)
    generator.close()


if __name__ == "__main__":
    main()
