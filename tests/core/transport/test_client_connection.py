"""The client side of a gRPC connection, byte by byte: no socket, no clock."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.errors import Code
from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.client import (
    ANSWER_BYTES_MAX,
    ClientCall,
    ClientConnection,
    ClientTimes,
)
from mlsysops_pipeline.transport.http2.connection import Connection
from mlsysops_pipeline.transport.http2.events import DataReceived, RequestReceived, StreamReset
from mlsysops_pipeline.transport.http2.frames import ErrorCode
from mlsysops_pipeline.transport.http2.headers import HeaderEncoder
from mlsysops_pipeline.transport.http2.heads import request_fields
from mlsysops_pipeline.transport.http2.status import RESPONSE_HEAD, RESPONSE_TRAILERS, GrpcStatus

if TYPE_CHECKING:
    from mlsysops_pipeline.transport.http2.streams import Stream

FIELDS = request_fields("/a.B/C", "host:4317", "agent", 5.0)
HTTP_TEXT = ((b":status", b"503"), (b"content-type", b"text/html"))


class Peer:
    """A server that a test plays: it reads what the client sent and answers what it is told."""

    def __init__(self, client: ClientConnection, settings: dict[int, int] | None = None) -> None:
        self.client = client
        self.server = Connection()
        self.requests: dict[int, bytearray] = {}
        self.heads: dict[int, tuple[tuple[bytes, bytes], ...]] = {}
        self.ended: list[int] = []
        self.resets: dict[int, int] = {}
        self.read()
        hello = b"".join(self.server.take())
        if settings is not None:
            hello = frames.settings_frame(settings)
        client.receive(hello, 0.0)
        self.read()

    def read(self) -> None:
        data = b"".join(self.client.connection.take())
        for event in self.server.receive(data, 0.0):
            if isinstance(event, RequestReceived):
                self.requests[event.stream.id] = bytearray()
                self.heads[event.stream.id] = event.block.fields
            elif isinstance(event, DataReceived):
                self.requests[event.stream.id] += event.data
                if event.ended:
                    self.ended.append(event.stream.id)
            elif isinstance(event, StreamReset):
                self.resets[event.stream.id] = event.code

    def stream(self, number: int = 1) -> Stream:
        return self.server.streams[number]

    def said(self) -> bytes:
        return b"".join(self.server.take())

    def tell(self, data: bytes | None = None, now_s: float = 0.0) -> list[ClientCall]:
        over = self.client.receive(self.said() if data is None else data, now_s)
        self.read()
        return over


def connected(
    settings: dict[int, int] | None = None, times: ClientTimes | None = None
) -> tuple[ClientConnection, Peer]:
    client = ClientConnection(times or ClientTimes(), 0.0)
    return client, Peer(client, settings)


def started(
    client: ClientConnection, message: bytes = b"request", deadline_s: float = 5.0
) -> ClientCall:
    call = ClientCall(FIELDS, message, deadline_s)
    assert client.begin(call, 0.0)
    return call


def raw_answer(message: bytes, *, flag: int = 0) -> bytes:
    return bytes((flag,)) + len(message).to_bytes(4, "big") + message


def test_a_call_begins_with_the_preface_and_waits_for_the_servers_settings() -> None:
    client = ClientConnection(ClientTimes(), 0.0)

    begin = b"".join(client.connection.take())

    assert begin.startswith(frames.PREFACE + b"\x00\x00")
    assert frames.SETTINGS == begin[len(frames.PREFACE) + 3]
    assert not client.is_ready
    assert not client.begin(ClientCall(FIELDS, b"", 5.0), 0.0)


def test_a_call_is_answered() -> None:
    client, peer = connected()
    call = started(client)
    peer.read()

    assert raw_answer(b"request") == peer.requests[1]
    assert [1] == peer.ended
    assert FIELDS == peer.heads[1]
    peer.server.answer(peer.stream(), RESPONSE_HEAD, raw_answer(b"answer"), RESPONSE_TRAILERS)

    assert [call] == peer.tell()
    assert call.outcome is not None
    assert Code.OK == call.outcome.code
    assert b"answer" == call.outcome.body
    assert {} == client.calls


@given(st.binary(max_size=2_000), st.integers(1, 40))
def test_pieces_of_any_size_mean_the_same(message: bytes, step: int) -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    peer.server.answer(peer.stream(), RESPONSE_HEAD, raw_answer(message), RESPONSE_TRAILERS)
    said = peer.said()

    over = []
    for start in range(0, len(said), step):
        over += client.receive(said[start : start + step], 0.0)

    assert [call] == over
    assert call.outcome is not None
    assert (Code.OK, message) == (call.outcome.code, call.outcome.body)


def test_a_large_answer_gets_the_window_it_needs_and_comes_whole() -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    body = raw_answer(bytes(range(256)) * 12_000)
    peer.server.send(peer.stream(), RESPONSE_HEAD)
    peer.server.send(peer.stream(), None, body)
    peer.server.send(peer.stream(), RESPONSE_TRAILERS, ended=True)
    for _ in range(10):
        peer.tell()

    assert call.outcome is not None
    assert Code.OK == call.outcome.code
    assert body[5:] == call.outcome.body


def test_an_answer_above_4_mib_is_final_and_is_not_read() -> None:
    """OC-11."""
    client, peer = connected()
    call = started(client)
    peer.read()
    peer.server.send(peer.stream(), RESPONSE_HEAD)
    peer.server.send(peer.stream(), None, b"\0" + (ANSWER_BYTES_MAX + 1).to_bytes(4, "big"))

    assert [call] == peer.tell()
    assert call.outcome is not None
    assert Code.RESOURCE_EXHAUSTED == call.outcome.code
    assert b"" == call.outcome.details
    assert {1: ErrorCode.CANCEL} == peer.resets


def test_an_error_without_anything_else_says_why() -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    status = GrpcStatus(Code.UNAVAILABLE, "später, 100 %", b"\x08\x0e")
    peer.server.send(peer.stream(), status.trailers_only(), ended=True)
    peer.tell()

    assert call.outcome is not None
    assert Code.UNAVAILABLE == call.outcome.code
    assert "später, 100 %" == call.outcome.message
    assert b"\x08\x0e" == call.outcome.details
    assert not call.outcome.is_unprocessed


def test_an_error_after_a_message_is_an_error() -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    trailers = tuple(GrpcStatus(Code.DATA_LOSS, "lost").fields())
    peer.server.answer(peer.stream(), RESPONSE_HEAD, raw_answer(b"x"), trailers)
    peer.tell()

    assert call.outcome is not None
    assert (Code.DATA_LOSS, "lost") == (call.outcome.code, call.outcome.message)


def test_success_without_a_message_is_success() -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    peer.server.send(peer.stream(), (*RESPONSE_HEAD, (b"grpc-status", b"0")), ended=True)
    peer.tell()

    assert call.outcome is not None
    assert (Code.OK, b"") == (call.outcome.code, call.outcome.body)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Code.INTERNAL),
        (401, Code.UNAUTHENTICATED),
        (403, Code.PERMISSION_DENIED),
        (404, Code.UNIMPLEMENTED),
        (429, Code.UNAVAILABLE),
        (502, Code.UNAVAILABLE),
        (503, Code.UNAVAILABLE),
        (504, Code.UNAVAILABLE),
        (500, Code.UNKNOWN),
        (200, Code.UNKNOWN),
    ],
)
def test_what_is_not_grpc_is_translated_and_quoted(status: int, code: Code) -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    head = ((b":status", b"%d" % status), (b"content-type", b"text/html"))
    peer.server.send(peer.stream(), head)
    peer.server.send(peer.stream(), None, b"<h1>Bad\n gateway</h1>", ended=True)
    peer.tell()

    assert call.outcome is not None
    assert code == call.outcome.code
    assert f"HTTP status {status}" in call.outcome.message
    assert "text/html: <h1>Bad gateway</h1>" in call.outcome.message


def test_a_long_page_is_not_read_to_its_end() -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    peer.server.send(peer.stream(), HTTP_TEXT)
    peer.server.send(peer.stream(), None, b"x" * 3_000)

    assert [call] == peer.tell()
    assert call.outcome is not None
    assert len(call.outcome.message) < 1_200
    assert {1: ErrorCode.CANCEL} == peer.resets


def test_a_page_without_text_is_translated_too() -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    peer.server.send(peer.stream(), HTTP_TEXT, ended=True)
    peer.tell()

    assert call.outcome is not None
    assert Code.UNAVAILABLE == call.outcome.code


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (raw_answer(b"a") + raw_answer(b"b"), "more than one message"),
        (raw_answer(b"abc")[:-1], "ends within its message"),
        (b"\0\0", "ends within its message"),
        (raw_answer(b"a", flag=1), "without grpc-encoding"),
        (raw_answer(b"a", flag=2), "flag 2 is unknown"),
    ],
)
def test_odd_messages_are_internal_errors(body: bytes, problem: str) -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    peer.server.answer(peer.stream(), RESPONSE_HEAD, body, RESPONSE_TRAILERS)
    peer.tell()

    assert call.outcome is not None
    assert Code.INTERNAL == call.outcome.code
    assert problem in call.outcome.message


def test_a_second_message_in_a_frame_of_its_own_is_an_internal_error() -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    peer.server.send(peer.stream(), RESPONSE_HEAD)
    peer.server.send(peer.stream(), None, raw_answer(b"a"))
    peer.server.send(peer.stream(), None, raw_answer(b"b"))
    peer.tell()

    assert call.outcome is not None
    assert "more than one message" in call.outcome.message


@pytest.mark.parametrize("has_trailers", [True, False])
def test_an_answer_without_a_status_is_an_internal_error(has_trailers: bool) -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    peer.server.send(peer.stream(), RESPONSE_HEAD)
    peer.server.send(peer.stream(), None, raw_answer(b"x"), ended=not has_trailers)
    if has_trailers:
        peer.server.send(peer.stream(), ((b"x-other", b"1"),), ended=True)
    peer.tell()

    assert call.outcome is not None
    assert Code.INTERNAL == call.outcome.code
    assert "without a grpc-status" in call.outcome.message


@pytest.mark.parametrize(
    ("value", "code"),
    [(b"14", Code.UNAVAILABLE), (b"99", Code.UNKNOWN), (b"x", Code.UNKNOWN), (b"", Code.UNKNOWN)],
)
def test_a_status_that_is_no_code_is_unknown(value: bytes, code: Code) -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    peer.server.send(peer.stream(), (*RESPONSE_HEAD, (b"grpc-status", value)), ended=True)
    peer.tell()

    assert call.outcome is not None
    assert code == call.outcome.code


def test_details_that_are_no_base64_are_left_out() -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    status = ((b"grpc-status", b"8"), (b"grpc-status-details-bin", b"%%%"))
    peer.server.send(peer.stream(), (*RESPONSE_HEAD, *status), ended=True)
    peer.tell()

    assert call.outcome is not None
    assert (Code.RESOURCE_EXHAUSTED, b"") == (call.outcome.code, call.outcome.details)


@pytest.mark.parametrize(
    ("reset", "code", "is_unprocessed"),
    [
        (ErrorCode.NO_ERROR, Code.INTERNAL, False),
        (ErrorCode.PROTOCOL_ERROR, Code.INTERNAL, False),
        (ErrorCode.INTERNAL_ERROR, Code.INTERNAL, False),
        (ErrorCode.REFUSED_STREAM, Code.UNAVAILABLE, True),
        (ErrorCode.CANCEL, Code.CANCELLED, False),
        (ErrorCode.ENHANCE_YOUR_CALM, Code.UNAVAILABLE, False),
        (ErrorCode.INADEQUATE_SECURITY, Code.PERMISSION_DENIED, False),
        (77, Code.UNKNOWN, False),
    ],
)
def test_resets_are_translated(reset: int, code: Code, is_unprocessed: bool) -> None:
    client, peer = connected()
    call = started(client)
    peer.read()

    assert [call] == peer.tell(frames.reset_frame(1, reset))
    assert call.outcome is not None
    assert (code, is_unprocessed) == (call.outcome.code, call.outcome.is_unprocessed)
    assert client.is_ready


def test_an_answer_that_breaks_http2_ends_its_call_only() -> None:
    client, peer = connected()
    calls = started(client), started(client)
    peer.read()
    encoder = HeaderEncoder()
    block = encoder.encode(((b":status", b"200"), (b"connection", b"close")))

    assert [calls[0]] == peer.tell(frames.header_frames(1, block, 0, 16_384))
    assert calls[0].outcome is not None
    assert Code.INTERNAL == calls[0].outcome.code
    assert "not allowed in HTTP/2" in calls[0].outcome.message
    assert calls[1].outcome is None


def test_an_interim_answer_is_passed_over() -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    peer.server.send(peer.stream(), ((b":status", b"103"),))
    peer.server.answer(peer.stream(), RESPONSE_HEAD, raw_answer(b""), RESPONSE_TRAILERS)
    peer.tell()

    assert call.outcome is not None
    assert Code.OK == call.outcome.code


# The peer's limits.


def test_no_more_calls_begin_than_the_peer_takes() -> None:
    client, peer = connected({frames.MAX_CONCURRENT_STREAMS: 2})
    first, _ = started(client), started(client)

    assert not client.begin(ClientCall(FIELDS, b"", 5.0), 0.0)
    assert not client.is_draining
    client.cancel(first, 0.0)
    assert client.begin(ClientCall(FIELDS, b"", 5.0), 0.0)
    peer.read()
    assert {1: ErrorCode.CANCEL} == peer.resets


@pytest.mark.parametrize("window", [0, 1, 5, 6, 100, 65_535])
@pytest.mark.parametrize("size", [0, 1, 95, 96, 70_000])
def test_a_request_waits_for_the_peers_window(window: int, size: int) -> None:
    client, peer = connected({frames.INITIAL_WINDOW_SIZE: window})
    message = b"m" * size
    started(client, message)
    peer.read()
    got = len(peer.requests[1])

    assert min(window, 65_535, size + 5) >= got
    for _ in range(3):
        peer.tell(frames.window_update_frame(0, 40_000) + frames.window_update_frame(1, 40_000))
    assert raw_answer(message) == peer.requests[1]
    assert [1] == peer.ended


def test_a_request_is_cut_into_frames_of_the_size_that_the_peer_takes() -> None:
    client, peer = connected({frames.MAX_FRAME_SIZE: 20_000, frames.INITIAL_WINDOW_SIZE: 1_000_000})
    peer.tell(frames.window_update_frame(0, 1_000_000))
    message = bytes(range(256)) * 400
    started(client, message)
    pieces = client.connection.take()

    assert 20_000 + 9 >= max(map(len, pieces))
    for event in peer.server.receive(b"".join(pieces), 0.0):
        if isinstance(event, DataReceived):
            peer.requests.setdefault(1, bytearray()).extend(event.data)
    assert raw_answer(message) == peer.requests[1]


def test_a_large_message_is_not_copied() -> None:
    client, peer = connected({frames.INITIAL_WINDOW_SIZE: 1_000_000})
    peer.tell(frames.window_update_frame(0, 1_000_000))
    message = b"m" * 100_000
    started(client, message)

    views = [piece for piece in client.connection.take() if isinstance(piece, memoryview)]

    assert 100_000 == sum(map(len, views))
    assert all(view.obj is message for view in views)


def test_a_connection_whose_stream_numbers_are_used_up_is_left() -> None:
    client, _ = connected()
    client.connection._table.next_own = frames.STREAM_ID_MAX + 2

    assert not client.begin(ClientCall(FIELDS, b"", 5.0), 0.0)
    assert client.is_draining
    assert client.is_over


def test_requests_do_not_pile_up_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUESTS_UNSENT_BYTES_MAX", 8_000)
    client, _ = connected({frames.INITIAL_WINDOW_SIZE: 0})
    started(client, b"m" * 5_000)

    assert not client.begin(ClientCall(FIELDS, b"m" * 5_000, 5.0), 0.0)
    assert not client.is_draining


def test_a_cancelled_call_stops_waiting_for_the_window() -> None:
    client, peer = connected({frames.INITIAL_WINDOW_SIZE: 10})
    call = started(client, b"m" * 1_000)
    client.cancel(call, 0.0)
    peer.read()

    assert {1: ErrorCode.CANCEL} == peer.resets
    assert 0 == client.connection.outbound.unsent_bytes
    assert call.outcome is not None
    assert Code.CANCELLED == call.outcome.code


def test_an_answer_before_the_end_of_the_request_ends_the_call() -> None:
    client, peer = connected({frames.INITIAL_WINDOW_SIZE: 10})
    call = started(client, b"m" * 1_000)
    peer.read()
    status = GrpcStatus(Code.RESOURCE_EXHAUSTED, "too large").trailers_only()
    encoder = HeaderEncoder()

    over = peer.tell(frames.header_frames(1, encoder.encode(status), frames.END_STREAM, 16_384))

    assert [call] == over
    assert call.outcome is not None
    assert Code.RESOURCE_EXHAUSTED == call.outcome.code
    assert {1: ErrorCode.CANCEL} == peer.resets
    assert {} == client.connection.streams


# The connection ends.


def test_goaway_gives_back_what_was_not_looked_at() -> None:
    client, peer = connected()
    calls = started(client), started(client), started(client)
    peer.read()

    over = peer.tell(frames.goaway_frame(3, ErrorCode.NO_ERROR))

    assert [calls[2]] == over
    assert calls[2].outcome is not None
    assert calls[2].outcome.is_unprocessed
    assert Code.UNAVAILABLE == calls[2].outcome.code
    assert client.is_draining
    assert not client.is_over
    assert {} == peer.resets
    assert not client.begin(ClientCall(FIELDS, b"", 5.0), 0.0)
    for number in (1, 3):
        peer.server.answer(peer.stream(number), RESPONSE_HEAD, raw_answer(b""), RESPONSE_TRAILERS)
    peer.tell()
    assert all(call.outcome is not None and call.outcome.code == 0 for call in calls[:2])
    assert client.is_over


def test_a_peer_that_was_silent_until_the_caller_gave_up_is_asked_whether_it_is_there() -> None:
    client, peer = connected()
    call, other = started(client), started(client, deadline_s=20.0)
    client.cancel(call, 5.0)

    assert frames.ping_frame(b"areyouup") in client.connection.take()
    assert [] == client.on_time(6.9)
    assert [other] == client.on_time(7.1)
    assert "PING" in client.end_message
    assert peer is not None


def test_a_peer_that_was_not_silent_is_not_asked() -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    client.receive(frames.ping_frame(b"12345678"), 3.0)
    client.connection.take()
    client.cancel(call, 5.0)

    assert frames.ping_frame(b"areyouup") not in client.connection.take()


def test_goaway_for_pinging_is_noticed() -> None:
    client, peer = connected()
    peer.tell(frames.goaway_frame(0, ErrorCode.ENHANCE_YOUR_CALM, b"too_many_pings"))

    assert client.was_called_calm
    assert client.is_over
    assert "GOAWAY 11 too_many_pings" in client.end_message


def test_calls_of_a_lost_connection_can_be_tried_again() -> None:
    client, peer = connected()
    call = started(client)
    peer.read()

    assert [call] == client.lose()
    assert call.outcome is not None
    assert Code.UNAVAILABLE == call.outcome.code
    assert [] == client.lose()


def test_closing_says_goodbye_and_takes_no_more_calls() -> None:
    client, _ = connected()
    started(client)
    client.close()

    assert client.is_draining
    assert not client.is_over
    assert frames.goaway_frame(0, 0) in client.connection.take()


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0" * 100,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16\x00\x00",  # a TLS alert
        frames.ping_frame(b"12345678"),
    ],
)
def test_a_peer_of_another_protocol_is_told_apart(garbage: bytes) -> None:
    client = ClientConnection(ClientTimes(), 0.0)
    client.receive(garbage, 0.0)

    assert client.is_over
    assert not client.is_ready
    assert ("HTTP/1" in client.end_message) is garbage.startswith(b"HTTP")
    assert client.end_message


@given(st.binary(max_size=300))
def test_garbage_after_the_settings_never_raises_and_settles_every_call(garbage: bytes) -> None:
    client, peer = connected()
    call = started(client)
    peer.read()

    over = client.receive(garbage, 0.0)
    over += client.lose()

    assert [call] == over
    assert call.outcome is not None


@pytest.mark.slow
@given(st.data())
def test_a_broken_answer_never_raises_and_settles_every_call(data: st.DataObject) -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    peer.server.answer(peer.stream(), RESPONSE_HEAD, raw_answer(b"abc"), RESPONSE_TRAILERS)
    said = bytearray(peer.said())
    for _ in range(data.draw(st.integers(1, 3))):
        said[data.draw(st.integers(0, len(said) - 1))] = data.draw(st.integers(0, 255))

    over = client.receive(bytes(said), 0.0)
    over += client.lose()

    assert [call] == over


def test_a_peer_that_pushes_is_disconnected() -> None:
    client, peer = connected()
    call = started(client)
    peer.read()
    push = frames.frame_header(4, frames.PUSH_PROMISE, frames.END_HEADERS, 1) + b"\0\0\0\2"

    assert [call] == client.receive(push, 0.0)
    assert client.is_over


# Time.


def test_a_call_ends_at_its_deadline() -> None:
    client, peer = connected()
    call = started(client, deadline_s=5.0)
    peer.read()

    assert 5.0 == client.wake_s
    assert [] == client.on_time(4.9)
    assert [call] == client.on_time(5.0)
    assert call.outcome is not None
    assert Code.DEADLINE_EXCEEDED == call.outcome.code
    peer.read()
    assert {1: ErrorCode.CANCEL} == peer.resets


def test_a_peer_that_never_says_hello_is_given_up() -> None:
    client = ClientConnection(ClientTimes(), 100.0)

    assert 100.0 + limits.HANDSHAKE_TIMEOUT_S == client.wake_s
    client.on_time(100.0 + limits.HANDSHAKE_TIMEOUT_S)
    assert client.is_over
    assert "does not answer with HTTP/2" in client.end_message


def test_a_silent_peer_is_pinged_and_then_given_up() -> None:
    client, peer = connected(times=ClientTimes(ping_after_s=10.0, ping_timeout_s=3.0))
    call = started(client, deadline_s=math.inf)
    peer.read()
    client.connection.take()

    assert 10.0 == client.wake_s
    client.on_time(10.0)
    assert frames.ping_frame(b"areyouup") in client.connection.take()
    assert 13.0 == client.wake_s
    assert [call] == client.on_time(13.0)
    assert call.outcome is not None
    assert Code.UNAVAILABLE == call.outcome.code
    assert "keepalive" in call.outcome.message
    assert client.is_over


def test_a_peer_that_answers_pings_is_kept() -> None:
    client, peer = connected(times=ClientTimes(ping_after_s=10.0, ping_timeout_s=3.0))
    started(client, deadline_s=math.inf)
    peer.read()
    client.on_time(10.0)
    peer.read()
    peer.tell(now_s=10.5)

    assert 20.5 == client.due_s()
    client.on_time(13.0)
    assert not client.is_over
    assert 20.5 == client.wake_s


def test_an_idle_connection_is_pinged_only_if_that_is_wanted() -> None:
    idle, _ = connected(times=ClientTimes(ping_after_s=10.0))
    watched, _ = connected(times=ClientTimes(ping_after_s=10.0, pings_idle=True))
    idle.connection.take()
    watched.connection.take()

    idle.on_time(11.0)
    watched.on_time(11.0)

    assert [] == idle.connection.take()
    assert [frames.ping_frame(b"areyouup")] == watched.connection.take()
    assert math.inf == idle.wake_s


def test_silence_before_a_call_does_not_count() -> None:
    client, _ = connected(times=ClientTimes(ping_after_s=10.0))
    call = ClientCall(FIELDS, b"", math.inf)
    client.begin(call, 100.0)

    assert 110.0 == client.due_s()


def test_a_peer_that_let_a_call_expire_without_a_word_is_asked_whether_it_is_there() -> None:
    client, peer = connected(times=ClientTimes(ping_timeout_s=3.0))
    started(client, deadline_s=5.0)
    peer.read()
    client.on_time(5.0)

    assert frames.ping_frame(b"areyouup") in client.connection.take()
    later = started(client, deadline_s=20.0)
    assert [later] == client.on_time(8.0)
    assert client.is_over


def test_a_peer_that_is_merely_slow_is_asked_once_in_five_minutes() -> None:
    client, _ = connected(times=ClientTimes(ping_timeout_s=3.0))
    pings = 0
    for now_s in range(0, 100, 5):
        client.begin(ClientCall(FIELDS, b"", now_s + 5.0), float(now_s))
        client.on_time(now_s + 5.0)
        said = b"".join(client.connection.take())
        if frames.ping_frame(b"areyouup") in said:
            pings += 1
            client.receive(frames.ping_frame(b"areyouup", ack=True), now_s + 5.0)

    assert 1 == pings
    assert not client.is_over
