"""What all connections of one server hold together, and what a connection holds when it is idle."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Final

import pytest

from mlsysops_pipeline.errors import Code
from mlsysops_pipeline.memory import MemoryAccount
from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.calls import Action, Service, UnaryMethod
from mlsysops_pipeline.transport.http2.frames import END_HEADERS, END_STREAM, HEADERS, ErrorCode
from mlsysops_pipeline.transport.http2.grpc import GrpcConnection
from mlsysops_pipeline.transport.http2.status import GrpcStatus
from tests.core.transport.http2.wire import GREETING, PATH, Caller, frame, read_frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.transport.http2.calls import Call

FEW: Final = limits.CROWD_STREAMS_EACH
_HEAD: Final = (
    b"\x83\x86"  # POST, http
    + b"\x04%c%b" % (len(PATH), PATH.encode())
    + b"\x0f\x10\x10application/grpc"
)
"""A good request, to which fields can be added."""

REFUSED: Final = str(int(ErrorCode.REFUSED_STREAM))


async def _unused(_request: object) -> bytes:
    raise AssertionError("nothing runs here")


def _service() -> Service:
    return Service(
        {PATH: UnaryMethod(_unused)}, MemoryAccount(), lambda error: GrpcStatus(Code.UNAVAILABLE)
    )


class Client:
    """A connection to a server that shares a service with others."""

    def __init__(self, service: Service) -> None:
        self.grpc = GrpcConnection(service, 0.0)
        self.caller = Caller()
        self.grpc.receive(GREETING, 0.0)
        self.grpc.connection.take()

    def begin(self, count: int) -> None:
        """Begin calls whose messages are still to come."""
        self.grpc.receive(b"".join(self.caller.head() for _ in range(count)), 0.0)

    def call(self, count: int) -> list[Call]:
        """Make whole calls; those that are to be run."""
        data = b"".join(self.caller.call(b"x") for _ in range(count))
        return [call for action, call in self.grpc.receive(data, 0.0) if action is Action.START]

    def refused(self) -> int:
        """How many streams were refused since the last time."""
        answers = self.caller.answers(b"".join(self.grpc.connection.take()))
        return [answer.get("reset") for answer in answers.values()].count(REFUSED)


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit that a test can reach."""
    monkeypatch.setattr(limits, "CROWD_STREAMS", 60)
    return 60


def test_in_a_crowd_each_connection_has_a_few_calls(crowd: int) -> None:
    service = _service()
    greedy = [Client(service) for _ in range(3)]
    modest = Client(service)
    for client in greedy:
        client.begin(crowd // 2)
    assert [0, 0, crowd // 2 - FEW] == [client.refused() for client in greedy]
    for client in greedy[:2]:
        client.begin(1)
    assert [1, 1] == [client.refused() for client in greedy[:2]]
    modest.begin(FEW)
    assert 0 == modest.refused()
    modest.begin(1)
    assert 1 == modest.refused()
    greedy[0].grpc.lose()
    modest.begin(FEW)
    assert 0 == modest.refused()


def test_calls_that_wait_for_a_window_belong_to_the_crowd(crowd: int) -> None:
    service = _service()
    client, other = Client(service), Client(service)
    client.grpc.receive(frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 0}), 0.0)
    for call in client.call(crowd):
        client.grpc.succeed(call, b"answer")
    assert {} == client.grpc.calls
    assert crowd == service.streams
    other.begin(FEW + 1)
    assert 1 == other.refused()
    client.grpc.receive(frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 100}), 0.0)
    assert 0 == service.streams
    other.begin(FEW + 1)
    assert 0 == other.refused()


def test_nobody_is_counted_who_has_gone(crowd: int) -> None:
    service = _service()

    def answer(client: Client, calls: list[Call]) -> None:
        for call in calls:
            client.grpc.succeed(call, b"")

    ends: dict[str, Callable[[Client, list[Call]], object]] = {
        "answers": answer,
        "a lost socket": lambda client, _: client.grpc.lose(),
        "a broken rule": lambda client, _: client.grpc.receive(frame(frames.DATA, 0, 0), 0.0),
        "time": lambda client, _: client.grpc.on_time(limits.BODY_TIMEOUT_S + 1),
    }
    for name, end in ends.items():
        client = Client(service)
        calls = client.call(20)
        client.begin(20)
        assert 40 == service.streams
        end(client, calls)
        client.grpc.on_time(limits.BODY_TIMEOUT_S + 1)
        for call in calls:
            client.grpc.stopped(call)
        client.grpc.lose()
        assert (0, 0) == (service.streams, service.memory.in_flight), name


def test_large_heads_have_a_limit_for_all_connections_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "HEADS_BYTES_MAX", 100_000)
    service = _service()
    clients = [GrpcConnection(service, 0.0) for _ in range(4)]
    for client in clients:
        client.receive(GREETING, 0.0)
        for number in range(5):
            value = b"%06d" % number + b"v" * 7_994
            block = _HEAD + b"\x00\x01x" + b"\x7f\xc1\x3d" + value
            client.receive(frame(HEADERS, END_HEADERS, 2 * number + 1, block), 0.0)
    held = [len(client.calls) for client in clients]
    assert [5, 5, 2, 0] == held
    assert service.memory.in_flight == service.head_bytes <= 100_000
    refused = b"".join(clients[3].connection.take())
    assert 5 == sum(
        each.kind == HEADERS and each.flags & END_STREAM for each in read_frames(refused)
    )
    for client in clients:
        client.lose()
    assert 0 == service.memory.in_flight == service.head_bytes


@pytest.mark.slow
def test_an_idle_connection_keeps_little_of_what_it_was_sent() -> None:
    """Strings and blocks that never come again, and answers that were never given before."""
    service = _service()
    connections = []
    tracemalloc.start()
    try:
        for client in range(3):
            connection = GrpcConnection(service, 0.0)
            connection.receive(GREETING, 0.0)
            for number in range(100):
                # Huffman codes of five bits: eight characters that differ, and 1,600 times "0".
                digits = int(f"{100 * client + number:o}", 32).to_bytes(5)
                block = _HEAD + b"\x00\x01x" + b"\xff\xee\x06" + digits + bytes(1_000)
                kind = END_HEADERS | END_STREAM
                connection.receive(frame(HEADERS, kind, 2 * number + 1, block), 0.0)
                connection.connection.take()
            assert not connection.is_over
            connections.append(connection)
        service.heads._heads.clear()  # those are for all connections, and bounded themselves
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / len(connections) < 64 << 10
