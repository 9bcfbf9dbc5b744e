"""What good peers do in the middle of calls, and what bad servers do to a client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.errors import Code
from mlsysops_pipeline.memory import MemoryAccount
from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.calls import Action, Service, UnaryMethod
from mlsysops_pipeline.transport.http2.client import (
    ANSWER_BYTES_MAX,
    ClientCall,
    ClientConnection,
    ClientTimes,
)
from mlsysops_pipeline.transport.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    ErrorCode,
    settings_frame,
    window_update_frame,
)
from mlsysops_pipeline.transport.http2.grpc import GrpcConnection
from mlsysops_pipeline.transport.http2.heads import request_fields
from mlsysops_pipeline.transport.http2.status import GrpcStatus
from tests.core.transport.http2.wire import GREETING, PATH, Caller, frame, message, read_frames

if TYPE_CHECKING:
    from mlsysops_pipeline.transport.http2.answers import Outcome
    from mlsysops_pipeline.transport.http2.calls import Call


async def _unused(_request: object) -> bytes:
    raise AssertionError("nothing runs here")


class Server:
    """Our server with a client by hand; calls are answered when they are complete."""

    def __init__(self, answer: bytes = b"answer") -> None:
        service = Service(
            {PATH: UnaryMethod(_unused)},
            MemoryAccount(),
            lambda error: GrpcStatus(Code.INTERNAL, str(error)),
        )
        self.grpc = GrpcConnection(service, 0.0)
        self.caller = Caller()
        self.answer = answer
        self.calls: list[Call] = []
        self.feed(GREETING)

    def feed(self, data: bytes) -> bytes:
        """What it writes because of ``data``."""
        for action, call in self.grpc.receive(data, 0.0):
            assert Action.START is action
            self.calls.append(call)
            self.grpc.succeed(call, self.answer)
        sent = b"".join(self.grpc.connection.take())
        assert not self.grpc.connection.is_ended, self.grpc.end_message
        return sent

    def status(self, sent: bytes, stream: int = 1) -> str:
        return self.caller.answers(sent)[stream]["grpc-status"]


def test_a_head_with_padding_priority_and_continuation() -> None:
    server = Server()
    block = server.caller.head()[9:]
    begin = bytes([9]) + b"\x80\x00\x00\x03\xff" + block[:7] + bytes(9)
    server.feed(frame(HEADERS, PADDED | frames.HAS_PRIORITY, 1, begin))
    server.feed(frame(CONTINUATION, 0, 1, block[7:9]) + frame(CONTINUATION, 0, 1, b""))
    server.feed(frame(CONTINUATION, END_HEADERS, 1, block[9:]))
    server.feed(frame(frames.PRIORITY, 0, 1, b"\x00\x00\x00\x07\x10"))
    assert "0" == server.status(server.feed(frame(DATA, END_STREAM, 1, message(b"x"))))


def test_settings_may_come_at_any_time() -> None:
    """In front of, between and behind the frames of a message; each is acknowledged."""
    server = Server(answer=bytes(40_000))
    every = {
        frames.HEADER_TABLE_SIZE: 0,
        frames.ENABLE_PUSH: 0,
        frames.MAX_CONCURRENT_STREAMS: 1,
        frames.INITIAL_WINDOW_SIZE: 50_000,
        frames.MAX_FRAME_SIZE: 30_000,
        frames.MAX_HEADER_LIST_SIZE: 1_000,
        0x77: 1,
    }
    sent = server.feed(settings_frame(every) + server.caller.head())
    wire = message(bytes(20_000))
    for start in range(0, len(wire), 5_000):
        sent += server.feed(frame(DATA, 0, 1, wire[start : start + 5_000]))
        sent += server.feed(settings_frame({frames.INITIAL_WINDOW_SIZE: 45_000 + start}))
    assert 6 == sent.count(frames.SETTINGS_ACK)
    sent = server.feed(frame(DATA, END_STREAM, 1))
    sizes = [len(each.payload) for each in read_frames(sent) if each.kind == DATA]
    assert [30_000, 10_005] == sizes  # of the size that it said it takes
    assert "0" == server.status(sent)
    server.feed(window_update_frame(0, 1 << 20))
    # The header table is still empty, as it was told; then it may grow again.
    assert "0" == server.status(server.feed(server.caller.call(b"x")), 3)
    server.feed(settings_frame({frames.HEADER_TABLE_SIZE: 4_096}))
    assert 0x77 not in server.grpc.connection.peer_settings
    for stream in (5, 7):
        sent = server.feed(server.caller.call(b"x"))
        assert "0" == server.status(sent, stream)


def test_a_message_in_frames_of_a_byte() -> None:
    server = Server()
    data = server.caller.head()
    wire = message(b"0123456789" * 10)
    data += b"".join(frame(DATA, 0, 1, wire[at : at + 1]) for at in range(len(wire) - 1))
    assert "0" == server.status(server.feed(data + frame(DATA, END_STREAM, 1, wire[-1:])))
    assert b"0123456789" * 10 == server.calls[0].message


def test_calls_that_are_interleaved() -> None:
    server = Server()
    wires = {stream: message(bytes([stream]) * 3_000) for stream in (1, 3, 5)}
    server.feed(b"".join(server.caller.head() for _ in wires))
    for start in range(0, 3_005, 601):
        for stream, wire in wires.items():
            flags = END_STREAM if start + 601 >= len(wire) else 0
            server.feed(frame(DATA, flags, stream, wire[start : start + 601]))
            server.feed(frames.ping_frame(bytes(8)) if start == 601 and stream == 1 else b"")
    assert [bytes([stream]) * 3_000 for stream in wires] == [call.message for call in server.calls]


def test_clients_learn_what_they_may_compress_with() -> None:
    server = Server()
    said = server.caller.answers(server.feed(server.caller.call(b"x")))[1]
    assert "identity,gzip,deflate,zstd,snappy" == said["grpc-accept-encoding"]
    said = server.caller.answers(
        server.feed(server.caller.call(b"x", extra=[("grpc-encoding", "br")]))
    )[3]
    assert str(int(Code.UNIMPLEMENTED)) == said["grpc-status"]
    assert "identity,gzip,deflate,zstd,snappy" == said["grpc-accept-encoding"]


def test_a_goaway_of_the_client_lets_its_calls_finish() -> None:
    server = Server()
    server.feed(server.caller.head() + frames.goaway_frame(0, 0, b"bye"))
    assert "0" == server.status(server.feed(frame(DATA, END_STREAM, 1, message(b"x"))))


class Client:
    """Our client with one call under way, and a server by hand."""

    def __init__(self) -> None:
        self.grpc = ClientConnection(ClientTimes(), 0.0)
        self.caller = Caller()
        self.grpc.receive(settings_frame({}), 0.0)
        self.call = ClientCall(request_fields(PATH, "x", "y", 5.0), b"question", 5.0)
        assert self.grpc.begin(self.call, 0.0)

    def head(self, *fields: tuple[str, str], ended: bool = False) -> bytes:
        block = self.caller.encoder.encode(fields)
        return frame(HEADERS, END_HEADERS | (END_STREAM if ended else 0), 1, block)

    def answer(self) -> bytes:
        return self.head((":status", "200"), ("content-type", "application/grpc"))

    def trailers(self, status: int = 0) -> bytes:
        return self.head(("grpc-status", str(status)), ended=True)

    def outcome(self, *data: bytes) -> Outcome:
        for piece in data:
            self.grpc.receive(piece, 0.0)
        assert self.call.outcome is not None
        return self.call.outcome


@pytest.mark.parametrize("step", [1, 11, 100_000])
def test_an_answer_in_pieces_between_other_frames(step: int) -> None:
    client = Client()
    body = message(b"0123456789" * 5)
    padded = bytes([4]) + body[20:] + bytes(4)
    data = b"".join(
        [
            client.head((":status", "103"), ("link", "x")),
            frames.ping_frame(b"12345678"),
            client.answer(),
            frame(DATA, 0, 1, body[:3]),
            settings_frame({frames.INITIAL_WINDOW_SIZE: 7, frames.MAX_CONCURRENT_STREAMS: 3}),
            frame(DATA, 0, 1, body[3:20]),
            window_update_frame(1, 10),
            frame(0x55, 0, 1, b"unknown"),
            frame(DATA, PADDED, 1, padded),
            client.trailers(),
        ]
    )
    outcome = client.outcome(*(data[at : at + step] for at in range(0, len(data), step)))
    assert (Code.OK, b"0123456789" * 5) == (outcome.code, outcome.body)
    sent = b"".join(client.grpc.connection.take())
    assert frames.ping_frame(b"12345678", ack=True) in sent
    assert 3 == client.grpc.streams_max
    assert client.grpc.is_ready


@pytest.mark.parametrize(
    ("code", "data"),
    [
        (Code.RESOURCE_EXHAUSTED, frame(DATA, 0, 1, message(bytes(ANSWER_BYTES_MAX + 1))[:500])),
        (Code.INTERNAL, frame(DATA, 0, 1, message(b"abc", flag=2))),
        (Code.INTERNAL, frame(DATA, 0, 1, message(b"abc", flag=1))),
        (Code.INTERNAL, frame(DATA, 0, 1, message(b"abc") * 2)),
        (Code.INTERNAL, frame(DATA, END_STREAM, 1, message(b"abc")[:-1])),
        (Code.INTERNAL, window_update_frame(1, 0)),
        (Code.UNAVAILABLE, frames.reset_frame(1, ErrorCode.REFUSED_STREAM)),
        (Code.UNAVAILABLE, frame(frames.PUSH_PROMISE, END_HEADERS, 1, bytes(4))),
        (Code.UNAVAILABLE, frames.ping_frame(bytes(8)) * 200),
        (Code.UNAVAILABLE, settings_frame({}) * 100),
        (Code.UNAVAILABLE, frame(DATA, 0, 1) * 200),
        (Code.UNAVAILABLE, frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * 20),
    ],
)
def test_a_server_that_is_broken_or_hostile(code: Code, data: bytes) -> None:
    client = Client()
    assert code == client.outcome(client.answer(), data).code
    assert {} == client.grpc.calls


def test_informational_answers_without_end() -> None:
    client = Client()
    for _ in range(2 * int(limits.IDLE_FRAMES.burst)):
        client.grpc.receive(client.head((":status", "100")), 0.0)
    assert client.grpc.is_over
    assert client.call.outcome is not None
    assert Code.UNAVAILABLE == client.call.outcome.code
