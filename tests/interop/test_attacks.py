"""Attacks on a running collector: each costs its connection, and none of them its memory.

The same frames as in `tests/core/transport/http2/test_attacks.py`, through a socket; and what many
connections can do together, which no limit of one of them prevents.
"""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc
import pytest

from mlsysops_pipeline import Signal
from mlsysops_pipeline.transport.http2 import frames
from mlsysops_pipeline.transport.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS
from tests.core.transport.http2.test_attacks import ATTACKS, streams_above_the_limit
from tests.core.transport.http2.wire import GREETING, frame
from tests.interop.conftest import Collector, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Sockets = Callable[[], socket.socket]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="resident memory is read from /proc"
)

CONFIG: Final = """
receivers:
  otlp: {protocols: {grpc: {endpoint: "127.0.0.1:$GRPC$"}}}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 256}
exporters:
  nop: {}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], processors: [memory_limiter], exporters: [nop]}
"""
GROWTH_MIB_MAX: Final = 48
_WRITTEN_MAX: Final = 64 << 20
_PIECES: Final = 20
_PATH: Final = Signal.TRACES.method.encode()


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Collector]:
    """A collector that must be as good as before when the test is over."""
    program = Collector(tmp_path, CONFIG)
    with running(program, program.grpc_port):
        assert_serves(program)
        yield program
        assert_serves(program)
        assert 0 == program.stop(), program.text()
        assert "Traceback" not in program.text()


@pytest.fixture
def connect(victim: Collector) -> Iterator[Sockets]:
    """Opens connections, with the greeting, that are closed before the collector stops."""
    with ExitStack() as stack:

        def connect() -> socket.socket:
            made = socket.create_connection(("127.0.0.1", victim.grpc_port), timeout=10)
            made.sendall(GREETING)
            return stack.enter_context(made)

        yield connect


def assert_serves(program: Collector) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{program.grpc_port}") as channel:
        assert b"" == channel.unary_unary(Signal.TRACES.method)(b"", timeout=10)


def resident_mib(program: Collector) -> int:
    status = Path(f"/proc/{program.process.pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) >> 10


def is_closed(attacker: socket.socket) -> bool:
    """Whether the other side has said its last word; whatever it says is thrown away."""
    while select.select([attacker], [], [], 0)[0]:
        try:
            if not attacker.recv(1 << 16):
                return True
        except ConnectionError:
            return True
    return False


def test_each_attack_ends_its_connection(victim: Collector, connect: Sockets) -> None:
    before = resident_mib(victim)
    for attack in ATTACKS:
        if attack is streams_above_the_limit:  # of a service that is not there: all are answered
            continue
        attacker = connect()
        pieces, written = attack(), 0
        while not is_closed(attacker):
            assert written < _WRITTEN_MAX, f"{attack.__name__} went on for {written} bytes"
            data = b"".join(islice(pieces, _PIECES))
            written += len(data)
            try:
                attacker.sendall(data)
            except ConnectionError:
                break
    assert resident_mib(victim) - before < GROWTH_MIB_MAX


def head(stream: int, *, ended: bool = False, extra: bytes = b"") -> bytes:
    """A good request, with nothing compressed."""
    block = b"\x83\x86\x04%c%b\x0f\x10\x10application/grpc" % (len(_PATH), _PATH) + extra
    return frame(HEADERS, END_HEADERS | (END_STREAM if ended else 0), stream, block)


def large_heads() -> Iterator[bytes]:
    """7 MB of metadata for messages that never come."""
    for number in range(500):
        value = b"%06d" % number + b"v" * 13_994
        yield head(2 * number + 1, extra=b"\x00\x01x\x7f\xb1\x6c" + value)


def thousands_of_calls() -> Iterator[bytes]:
    for number in range(1_000):
        value = b"%06d" % number + b"v" * 994
        yield head(2 * number + 1, extra=b"\x00\x01x\x7f\xe9\x06" + value)


def answers_that_nobody_takes() -> Iterator[bytes]:
    yield frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 0})
    for number in range(1_000):
        yield head(2 * number + 1) + frame(DATA, END_STREAM, 2 * number + 1, bytes(5))


def nothing() -> Iterator[bytes]:
    yield b""


@pytest.mark.parametrize(
    ("attack", "connections"),
    [(large_heads, 12), (thousands_of_calls, 60), (answers_that_nobody_takes, 60), (nothing, 500)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_many_connections_together(
    attack: Callable[[], Iterator[bytes]], connections: int, victim: Collector, connect: Sockets
) -> None:
    before = resident_mib(victim)
    attackers = [connect() for _ in range(connections)]
    data = b"".join(attack())
    for attacker in attackers:
        attacker.sendall(data)
    for attacker in attackers:  # each has been read: what it is told comes behind all it sent
        attacker.sendall(frames.ping_frame(b"all read"))
        until_pong(attacker)
    assert_serves(victim)
    assert resident_mib(victim) - before < GROWTH_MIB_MAX


def until_pong(attacker: socket.socket) -> None:
    got = b""
    while b"all read" not in got:
        piece = attacker.recv(1 << 16)
        if not piece:
            return
        got = got[-8:] + piece
