"""The server side of a connection, byte by byte: frames, windows, limits (RFC 9113)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.connection import Connection
from mlsysops_pipeline.transport.http2.events import (
    ConnectionEnded,
    DataReceived,
    GoAwayReceived,
    PingAcknowledged,
    RequestReceived,
    StreamReset,
    TrailersReceived,
)
from mlsysops_pipeline.transport.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    PADDED,
    ErrorCode,
    settings_frame,
    window_update_frame,
)
from tests.core.transport.http2.wire import GREETING, Caller, frame, goaway, read_frames

if TYPE_CHECKING:
    from mlsysops_pipeline.transport.http2.events import Event

HEADERS = frames.HEADERS
CONTINUATION = frames.CONTINUATION


class Server:
    """A connection that has been greeted, its client, and what happened."""

    def __init__(self, **kwargs: int) -> None:
        self.connection = Connection(**kwargs)  # type: ignore[arg-type]
        self.caller = Caller()
        self.sent = b""
        self.feed(GREETING)

    def feed(self, data: bytes, now_s: float = 0.0) -> list[Event]:
        events = self.connection.receive(data, now_s)
        self.sent = b"".join(self.connection.take())
        return events

    def end_of(self, data: bytes, now_s: float = 0.0) -> ErrorCode:
        """The code with which the connection ends because of ``data``."""
        events = self.feed(data, now_s)
        assert isinstance(events[-1], ConnectionEnded)
        told = goaway(self.sent)
        assert told is not None
        assert events[-1].code == told[1]
        assert self.connection.is_ended
        assert {} == self.connection.streams
        assert [] == self.connection.receive(b"anything", now_s)
        return events[-1].code

    def reset_of(self, data: bytes) -> ErrorCode:
        """The code with which one stream ends because of ``data``; the connection goes on."""
        self.feed(data)
        codes = [f.payload for f in read_frames(self.sent) if f.kind == frames.RST_STREAM]
        assert 1 == len(codes)
        assert not self.connection.is_ended
        return ErrorCode(int.from_bytes(codes[0]))


def _shown(events: list[Event]) -> list[tuple[str, int, object]]:
    """Events as plain values; neighbouring pieces of DATA are joined."""
    shown: list[tuple[str, int, object]] = []
    for event in events:
        if isinstance(event, DataReceived):
            last = shown[-1] if shown else ("", 0, b"")
            if last[0] == "data" and last[1] == event.stream.id:
                shown[-1] = ("data", last[1], last[2] + bytes(event.data))  # type: ignore[operator]
            else:
                shown.append(("data", event.stream.id, bytes(event.data)))
            if event.ended:
                shown.append(("end", event.stream.id, None))
        elif isinstance(event, RequestReceived):
            shown.append(("request", event.stream.id, (event.head.path, event.ended)))
        elif isinstance(event, TrailersReceived):
            shown.append(("trailers", event.stream.id, event.block.fields))
        else:
            shown.append((type(event).__name__, 0, None))
    return shown


def _conversation(caller: Caller) -> bytes:
    """Most kinds of frames that a good client sends."""
    padded = bytes([7]) + b"padded content" + bytes(7)
    priority = b"\x00\x00\x00\x00\x10"
    begin = b"".join(
        [
            settings_frame({frames.INITIAL_WINDOW_SIZE: 100_000, 0x99: 5}),
            frames.SETTINGS_ACK,
            caller.head(stream=1),
            frame(DATA, 0, 1, b"first "),
            frame(DATA, PADDED, 1, padded),
            frame(0x77, 0, 0, b"unknown frame"),
            frame(frames.PRIORITY, 0, 3, priority),
            frame(DATA, END_STREAM, 1),
            caller.head(stream=3, ended=True),
            frames.ping_frame(b"12345678"),
            window_update_frame(0, 1_000),
            caller.head(stream=5),
            window_update_frame(5, 1_000),
            frame(DATA, 0, 5, b"x" * 3_000),
            frame(HEADERS, END_HEADERS | END_STREAM, 5, caller.encoder.encode([("a", "b")])),
            caller.head(stream=7),
            frame(DATA, END_STREAM | PADDED, 7, bytes([3]) + bytes(3)),
        ]
    )
    block = caller.head(stream=9)[9:]  # encoded last, as it is sent
    return b"".join(
        [
            begin,
            frame(HEADERS, 0, 9, block[:5]),
            frame(CONTINUATION, 0, 9, block[5:6]),
            frame(CONTINUATION, END_HEADERS, 9, block[6:]),
            frames.goaway_frame(0, 0, b"bye"),
        ]
    )


@given(cuts=st.lists(st.integers(1, 4_000), max_size=30))
@settings(max_examples=60, deadline=None)
def test_pieces_do_not_matter(cuts: list[int]) -> None:
    data = GREETING + _conversation(Caller())
    whole = Connection()
    expected = _shown(whole.receive(data, 0.0))
    pieces = Connection()
    events: list[Event] = []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        events += pieces.receive(data[start:stop], 0.0)
    assert expected == _shown(events)
    assert b"".join(whole.take()) == b"".join(pieces.take())
    assert "ConnectionEnded" not in {name for name, _, _ in expected}


def test_a_byte_at_a_time() -> None:
    data = GREETING + _conversation(Caller())
    whole, single = Connection(), Connection()
    expected = _shown(whole.receive(data, 0.0))
    events: list[Event] = []
    for index in range(len(data)):
        events += single.receive(data[index : index + 1], 0.0)
    assert expected == _shown(events)


@given(st.binary(max_size=300), st.integers(1, 40))
def test_random_bytes_never_raise(data: bytes, step: int) -> None:
    for begin in (b"", GREETING, GREETING + Caller().head()):
        connection = Connection()
        connection.receive(begin, 0.0)
        for start in range(0, len(data), step):
            connection.receive(data[start : start + step], 0.0)


@given(
    kind=st.integers(0, 10),
    flags=st.integers(0, 255),
    stream=st.integers(0, 5),
    payload=st.binary(max_size=40),
)
def test_random_frames_never_raise(kind: int, flags: int, stream: int, payload: bytes) -> None:
    server = Server()
    server.feed(server.caller.head())
    server.feed(frame(kind, flags, stream, payload))
    server.feed(server.caller.head(stream=7))


def test_the_greeting() -> None:
    server = Server()
    kinds = [f.kind for f in read_frames(server.sent)]
    assert [frames.SETTINGS, frames.WINDOW_UPDATE, frames.SETTINGS] == kinds
    assert server.connection.is_established


def test_what_is_not_http2_is_noticed_at_once() -> None:
    connection = Connection()
    connection.receive(b"PRI * HTTP/2.0\r\n", 0.0)
    events = connection.receive(b"Host", 0.0)
    assert isinstance(events[0], ConnectionEnded)
    assert not connection.is_greeted


@pytest.mark.parametrize(
    ("code", "data"),
    [
        (ErrorCode.PROTOCOL_ERROR, frame(DATA, 0, 0, b"x")),
        (ErrorCode.PROTOCOL_ERROR, frame(DATA, 0, 5, b"x")),
        (ErrorCode.PROTOCOL_ERROR, frame(DATA, PADDED, 1, bytes([9]) + b"x")),
        (ErrorCode.FRAME_SIZE_ERROR, frame(DATA, PADDED, 1)),
        (ErrorCode.PROTOCOL_ERROR, frame(HEADERS, END_HEADERS, 0)),
        (ErrorCode.FRAME_SIZE_ERROR, frame(HEADERS, END_HEADERS | PADDED, 3)),
        (ErrorCode.FRAME_SIZE_ERROR, frame(HEADERS, END_HEADERS | frames.HAS_PRIORITY, 3, b"abc")),
        (ErrorCode.PROTOCOL_ERROR, frame(HEADERS, END_HEADERS | PADDED, 3, bytes([9]) + b"x")),
        (ErrorCode.COMPRESSION_ERROR, frame(HEADERS, END_HEADERS, 3, b"\x80")),
        (ErrorCode.PROTOCOL_ERROR, frame(CONTINUATION, END_HEADERS, 1)),
        (ErrorCode.PROTOCOL_ERROR, frame(HEADERS, 0, 3) + frame(DATA, 0, 1, b"x")),
        (ErrorCode.PROTOCOL_ERROR, frame(HEADERS, 0, 3) + frame(CONTINUATION, 0, 5)),
        (ErrorCode.FRAME_SIZE_ERROR, frame(frames.RST_STREAM, 0, 1, b"abc")),
        (ErrorCode.PROTOCOL_ERROR, frame(frames.RST_STREAM, 0, 0, b"abcd")),
        (ErrorCode.PROTOCOL_ERROR, frame(frames.RST_STREAM, 0, 3, b"abcd")),
        (ErrorCode.FRAME_SIZE_ERROR, frame(frames.SETTINGS, 0, 0, b"abc")),
        (ErrorCode.PROTOCOL_ERROR, frame(frames.SETTINGS, 0, 1)),
        (ErrorCode.FRAME_SIZE_ERROR, frame(frames.SETTINGS, frames.ACK, 0, b"abcdef")),
        (ErrorCode.PROTOCOL_ERROR, settings_frame({frames.ENABLE_PUSH: 2})),
        (ErrorCode.FLOW_CONTROL_ERROR, settings_frame({frames.INITIAL_WINDOW_SIZE: 1 << 31})),
        (ErrorCode.PROTOCOL_ERROR, settings_frame({frames.MAX_FRAME_SIZE: 100})),
        (ErrorCode.PROTOCOL_ERROR, settings_frame({frames.MAX_FRAME_SIZE: 1 << 24})),
        (ErrorCode.ENHANCE_YOUR_CALM, settings_frame(dict.fromkeys(range(10, 90), 0))),
        (ErrorCode.FRAME_SIZE_ERROR, frame(frames.PING, 0, 0, b"abc")),
        (ErrorCode.PROTOCOL_ERROR, frame(frames.PING, 0, 1, b"12345678")),
        (ErrorCode.FRAME_SIZE_ERROR, frame(frames.GOAWAY, 0, 0, b"abc")),
        (ErrorCode.PROTOCOL_ERROR, frame(frames.GOAWAY, 0, 1, bytes(8))),
        (ErrorCode.FRAME_SIZE_ERROR, frame(frames.WINDOW_UPDATE, 0, 0, b"abc")),
        (ErrorCode.PROTOCOL_ERROR, window_update_frame(0, 0)),
        (ErrorCode.PROTOCOL_ERROR, window_update_frame(7, 1)),
        (ErrorCode.FLOW_CONTROL_ERROR, window_update_frame(0, frames.WINDOW_BYTES_MAX)),
        (ErrorCode.PROTOCOL_ERROR, frame(frames.PUSH_PROMISE, END_HEADERS, 1, bytes(4))),
        (ErrorCode.PROTOCOL_ERROR, frame(frames.PRIORITY, 0, 0, bytes(5))),
        (ErrorCode.FRAME_SIZE_ERROR, frame(DATA, 0, 1, bytes((1 << 20) + 1))),
        (ErrorCode.ENHANCE_YOUR_CALM, frame(HEADERS, END_HEADERS, 3, bytes(40_000))),
        (ErrorCode.FRAME_SIZE_ERROR, frame(frames.SETTINGS, 0, 0, bytes(36_000))),
    ],
)
def test_faults_that_end_the_connection(code: ErrorCode, data: bytes) -> None:
    server = Server()
    server.feed(server.caller.head())  # stream 1 is open
    assert code == server.end_of(data)
    server = Server()
    server.feed(server.caller.head())
    events: list[Event] = []
    for start in range(0, len(data), 700):  # the same in pieces
        events += server.feed(data[start : start + 700])
    assert isinstance(events[-1], ConnectionEnded)
    assert code == events[-1].code


def test_the_first_frame_is_settings() -> None:
    for data in (frames.ping_frame(bytes(8)), frames.SETTINGS_ACK):
        connection = Connection()
        events = connection.receive(frames.PREFACE + data, 0.0)
        assert isinstance(events[-1], ConnectionEnded)
        assert ErrorCode.PROTOCOL_ERROR == events[-1].code


@pytest.mark.parametrize(
    ("code", "data"),
    [
        (ErrorCode.PROTOCOL_ERROR, window_update_frame(1, 0)),
        (ErrorCode.FLOW_CONTROL_ERROR, window_update_frame(1, frames.WINDOW_BYTES_MAX)),
        (ErrorCode.FRAME_SIZE_ERROR, frame(frames.PRIORITY, 0, 1, bytes(4))),
        (ErrorCode.PROTOCOL_ERROR, frame(frames.PRIORITY, 0, 1, b"\x00\x00\x00\x01\x00")),
        (ErrorCode.FLOW_CONTROL_ERROR, frame(DATA, 0, 1, bytes(1 << 20)) + frame(DATA, 0, 1, b"x")),
        (ErrorCode.PROTOCOL_ERROR, frame(HEADERS, END_HEADERS, 1, b"")),
    ],
)
def test_faults_that_end_one_stream(code: ErrorCode, data: bytes) -> None:
    server = Server()
    server.feed(server.caller.head())
    assert code == server.reset_of(data)
    # Late frames of the stream are thrown away, and others are served.
    server.feed(frame(DATA, 0, 1, b"late") + frame(DATA, END_STREAM, 1, b"later"))
    assert isinstance(server.feed(server.caller.head())[0], RequestReceived)


def test_a_window_update_by_0_is_a_fault_on_a_closed_stream_too() -> None:
    # RFC 9113, section 6.9
    server = Server()
    server.feed(server.caller.head(ended=True))
    server.connection.answer(server.connection.streams[1], ((b":status", b"200"),), b"", ())
    server.connection.take()
    server.feed(window_update_frame(1, 0))
    assert frames.reset_frame(1, ErrorCode.PROTOCOL_ERROR) == server.sent
    server.feed(window_update_frame(1, 5))
    assert b"" == server.sent
    assert not server.connection.is_ended


def test_data_after_the_end_of_a_stream() -> None:
    server = Server()
    server.feed(server.caller.head())
    both = frame(DATA, END_STREAM, 1, b"x") + frame(DATA, 0, 1, b"y")
    assert ErrorCode.STREAM_CLOSED == server.reset_of(both)
    # Now it has been told twice.
    assert ErrorCode.STREAM_CLOSED == server.end_of(frame(DATA, 0, 1, b"z"))


@pytest.mark.parametrize(
    "extra",
    [
        [("Upper-Case", "x")],
        [("connection", "close")],
        [("te", "gzip")],
        [("content-length", "5"), ("content-length", "6")],
        [(":late", "x")],
        [("a", "b\nc")],
    ],
)
def test_malformed_requests_end_their_stream(extra: list[tuple[str, str]]) -> None:
    server = Server()
    assert ErrorCode.PROTOCOL_ERROR == server.reset_of(server.caller.head(extra=extra))
    assert {} == server.connection.streams


@pytest.mark.parametrize("sent", [4, 6])
def test_bodies_are_as_long_as_they_say(sent: int) -> None:
    server = Server()
    head = server.caller.head(extra=[("content-length", "5")])
    server.feed(head)
    assert ErrorCode.PROTOCOL_ERROR == server.reset_of(frame(DATA, END_STREAM, 1, bytes(sent)))


def test_stream_ids_only_grow() -> None:
    server = Server()
    server.feed(server.caller.head(stream=5, ended=True))
    server.connection.answer(server.connection.streams[5], ((b":status", b"200"),), b"", ())
    assert ErrorCode.PROTOCOL_ERROR == server.end_of(server.caller.head(stream=3))
    server = Server()
    server.feed(server.caller.head(stream=5, ended=True))
    server.connection.answer(server.connection.streams[5], ((b":status", b"200"),), b"", ())
    assert ErrorCode.STREAM_CLOSED == server.end_of(server.caller.head(stream=5))
    server = Server()
    assert ErrorCode.PROTOCOL_ERROR == server.end_of(server.caller.head(stream=2))


def test_streams_above_the_limit_are_refused() -> None:
    server = Server(streams_max=2)
    server.feed(server.caller.head() + server.caller.head())
    assert ErrorCode.REFUSED_STREAM == server.reset_of(server.caller.head())
    server.connection.reset(server.connection.streams[1], ErrorCode.CANCEL)
    assert isinstance(server.feed(server.caller.head())[0], RequestReceived)


def test_padding_never_shrinks_a_messages_window() -> None:
    server = Server()
    server.feed(server.caller.head())
    padded = frame(DATA, PADDED, 1, bytes([200]) + b"x" + bytes(200))
    for _ in range(6_000):  # 1.2 MB of padding: more than the window
        server.feed(padded)
        assert not server.connection.is_ended
    assert limits.STREAM_WINDOW_BYTES - 6_000 == server.connection.streams[1].receive_window


def test_the_window_of_the_connection_is_given_back() -> None:
    server = Server()
    total = 0
    while total < 3 * limits.CONNECTION_WINDOW_BYTES:
        head = server.caller.head()
        server.feed(head)
        stream = server.caller.next_stream - 2
        events = server.feed(frame(DATA, END_STREAM, stream, bytes(1 << 20)))
        assert isinstance(events[-1], DataReceived)
        server.connection.reset(server.connection.streams[stream], ErrorCode.NO_ERROR)
        total += 1 << 20
    assert not server.connection.is_ended


def test_an_expected_message_gets_its_window() -> None:
    server = Server()
    server.feed(server.caller.head())
    stream = server.connection.streams[1]
    server.connection.expect(stream, 5 << 20)
    updates = read_frames(b"".join(server.connection.take()))
    assert [(frames.WINDOW_UPDATE, 1, 4 << 20)] == [
        (f.kind, f.stream, int.from_bytes(f.payload)) for f in updates
    ]
    for _ in range(5):
        server.feed(frame(DATA, 0, 1, bytes(1 << 20)))
    assert 0 == stream.receive_window


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (frame(DATA, 0, 1), 200),
        (frames.ping_frame(bytes(8)), 200),
        (settings_frame({}), 100),
        (frame(frames.PRIORITY, 0, 1, bytes([0, 0, 0, 3, 0])), 2_000),
        (frame(0x99, 0, 0), 2_000),
        (window_update_frame(0, 1), 6_000),
        (frames.SETTINGS_ACK, 2_000),
        (frames.goaway_frame(0, 0), 2_000),
    ],
)
def test_floods_of_worthless_frames_end_the_connection(data: bytes, count: int) -> None:
    server = Server()
    server.feed(server.caller.head())
    assert ErrorCode.ENHANCE_YOUR_CALM == server.end_of(data * count)
    # At a pace that somebody might have reason for, nothing happens.
    server = Server()
    server.feed(server.caller.head())
    for second in range(60):
        server.feed(data * 2, float(second * 10))
        assert not server.connection.is_ended


def test_rapid_reset_ends_the_connection() -> None:
    # CVE-2023-44487
    server = Server()
    data = b"".join(
        server.caller.head() + frames.reset_frame(2 * number + 1, ErrorCode.CANCEL)
        for number in range(1_100)
    )
    assert ErrorCode.ENHANCE_YOUR_CALM == server.end_of(data)


def test_resets_provoked_from_us_end_the_connection() -> None:
    # CVE-2025-8671, "MadeYouReset"
    server = Server()
    data = b"".join(
        server.caller.head() + window_update_frame(2 * number + 1, 0) for number in range(1_100)
    )
    assert ErrorCode.ENHANCE_YOUR_CALM == server.end_of(data)


def test_a_continuation_flood_ends_the_connection() -> None:
    # CVE-2024-27316 and its siblings
    server = Server()
    begin = frame(HEADERS, 0, 1, b"\x00\x01a\x01b")
    assert ErrorCode.ENHANCE_YOUR_CALM == server.end_of(
        begin + frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b") * 20
    )
    server = Server()
    assert ErrorCode.ENHANCE_YOUR_CALM == server.end_of(
        begin + frame(CONTINUATION, 0, 1, bytes(30_000)) * 2
    )


def test_streams_that_are_refused_again_and_again_end_the_connection() -> None:
    server = Server(streams_max=1)
    data = b"".join(server.caller.head() for _ in range(2_200))
    assert ErrorCode.ENHANCE_YOUR_CALM == server.end_of(data)


def test_an_answer_waits_for_the_clients_window() -> None:
    server = Server()
    server.feed(settings_frame({frames.INITIAL_WINDOW_SIZE: 10}))
    server.feed(server.caller.head(ended=True))
    stream = server.connection.streams[1]
    server.connection.answer(stream, ((b":status", b"200"),), b"x" * 25, ((b"a", b"b"),))
    sent = list(read_frames(b"".join(server.connection.take())))
    assert [(HEADERS, END_HEADERS), (DATA, 0)] == [(f.kind, f.flags) for f in sent]
    assert 15 == server.connection.outbound.unsent_bytes
    server.feed(window_update_frame(1, 10))
    assert [10] == [len(f.payload) for f in read_frames(server.sent)]
    server.feed(settings_frame({frames.INITIAL_WINDOW_SIZE: 20}))
    kinds = [f.kind for f in read_frames(server.sent)]
    assert [frames.SETTINGS, DATA, HEADERS] == kinds  # acknowledged before it takes effect
    assert {} == server.connection.streams


def test_a_client_that_never_reads_cannot_make_us_keep_its_answers() -> None:
    server = Server()
    server.feed(settings_frame({frames.INITIAL_WINDOW_SIZE: 0}))
    while not server.connection.is_ended:
        server.feed(server.caller.head(ended=True))
        stream = server.connection.streams[server.caller.next_stream - 2]
        server.connection.answer(stream, ((b":status", b"200"),), bytes(1 << 20), ())
    assert 2 * 9 - 1 == server.caller.next_stream - 2  # the ninth was too much
    told = goaway(b"".join(server.connection.take()))
    assert told is not None
    assert ErrorCode.ENHANCE_YOUR_CALM == told[1]
    assert 0 == server.connection.outbound.unsent_bytes


def test_an_early_answer_tells_the_client_to_stop_sending() -> None:
    # RFC 9113, section 8.1
    server = Server()
    server.feed(server.caller.head())
    stream = server.connection.streams[1]
    server.connection.send(stream, ((b":status", b"200"),), ended=True)
    sent = list(read_frames(b"".join(server.connection.take())))
    assert [HEADERS, frames.RST_STREAM] == [f.kind for f in sent]
    assert [] == server.feed(frame(DATA, END_STREAM, 1, b"late"))
    assert not server.connection.is_ended


def test_a_graceful_end() -> None:
    server = Server()
    server.feed(server.caller.head(ended=True))
    server.connection.warn_goaway()
    assert isinstance(server.feed(server.caller.head(ended=True))[0], RequestReceived)
    server.connection.refuse_streams()
    told = goaway(b"".join(server.connection.take()))
    assert (3, 0, "") == told
    assert [] == server.feed(server.caller.head(ended=True))  # ignored, not an error
    server.connection.answer(server.connection.streams[3], ((b":status", b"200"),), b"", ())
    assert [1] == list(server.connection.streams)


def test_pings_are_answered_and_come_back() -> None:
    server = Server()
    server.feed(frames.ping_frame(b"12345678"))
    assert frames.ping_frame(b"12345678", ack=True) == server.sent
    events = server.feed(frames.ping_frame(b"87654321", ack=True))
    assert isinstance(events[0], PingAcknowledged)
    assert b"87654321" == events[0].payload


def test_what_the_peer_says_about_its_end() -> None:
    server = Server()
    server.feed(server.caller.head())
    events = server.feed(frames.goaway_frame(7, 2, b"why") + frames.reset_frame(1, 8))
    assert isinstance(events[0], GoAwayReceived)
    assert (7, 2, b"why") == (events[0].last_stream_id, events[0].code, events[0].debug)
    assert isinstance(events[1], StreamReset)
    assert (8, True) == (events[1].code, events[1].by_peer)


@given(
    sizes=st.lists(st.integers(0, 30_000), min_size=1, max_size=5),
    window=st.integers(300, 60_000),
    step=st.integers(9, 9_000),
)
@settings(max_examples=20, deadline=None)
def test_the_h2_library_understands_us(sizes: list[int], window: int, step: int) -> None:
    """A whole conversation with another implementation, through small windows and pieces."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
    server = Connection()
    bodies: dict[int, bytes] = {}
    answers: dict[int, bytes] = {}
    ended: set[int] = set()
    waiting: dict[int, bytes] = {}
    for size in sizes:
        stream = client.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "y")]
        client.send_headers(stream, head)
        waiting[stream] = bytes([stream % 256]) * size
        bodies[stream] = b""
    for _ in range(500):
        _send_what_fits(client, waiting)
        data = client.data_to_send()
        for start in range(0, len(data), step):
            _serve(server, data[start : start + step], bodies)
        answered = b"".join(server.take())
        if not data and not answered:
            break
        for event in client.receive_data(answered):
            if isinstance(event, h2.events.DataReceived):
                stream = event.stream_id
                answers[stream] = answers.get(stream, b"") + event.data
                client.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamEnded):
                ended.add(event.stream_id)
    assert {stream: body[::-1] for stream, body in bodies.items() if body} == {
        stream: body for stream, body in answers.items() if body
    }
    assert set(bodies) == ended


def _send_what_fits(client: h2.connection.H2Connection, waiting: dict[int, bytes]) -> None:
    for stream, body in list(waiting.items()):
        room = min(client.local_flow_control_window(stream), client.max_outbound_frame_size)
        part = body[:room]
        client.send_data(stream, part, end_stream=len(part) == len(body))
        if len(part) == len(body):
            del waiting[stream]
        else:
            waiting[stream] = body[len(part) :]


def _serve(server: Connection, data: bytes, bodies: dict[int, bytes]) -> None:
    """Answer every request with its own body, backwards."""
    for event in server.receive(data, 0.0):
        assert not isinstance(event, ConnectionEnded), event.message
        if isinstance(event, RequestReceived):
            server.expect(event.stream, 80_000)
        elif isinstance(event, DataReceived):
            bodies[event.stream.id] += bytes(event.data)
            if event.ended:
                body = bodies[event.stream.id][::-1]
                server.answer(event.stream, ((b":status", b"200"),), body, ((b"a", b"b"),))
