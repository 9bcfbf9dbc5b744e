"""Peers that open their window by too little, or not at all, while answers wait."""

from __future__ import annotations

from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.frames import window_update_frame
from tests.core.transport.http2.test_grpc import Server

HALF_S = limits.STALL_TIMEOUT_S / 2


def _waiting(window: int, answers: list[int]) -> Server:
    """A server some of whose answers wait for a client with a small window."""
    server = Server()
    server.feed(frames.settings_frame({frames.INITIAL_WINDOW_SIZE: window}))
    server.feed(window_update_frame(0, 1 << 30))
    for size in answers:
        server.grpc.succeed(server.started(server.caller.call(b"x")), bytes(size))
    server.take()
    return server


def test_a_byte_now_and_then_is_not_reading() -> None:
    server = _waiting(1, [100, 100])
    for _ in range(10):
        server.advance(HALF_S / 10)
        server.feed(window_update_frame(1, 1))
    assert not server.is_over()
    for _ in range(12):
        server.advance(HALF_S / 10)
        server.feed(window_update_frame(3, 1))
    assert server.is_over()


def test_one_stream_of_many_is_not_reading() -> None:
    """Each answer is read at last, and another call comes in its place."""
    server = _waiting(1, [3] * 20)
    for turn in range(20):
        server.feed(window_update_frame(1 + 2 * turn, 100))
        server.grpc.succeed(server.started(server.caller.call(b"x")), b"abc")
        server.advance(limits.STALL_TIMEOUT_S / 10)
        if server.is_over():
            break
    assert server.is_over()


def test_who_reads_what_waited_may_let_others_wait() -> None:
    server = _waiting(0, [100])
    for turn in range(10):
        server.grpc.succeed(server.started(server.caller.call(b"x")), bytes(100))
        server.advance(HALF_S)
        server.feed(window_update_frame(1 + 2 * turn, 1_000))
        assert not server.is_over()
    server.advance(HALF_S)
    server.advance(limits.STALL_TIMEOUT_S + 1)
    assert server.is_over()


def test_a_large_answer_may_take_long_while_it_moves() -> None:
    server = _waiting(0, [1 << 20])
    for _ in range(1 + (1 << 20) // limits.STALL_BYTES):
        server.feed(window_update_frame(1, limits.STALL_BYTES))
        server.advance(limits.STALL_TIMEOUT_S - 1)
        assert not server.is_over()
    assert {} == server.grpc.connection.streams
    server.advance(10 * limits.STALL_TIMEOUT_S)
    assert not server.is_over()
