"""Attacks: each costs the attacker its connection, and not the server its memory."""

from __future__ import annotations

import tracemalloc
from itertools import count, islice
from typing import TYPE_CHECKING, Final

import pytest

from mlsysops_pipeline.errors import Code
from mlsysops_pipeline.memory import MemoryAccount
from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.calls import Action, Service, UnaryMethod
from mlsysops_pipeline.transport.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    ErrorCode,
    window_update_frame,
)
from mlsysops_pipeline.transport.http2.grpc import GrpcConnection
from mlsysops_pipeline.transport.http2.status import GrpcStatus
from tests.core.transport.http2.wire import GREETING, PATH, Caller, frame, goaway, message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEMORY_BYTES_MAX: Final = 1 << 20
"""Of one attacker, with what makes its frames."""

_TOGETHER: Final = 5
_WRITTEN_MAX: Final = 8 << 20


async def _unused(_request: object) -> bytes:
    raise AssertionError("nothing runs here")


def _connection(memory: MemoryAccount | None = None) -> GrpcConnection:
    connection = GrpcConnection(
        Service(
            {PATH: UnaryMethod(_unused)},
            memory or MemoryAccount(),
            lambda error: GrpcStatus(Code.INTERNAL, str(error)),
        ),
        0.0,
    )
    connection.receive(GREETING, 0.0)
    connection.connection.take()
    return connection


def large_header_lists() -> Iterator[bytes]:
    """Above what we announce, and nothing in them repeats."""
    begin = b"\x83\x86\x04\x02/a\x01\x01x"  # a good request
    for stream in count(1, 2):
        fields = [b"\x40\x03x%02d\x7f\xbd\x04" % n + b"%07d" % stream * 100 for n in range(40)]
        yield frame(HEADERS, END_HEADERS, stream, begin + b"".join(fields))


def a_header_list_that_unpacks_to_far_more() -> Iterator[bytes]:
    """The "HPACK bomb": one byte for four thousand."""
    begin = frame(HEADERS, END_HEADERS, 1, b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4_000)
    yield begin + frame(HEADERS, END_HEADERS, 3, b"\xbe" * 16_000)


def continuation_frames_without_end() -> Iterator[bytes]:
    """CVE-2024-27316 and its siblings."""
    yield frame(HEADERS, 0, 1, b"\x00\x01a\x01b")
    while True:
        yield frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 1_000)


def empty_continuation_frames() -> Iterator[bytes]:
    yield frame(HEADERS, 0, 1)
    while True:
        yield frame(CONTINUATION, 0, 1)


def rapid_reset() -> Iterator[bytes]:
    """CVE-2023-44487: of calls that run already."""
    caller = Caller()
    while True:
        call = caller.call(b"x")
        yield call + frames.reset_frame(caller.next_stream - 2, ErrorCode.CANCEL)


def resets_provoked_from_us() -> Iterator[bytes]:
    """CVE-2025-8671: of calls that run already."""
    caller = Caller()
    while True:
        yield caller.call(b"x") + window_update_frame(caller.next_stream - 2, 0)


def malformed_requests() -> Iterator[bytes]:
    caller = Caller()
    while True:
        yield caller.head(extra=[("connection", "close")])


def settings_frames() -> Iterator[bytes]:
    while True:
        yield frames.settings_frame(dict.fromkeys(range(20, 60), 7))


def settings_acknowledgements() -> Iterator[bytes]:
    while True:
        yield frames.SETTINGS_ACK


def header_tables_of_ever_another_size() -> Iterator[bytes]:
    while True:
        yield frames.settings_frame({frames.HEADER_TABLE_SIZE: 0})
        yield frames.settings_frame({frames.HEADER_TABLE_SIZE: 4_096})


def pings() -> Iterator[bytes]:
    while True:
        yield frames.ping_frame(b"12345678")


def empty_data_frames() -> Iterator[bytes]:
    yield Caller().head()
    while True:
        yield frame(DATA, 0, 1)


def data_frames_of_padding() -> Iterator[bytes]:
    yield Caller().head()
    while True:
        yield frame(DATA, frames.PADDED, 1, b"\xff" + bytes(255))


def window_updates() -> Iterator[bytes]:
    while True:
        yield window_update_frame(0, 1)


def priority_frames() -> Iterator[bytes]:
    while True:
        yield frame(frames.PRIORITY, 0, 1, bytes([0, 0, 0, 3, 0]))


def unknown_frames() -> Iterator[bytes]:
    while True:
        yield frame(0x99, 0, 0, bytes(1_000))


def streams_above_the_limit() -> Iterator[bytes]:
    caller = Caller()
    while True:
        yield caller.head()


def frames_of_streams_that_are_over() -> Iterator[bytes]:
    caller = Caller()
    yield caller.call(b"", path="/no.Such/Method")
    while True:
        yield frame(DATA, 0, 1, bytes(100))


ATTACKS: Final = [
    large_header_lists,
    a_header_list_that_unpacks_to_far_more,
    continuation_frames_without_end,
    empty_continuation_frames,
    rapid_reset,
    resets_provoked_from_us,
    malformed_requests,
    settings_frames,
    settings_acknowledgements,
    header_tables_of_ever_another_size,
    pings,
    empty_data_frames,
    data_frames_of_padding,
    window_updates,
    priority_frames,
    unknown_frames,
    streams_above_the_limit,
    frames_of_streams_that_are_over,
]


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_costs_its_connection(attack: Callable[[], Iterator[bytes]]) -> None:
    memory = MemoryAccount()
    server = _connection(memory)
    sent, written = b"", 0
    pieces = attack()
    tracemalloc.start()
    try:
        while not server.is_over and written < _WRITTEN_MAX:
            data = b"".join(islice(pieces, _TOGETHER))
            for action, call in server.receive(data, 0.0):
                if action is Action.STOP:
                    server.stopped(call)
            sent = b"".join(server.connection.take())
            written += len(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert server.connection.is_ended, f"{written} bytes did no harm"
    assert goaway(sent) is not None
    assert peak < MEMORY_BYTES_MAX
    assert 0 == memory.in_flight
    assert {} == server.calls


SLOW: Final = {
    "the preface": (b"PRI * ", limits.HANDSHAKE_TIMEOUT_S),
    "SETTINGS": (frames.PREFACE, limits.HANDSHAKE_TIMEOUT_S),
    "the rest of a frame": (GREETING + b"\x00\x00\x08\x06", limits.FRAME_TIMEOUT_S),
    "CONTINUATION": (GREETING + frame(HEADERS, 0, 1, b"\x82"), limits.FRAME_TIMEOUT_S),
    "a message": (GREETING + Caller().head(), limits.BODY_TIMEOUT_S),
    "the rest of a message": (
        GREETING + Caller().head() + frame(DATA, 0, 1, message(bytes(1 << 20))[:100]),
        limits.BODY_TIMEOUT_S,
    ),
}


@pytest.mark.parametrize("awaited", SLOW)
def test_who_is_too_slow_loses_the_connection(awaited: str) -> None:
    data, after_s = SLOW[awaited]
    memory = MemoryAccount()
    server = GrpcConnection(
        Service({PATH: UnaryMethod(_unused)}, memory, lambda _: GrpcStatus(Code.INTERNAL)), 0.0
    )
    server.receive(data, 0.0)
    assert server.due_s() <= after_s
    server.on_time(after_s - 0.1)
    assert not server.connection.is_ended
    server.on_time(after_s + 0.1)
    assert server.is_over
    assert 0 == memory.in_flight


def test_many_connections_that_do_nothing_cost_little() -> None:
    """What a connection holds before it has sent anything worth keeping."""
    tracemalloc.start()
    try:
        held = [_connection() for _ in range(100)]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / len(held) < 16 << 10
