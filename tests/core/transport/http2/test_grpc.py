"""Unary calls on a connection, without sockets: admission, limits, deadlines, endings."""

from __future__ import annotations

from typing import Any

import pytest

from mlsysops_pipeline.errors import Code, RetryableError
from mlsysops_pipeline.memory import MemoryAccount
from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.calls import Action, Service, UnaryMethod
from mlsysops_pipeline.transport.http2.frames import DATA, END_HEADERS, END_STREAM, ErrorCode
from mlsysops_pipeline.transport.http2.grpc import GrpcConnection
from mlsysops_pipeline.transport.http2.lifetime import Times
from mlsysops_pipeline.transport.http2.requests import read_headers
from mlsysops_pipeline.transport.http2.routes import read_timeout
from mlsysops_pipeline.transport.http2.status import GrpcStatus
from mlsysops_pipeline.transport.refusals import refusal
from tests.core.transport.http2.wire import (
    GREETING,
    PATH,
    Caller,
    frame,
    goaway,
    message,
    read_frames,
)


def _status_of(error: Exception) -> GrpcStatus:
    told = refusal(error)
    return GrpcStatus(told.code, told.message)


async def _unused(_request: object) -> bytes:
    raise AssertionError("nothing runs here")


class Server:
    """A connection under test: `feed` it, look at ``work``, answer, look at `answers`."""

    def __init__(self, **service: Any) -> None:
        self.admitted: list[int] = []
        self.admit_error: Exception | None = None
        self.memory = MemoryAccount()
        self.now_s = 1_000.0
        method = UnaryMethod(_unused, self._admit)
        self.grpc = GrpcConnection(
            Service({PATH: method}, self.memory, _status_of, **service), self.now_s
        )
        self.caller = Caller()
        self._sent = b""
        self.feed(GREETING)
        self.take()

    def _admit(self, size: int) -> None:
        if self.admit_error is not None:
            raise self.admit_error
        self.admitted.append(size)

    def feed(self, data: bytes) -> list[tuple[Action, Any]]:
        return self.grpc.receive(data, self.now_s)

    def started(self, data: bytes) -> Any:
        """The one call that starts because of ``data``."""
        ((action, call),) = self.feed(data)
        assert Action.START == action
        return call

    def advance(self, seconds: float) -> list[tuple[Action, Any]]:
        self.now_s += seconds
        return self.grpc.on_time(self.now_s)

    def is_over(self) -> bool:
        return self.grpc.is_over

    def take(self) -> bytes:
        return b"".join(self.grpc.connection.take())

    def answers(self) -> dict[int, dict[str, str]]:
        return self.caller.answers(self.take())

    def status(self, data: bytes, stream: int = 1) -> Code:
        """The status with which a call is refused because of ``data``; it never starts."""
        work = self.feed(data)
        assert [] == [call for action, call in work if action is Action.START]
        assert {} == self.grpc.calls
        assert 0 == self.memory.in_flight
        return Code(int(self.answers()[stream]["grpc-status"]))


def test_a_call_from_end_to_end() -> None:
    # OG-1
    server = Server()
    call = server.started(server.caller.call(b"question", extra=[("x-tenant", "a")]))
    assert (PATH, b"question", False) == (call.path, call.message, call.is_compressed)
    assert "a" == read_headers(call.block)["x-tenant"][0]
    assert ([8], 8) == (server.admitted, server.memory.in_flight)
    server.grpc.succeed(call, b"answer")
    answer = server.answers()[1]
    assert ("200", "application/grpc", "0") == (
        answer[":status"],
        answer["content-type"],
        answer["grpc-status"],
    )
    assert message(b"answer").hex() == answer["body"]
    assert (0, {}) == (server.memory.in_flight, server.grpc.calls)
    server.grpc.succeed(call, b"again")
    assert b"" == server.take()


def test_a_message_in_pieces() -> None:
    server = Server()
    wire = message(b"x" * 3_000_000)
    server.feed(server.caller.head())
    for start in range(0, 12, 4):  # the prefix comes in pieces too
        assert [] == server.feed(frame(DATA, 0, 1, wire[start : start + 4]))
    # The rest of the window is given at once, as soon as the size is known.
    updates = [f for f in read_frames(server.take()) if f.kind == frames.WINDOW_UPDATE]
    assert [1] == [f.stream for f in updates]
    assert 3_000_000 == server.memory.in_flight
    for start in range(12, len(wire), 500_000):
        assert [] == server.feed(frame(DATA, 0, 1, wire[start : start + 500_000]))
    assert b"x" * 3_000_000 == server.started(frame(DATA, END_STREAM, 1)).message


def test_trailers_may_end_a_request() -> None:
    server = Server()
    server.feed(server.caller.head() + frame(DATA, 0, 1, message(b"x")))
    trailers = frame(
        frames.HEADERS, END_HEADERS | END_STREAM, 1, server.caller.encoder.encode([("a", "b")])
    )
    assert b"x" == server.started(trailers).message


@pytest.mark.parametrize(
    "content",
    [
        b"",  # no message at all
        b"\x00\x00\x00",
        message(b"abc")[:-1],
        message(b"abc") + b"x",
        message(b"abc") + message(b"def"),
        message(b"abc", flag=2),
        message(b"abc", flag=1),  # compressed without grpc-encoding
        message(b"x" * 2_000)[:-1],
    ],
)
def test_messages_that_are_not_one_message(content: bytes) -> None:
    for parts in ([content], [content[:3], content[3:]]):
        server = Server()
        data = server.caller.head()
        data += b"".join(frame(DATA, 0, 1, part) for part in parts[:-1])
        data += frame(DATA, END_STREAM, 1, parts[-1])
        assert Code.INTERNAL == server.status(data)


def test_a_request_without_any_message() -> None:
    server = Server()
    assert Code.INTERNAL == server.status(server.caller.head(ended=True))
    server = Server()
    server.feed(server.caller.head())
    trailers = frame(frames.HEADERS, END_HEADERS | END_STREAM, 1, b"")
    assert Code.INTERNAL == server.status(trailers)


def test_too_large_is_refused_at_the_prefix() -> None:
    # OG-2: RESOURCE_EXHAUSTED without RetryInfo; the message is never read.
    server = Server(message_bytes_max=1_000)
    server.feed(server.caller.head())
    assert Code.RESOURCE_EXHAUSTED == server.status(frame(DATA, 0, 1, message(bytes(1_001))[:5]))
    assert [] == server.feed(frame(DATA, 0, 1, bytes(500)))
    assert [] == server.admitted
    assert server.started(server.caller.call(bytes(1_000)))


def test_what_is_not_admitted_is_thrown_away() -> None:
    # OG-3, and the design's flow control.
    server = Server()
    server.admit_error = RetryableError("memory is short")
    server.feed(server.caller.head())
    assert Code.UNAVAILABLE == server.status(frame(DATA, 0, 1, message(bytes(2_000_000))[:1_000]))
    for _ in range(3):
        assert [] == server.feed(frame(DATA, 0, 1, bytes(300_000)))
    assert 0 == server.memory.peak
    server.admit_error = None
    assert server.started(server.caller.call(b"next"))


def test_compressed_messages_keep_their_encoding() -> None:
    server = Server()
    call = server.started(server.caller.call(b"zip", flag=1, extra=[("grpc-encoding", "gzip")]))
    assert (True, "gzip") == (call.is_compressed, call.encoding)
    call = server.started(server.caller.call(b"raw", flag=0, extra=[("grpc-encoding", "gzip")]))
    assert not call.is_compressed


@pytest.mark.parametrize(
    ("code", "head"),
    [
        (Code.UNIMPLEMENTED, {"path": "/other.Service/Method"}),
        (Code.UNIMPLEMENTED, {"path": "/test.Service/Other"}),
        (Code.UNIMPLEMENTED, {"content_type": "application/grpc+json"}),
        (Code.UNIMPLEMENTED, {"extra": [("grpc-encoding", "br")]}),
        (Code.INTERNAL, {"extra": [("grpc-timeout", "soon")]}),
        (Code.INTERNAL, {"extra": [("grpc-timeout", "123456789S")]}),
        (Code.RESOURCE_EXHAUSTED, {"extra": [(f"x-{n}", "y" * 900) for n in range(20)]}),
    ],
)
def test_calls_that_are_refused_by_their_head(code: Code, head: dict[str, Any]) -> None:
    server = Server()
    assert code == server.status(server.caller.call(b"x", **head))


def test_an_unknown_method_and_service_are_told_apart() -> None:
    server = Server()
    server.feed(server.caller.call(b"", path="/test.Service/Other"))
    assert "unknown method Other for service test.Service" == server.answers()[1]["grpc-message"]
    server.feed(server.caller.call(b"", path="/other.Service/Method"))
    assert "unknown service other.Service" == server.answers()[3]["grpc-message"]


@pytest.mark.parametrize(
    ("status", "head"),
    [
        ("415", {"content_type": "application/json"}),
        ("415", {"content_type": None}),
        ("405", {"method": "GET"}),
    ],
)
def test_http2_without_grpc_gets_an_http_answer(status: str, head: dict[str, Any]) -> None:
    server = Server()
    server.feed(server.caller.call(b"", **head))
    answer = server.answers()[1]
    assert status == answer[":status"]
    assert "grpc-status" not in answer
    assert bytes.fromhex(answer["body"])


@pytest.mark.parametrize("content_type", ["application/grpc+proto", "application/grpc;x=y"])
def test_content_types_of_grpc(content_type: str) -> None:
    server = Server()
    assert server.started(server.caller.call(b"x", content_type=content_type))


def test_a_deadline_stops_a_running_call() -> None:
    server = Server()
    call = server.started(server.caller.call(b"x", extra=[("grpc-timeout", "2S")]))
    assert server.grpc.due_s() <= server.now_s + 2
    assert [] == server.advance(1.9)
    assert [(Action.STOP, call)] == server.advance(0.2)
    assert Code.DEADLINE_EXCEEDED == int(server.answers()[1]["grpc-status"])
    # It occupies its place until it has really ended.
    assert 1 == server.grpc.connection.held_streams
    server.grpc.succeed(call, b"too late")
    server.grpc.stopped(call)
    assert 0 == server.grpc.connection.held_streams
    assert b"" == server.take()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1H", 3600.0), (b"2M", 120.0), (b"3S", 3.0), (b"4m", 0.004), (b"5u", 5e-6), (b"6n", 6e-9)],
)
def test_units_of_deadlines(value: bytes, seconds: float) -> None:
    assert seconds == pytest.approx(read_timeout(((b"grpc-timeout", value),)))
    assert read_timeout(()) is None


def test_a_reset_stops_a_running_call() -> None:
    server = Server()
    call = server.started(server.caller.call(b"x"))
    assert [(Action.STOP, call)] == server.feed(frames.reset_frame(1, ErrorCode.CANCEL))
    assert (0, 1) == (server.memory.in_flight, server.grpc.connection.held_streams)
    server.grpc.stopped(call)
    server.grpc.stopped(call)
    assert 0 == server.grpc.connection.held_streams


def test_calls_that_are_still_stopping_count_against_the_limit() -> None:
    server = Server(streams_max=1)
    call = server.started(server.caller.call(b"x"))
    server.feed(frames.reset_frame(1, ErrorCode.CANCEL))
    server.feed(server.caller.call(b"y"))
    assert str(int(ErrorCode.REFUSED_STREAM)) == server.answers()[3]["reset"]
    server.grpc.stopped(call)
    assert server.started(server.caller.call(b"z"))


def test_a_message_that_does_not_come_is_not_awaited() -> None:
    server = Server()
    server.feed(server.caller.head() + frame(DATA, 0, 1, message(bytes(1 << 20))[:100]))
    assert 1 << 20 == server.memory.in_flight
    server.take()
    ((action, _),) = server.advance(limits.BODY_TIMEOUT_S + 1)
    assert Action.STOP == action
    sent = server.take()
    assert Code.DEADLINE_EXCEEDED == int(server.caller.answers(sent)[1]["grpc-status"])
    assert goaway(sent) is not None  # the only call of this connection: it is of no use
    assert 0 == server.memory.in_flight


def test_a_message_may_take_longer_while_it_comes_no_slower_than_agreed() -> None:
    """What is announced and never sent would hold the memory that others are refused for."""
    server = Server()
    body = message(bytes(1 << 20))
    server.feed(server.caller.head() + frame(DATA, 0, 1, body[: 1 << 19]))  # 30 s + 32 s
    server.take()
    server.advance(limits.BODY_TIMEOUT_S + 1)
    server.advance(30.0)
    assert b"" == server.take()
    assert server.grpc.due_s() <= server.now_s + 1.1
    server.advance(2.0)
    assert Code.DEADLINE_EXCEEDED == int(server.answers()[1]["grpc-status"])


def test_a_head_alone_has_a_deadline_too() -> None:
    server = Server()
    server.feed(server.caller.head())
    assert server.grpc.due_s() <= server.now_s + limits.BODY_TIMEOUT_S
    server.advance(limits.BODY_TIMEOUT_S + 1)
    assert Code.DEADLINE_EXCEEDED == int(server.answers()[1]["grpc-status"])


def test_a_broken_connection_stops_everything() -> None:
    server = Server()
    first = server.started(server.caller.call(b"x"))
    server.feed(server.caller.head())
    work = server.feed(frame(DATA, 0, 0, b"x"))
    assert {Action.STOP} == {action for action, _ in work}
    assert first in [call for _, call in work]
    assert 0 == server.memory.in_flight
    assert server.is_over()
    assert "DATA on stream 0" == server.grpc.end_message
    assert [] == server.grpc.lose()


def test_a_lost_socket_stops_everything() -> None:
    server = Server()
    call = server.started(server.caller.call(b"x"))
    assert [(Action.STOP, call)] == server.grpc.lose()
    assert 0 == server.memory.in_flight


def test_a_client_of_http1_is_told_in_its_own_words() -> None:
    grpc = GrpcConnection(Service({}, MemoryAccount(), _status_of), 0.0)
    grpc.receive(b"POST /v1/traces HTTP/1.1\r\n", 0.0)
    assert b"".join(grpc.connection.take()).startswith(b"HTTP/1.1 505 ")
    grpc = GrpcConnection(Service({}, MemoryAccount(), _status_of), 0.0)
    grpc.receive(b"\x16\x03\x01", 0.0)
    assert goaway(b"".join(grpc.connection.take())) is not None


def test_heads_are_announced_where_somebody_wants_to_know() -> None:
    server = Server(wants_heads=True)
    ((action, call),) = server.feed(server.caller.head())
    assert Action.OPEN == action
    server.grpc.fail(call, GrpcStatus(Code.UNAUTHENTICATED, "who are you?"))
    assert Code.UNAUTHENTICATED == int(server.answers()[1]["grpc-status"])
    assert [] == server.feed(frame(DATA, END_STREAM, 1, message(b"x")))
    actions = [action for action, _ in server.feed(server.caller.call(b"x"))]
    assert [Action.OPEN, Action.START] == actions


def test_headers_as_authenticators_and_metadata_see_them() -> None:
    server = Server()
    extra = [("a", "1"), ("a", "2"), ("key-bin", "AQI"), ("bad-bin", "!")]
    call = server.started(server.caller.call(b"", extra=extra))
    headers = read_headers(call.block)
    assert ("1", "2") == headers["a"]
    assert ("collector:4317",) == headers["host"]
    assert ("\x01\x02",) == headers["key-bin"]
    assert ("!",) == headers["bad-bin"]
    assert not [name for name in headers if name.startswith(":")]


def test_connections_that_are_idle_or_old_end_gracefully() -> None:
    server = Server(times=Times(idle_max_s=10.0))
    server.advance(9.9)
    assert b"" == server.take()
    server.advance(0.2)
    sent = server.take()
    assert goaway(sent) is not None
    ping = next(f for f in read_frames(sent) if f.kind == frames.PING)
    server.feed(frames.ping_frame(ping.payload, ack=True))
    assert server.is_over()

    server = Server(times=Times(age_max_s=10.0, age_grace_s=5.0))
    call = server.started(server.caller.call(b"x"))
    server.advance(10.1)
    assert not server.is_over()
    assert [(Action.STOP, call)] == server.advance(5.1)
    assert server.is_over()


def test_a_drained_connection_finishes_its_calls_first() -> None:
    server = Server()
    call = server.started(server.caller.call(b"x"))
    server.grpc.drain(30.0, server.now_s)
    assert server.started(server.caller.call(b"sent before it knew"))
    server.advance(limits.DRAIN_PING_TIMEOUT_S + 0.1)  # its PING was never answered
    assert goaway(server.take()) == (3, 0, "")
    assert [] == server.feed(server.caller.call(b"too late"))
    server.grpc.succeed(call, b"")
    assert not server.is_over()
    server.grpc.succeed(next(iter(server.grpc.calls.values())), b"")
    assert server.is_over()
    assert {1, 3} == set(server.answers())


def test_a_drained_connection_is_cut_when_time_is_up() -> None:
    server = Server()
    call = server.started(server.caller.call(b"x"))
    server.grpc.drain(30.0, server.now_s)
    assert [(Action.STOP, call)] == server.advance(30.1)
    assert server.is_over()


def test_silent_peers_are_asked_for_a_sign_of_life() -> None:
    server = Server(times=Times(ping_after_s=60.0, ping_timeout_s=20.0))
    server.advance(60.0)
    (ping,) = read_frames(server.take())
    assert frames.PING == ping.kind
    server.feed(frames.ping_frame(ping.payload, ack=True))
    server.advance(59.9)
    assert b"" == server.take()
    server.advance(0.2)
    assert server.take()
    server.advance(20.1)
    assert server.is_over()
    assert goaway(server.take()) == (0, 0, "no answer to a keepalive PING")


def test_too_many_pings() -> None:
    server = Server(times=Times(ping_interval_min_s=60.0, permits_idle_pings=True))
    for _ in range(10):
        server.feed(frames.ping_frame(bytes(8)))
        server.now_s += 60.0
    assert not server.is_over()
    for _ in range(4):
        server.feed(frames.ping_frame(bytes(8)))
    assert goaway(server.take()) == (0, ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")


def test_pings_without_calls_need_permission() -> None:
    server = Server(times=Times(ping_interval_min_s=60.0))
    for _ in range(5):
        server.feed(frames.ping_frame(bytes(8)))
        server.now_s += 61.0
    assert server.is_over()


def test_pings_that_measure_bandwidth_are_no_offence() -> None:
    # gRPC clients ping when they receive something.
    server = Server()
    for _ in range(50):
        call = server.started(server.caller.call(b"x"))
        server.grpc.succeed(call, b"")
        server.feed(frames.ping_frame(bytes(8)))
    assert not server.is_over()


def test_a_handshake_and_a_frame_have_deadlines() -> None:
    grpc = GrpcConnection(Service({}, MemoryAccount(), _status_of), 0.0)
    assert limits.HANDSHAKE_TIMEOUT_S == grpc.due_s()
    grpc.on_time(limits.HANDSHAKE_TIMEOUT_S)
    assert grpc.is_over
    server = Server()
    server.feed(server.caller.head()[:12])
    server.now_s += 5.0
    server.feed(b"\x00")  # a byte more buys no time
    assert [] == server.advance(limits.FRAME_TIMEOUT_S - 5.1)
    assert not server.is_over()
    server.advance(0.2)
    assert server.is_over()


def test_a_peer_that_leaves_its_window_shut_is_disconnected() -> None:
    server = Server()
    server.feed(frames.settings_frame({frames.INITIAL_WINDOW_SIZE: 0}))
    call = server.started(server.caller.call(b"x"))
    server.grpc.succeed(call, b"answer")
    server.advance(0.0)
    server.advance(limits.STALL_TIMEOUT_S - 1)
    assert not server.is_over()
    server.advance(2.0)
    assert server.is_over()
