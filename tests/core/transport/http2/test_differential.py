"""Random sequences of frames, right and wrong, to us and to `h2`: same verdicts, same results.

Both implementations get the same bytes, ours in pieces. Until one of them refuses a frame (ends a
stream or the connection) they must report the same; then both must have refused. What the kinds of
errors are is not compared: RFC 9113 lets an endpoint end the connection for a fault of a stream
(section 5.4.1). Where `h2` is laxer or stricter than the RFC is listed here by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.transport.http2 import events as ours
from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.connection import Connection
from tests.core.transport.http2.wire import frame, read_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import SearchStrategy

STREAMS: Final = (1, 1, 1, 3, 3, 5, 7, 0, 2)

H2_IS_LAXER: Final = (
    "RST_STREAM of an idle stream",  # section 5.1, "idle"
    "body is not as long as content-length",  # if HEADERS end the stream; section 8.1.1
    "a frame of an idle stream",  # HEADERS of a server; section 8.4: by PUSH_PROMISE only
    ":status is no code",  # three digits; section 8.3.2 and RFC 9110, section 15
)
"""What we end a connection for and h2 ignores, by our words."""

H2_IS_STRICTER: Final = (
    "may not depend on itself",  # RFC 9113 says no more than that priorities are deprecated
)
"""What `h2` ends a connection for and we may take, by its words."""

REQUEST: Final = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/a.B/C"),
    (b":authority", b"collector"),
)
RESPONSE: Final = ((b":status", b"200"), (b"content-type", b"application/grpc"))
EXTRA: Final = st.lists(
    st.sampled_from(
        [
            (b"te", b"trailers"),
            (b"grpc-timeout", b"5S"),
            (b"x-a", b"1"),
            (b"x-a", b"1"),
            (b"x-bin", b"AQI"),
            (b"content-length", b"10"),
            # And some that are malformed.
            (b"te", b"gzip"),
            (b"X-Upper", b"1"),
            (b"connection", b"close"),
            (b"transfer-encoding", b"chunked"),
            (b":path", b"/late"),
            (b"x-a", b"1\r\n2"),
            (b"content-length", b"many"),
        ]
    ),
    max_size=2,
)
HEADS: Final = st.one_of(
    st.builds(lambda extra: (*REQUEST, *extra), EXTRA),
    st.builds(lambda extra: (*RESPONSE, *extra), EXTRA),
    st.builds(tuple, EXTRA),
    st.sampled_from(
        [
            REQUEST[1:],
            REQUEST[:2] + REQUEST[3:],
            (*REQUEST, REQUEST[2]),
            ((b":status", b"100"),),
            ((b"grpc-status", b"0"),),
        ]
    ),
)
"""Header lists: a well-formed one can still be out of place."""


def blocks() -> SearchStrategy[tuple[str, Any]]:
    """A header block in one or more frames, perhaps padded, with a priority, or damaged."""
    return st.tuples(
        st.just("head"),
        st.fixed_dictionaries(
            {
                "stream": st.sampled_from(STREAMS),
                "fields": HEADS,
                "ended": st.booleans(),
                "pieces": st.integers(1, 3),
                "padding": st.sampled_from([-1, -1, 0, 5]),
                "depends_on": st.sampled_from([None, None, 0, 3]),
                "damage": st.sampled_from([None] * 9 + [0, 1, 5]),
            }
        ),
    )


def others() -> SearchStrategy[tuple[str, Any]]:
    """Any other frame: its type, flags, stream and payload."""
    stream = st.sampled_from(STREAMS)
    data = st.tuples(
        st.just(frames.DATA),
        st.sampled_from([0, frames.END_STREAM, frames.PADDED, frames.PADDED | frames.END_STREAM]),
        stream,
        st.sampled_from(
            [b"", b"\0", b"\x02ab", b"\x05abc", b"\x030123456789\0\0\0", b"0123456789"]
        ),
    )
    words = st.sampled_from([0, 1, 2, 8, 65_535, 2**31 - 1]).map(lambda word: word.to_bytes(4))
    short = st.binary(max_size=9)
    # h2 refuses a WINDOW_UPDATE with the reserved bit, which has no meaning (section 6.9).
    increments = (words | short).filter(lambda payload: payload[:1] < b"\x80")
    # Of a setting that is given twice h2 looks at the last one only; section 6.5.3: in turn.
    pairs = st.lists(
        st.tuples(
            st.sampled_from([*range(7), 99]), st.sampled_from([0, 1, 2, 16_384, 2**24 - 1, 2**31])
        ),
        max_size=2,
        unique_by=lambda pair: pair[0],
    ).map(lambda found: b"".join(frames.SETTING.pack(*pair) for pair in found))
    return st.tuples(
        st.just("frame"),
        st.one_of(
            data,
            data,
            data,
            st.tuples(st.just(frames.RST_STREAM), st.just(0), stream, words | short),
            st.tuples(st.just(frames.WINDOW_UPDATE), st.just(0), stream, increments),
            st.tuples(st.just(frames.PRIORITY), st.just(0), stream, st.binary(max_size=5)),
            st.tuples(
                st.just(frames.SETTINGS), st.sampled_from([0, 0, 1]), st.just(0), pairs | short
            ),
            st.tuples(st.just(frames.PING), st.sampled_from([0, 1]), st.just(0), short),
            st.tuples(st.just(frames.CONTINUATION), st.just(4), stream, short),
            st.tuples(st.just(0x42), st.integers(0, 255), stream, short),
        ),
    )


OPERATIONS: Final = st.lists(
    st.one_of(
        blocks(),
        blocks(),
        others(),
        others(),
        st.tuples(st.just("answer"), st.sampled_from([1, 3, 5, 7])),
    ),
    max_size=14,
)


class Writer:
    """Frames of one peer, with one header compression for both readers."""

    def __init__(self) -> None:
        self._encoder = hpack.Encoder()

    def write(self, operation: tuple[str, Any]) -> bytes:
        kind, what = operation
        if kind == "frame":
            return frame(*what)
        block = bytearray(self._encoder.encode(what["fields"]))
        damage = what["damage"]
        if damage is not None and damage < len(block):
            block[damage] ^= 0x55
        return head_frames(bytes(block), what)


def head_frames(block: bytes, what: dict[str, Any]) -> bytes:
    """HEADERS and CONTINUATION with ``block``."""
    size = len(block) // what["pieces"] + 1
    parts = [block[start : start + size] for start in range(0, len(block), size)] or [b""]
    flags = frames.END_STREAM if what["ended"] else 0
    first = parts[0]
    if what["depends_on"] is not None:
        flags |= frames.HAS_PRIORITY
        first = int(what["depends_on"]).to_bytes(4) + b"\x10" + first
    if what["padding"] >= 0:
        flags |= frames.PADDED
        first = bytes([what["padding"]]) + first + bytes(what["padding"])
    written = b""
    for place, part in enumerate([first, *parts[1:]]):
        last = frames.END_HEADERS if place == len(parts) - 1 else 0
        kind = frames.CONTINUATION if place else frames.HEADERS
        written += frame(kind, last | (0 if place else flags), what["stream"], part)
    return written


Report = list[tuple[Any, ...]]


class Reference:
    """`h2` on one side of the connection."""

    def __init__(self, *, is_client: bool) -> None:
        config = h2.config.H2Configuration(client_side=is_client, header_encoding=None)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.local_settings = h2.settings.Settings(
            client=is_client,
            initial_values={
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: limits.STREAM_WINDOW_BYTES,
                h2.settings.SettingCodes.MAX_FRAME_SIZE: limits.FRAME_BYTES,
                **({h2.settings.SettingCodes.ENABLE_PUSH: 0} if is_client else {}),
            },
        )
        self.h2.max_inbound_frame_size = limits.FRAME_BYTES
        self.h2.initiate_connection()
        self.h2.data_to_send()
        self.reset: set[int] = set()

    def receive(self, data: bytes) -> tuple[Report, str]:
        """What happened, and why something was refused."""
        try:
            found = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            return [], f"{type(error).__name__}: {error}"
        sent = self.h2.data_to_send()
        refused = ""
        for each in read_frames(sent):
            # Frames of a stream that we reset first are to be ignored (section 5.1, "closed"); h2
            # does so and says again that it is closed.
            is_told_again = each.kind == frames.RST_STREAM and each.stream in self.reset
            if each.kind in {frames.RST_STREAM, frames.GOAWAY} and not is_told_again:
                refused = f"frame {each.kind} {each.stream} {each.payload.hex()}"
        return [one for event in found for one in self._report(event)], refused

    @staticmethod
    def _report(event: h2.events.Event) -> Report:
        if isinstance(event, h2.events.RequestReceived):
            return [("head", event.stream_id, _fields(event.headers))]
        if isinstance(event, h2.events.ResponseReceived):
            return [("head", event.stream_id, _fields(event.headers))]
        if isinstance(event, h2.events.TrailersReceived):
            return [("trailers", event.stream_id, _fields(event.headers))]
        if isinstance(event, h2.events.DataReceived):
            return [("data", event.stream_id, event.data)] if event.data else []
        if isinstance(event, h2.events.StreamEnded):
            return [("end", event.stream_id)]
        if isinstance(event, h2.events.StreamReset):
            return [("reset", event.stream_id, int(event.error_code))]
        if isinstance(event, h2.events.PingReceived):
            return [("ping",)]
        return []

    def answer(self, stream: int, *, is_whole: bool) -> None:
        self.h2.send_headers(stream, [(b":status", b"200")], end_stream=True)
        if not is_whole:
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.NO_ERROR)
            self.reset.add(stream)
        self.h2.data_to_send()


def _fields(headers: Sequence[Any]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((bytes(name), bytes(value)) for name, value in headers)


class Ours:
    """Our connection, reporting in the same words."""

    def __init__(self, *, is_client: bool) -> None:
        self.connection = Connection(is_client=is_client)
        self.connection.take()

    def receive(self, data: bytes, step: int) -> tuple[Report, str]:
        report: Report = []
        refused = ""
        for start in range(0, len(data), step):
            for event in self.connection.receive(data[start : start + step], 0.0):
                if isinstance(event, ours.ConnectionEnded | ours.StreamReset) and not (
                    isinstance(event, ours.StreamReset) and event.by_peer
                ):
                    refused = event.message
                else:
                    _add(report, event)
        sent = b"".join(self.connection.take())
        if not refused and frames.RST_STREAM in {one.kind for one in read_frames(_frames(sent))}:
            refused = "a stream was reset"
        return report, refused


def _frames(sent: bytes) -> bytes:
    return sent.removeprefix(frames.PREFACE)


def _add(report: Report, event: ours.Event) -> None:
    if isinstance(event, ours.RequestReceived | ours.ResponseReceived):
        report.append(("head", event.stream.id, event.block.fields))
        if event.ended:
            report.append(("end", event.stream.id))
    elif isinstance(event, ours.TrailersReceived):
        report.append(("trailers", event.stream.id, event.block.fields))
        report.append(("end", event.stream.id))
    elif isinstance(event, ours.DataReceived):
        if event.data:
            last = report[-1] if report else ("",)
            if last[:2] == ("data", event.stream.id):  # the same frame, in pieces
                report[-1] = (*last[:2], last[2] + bytes(event.data))
            else:
                report.append(("data", event.stream.id, bytes(event.data)))
        if event.ended:
            report.append(("end", event.stream.id))
    elif isinstance(event, ours.StreamReset):
        report.append(("reset", event.stream.id, event.code))
    elif isinstance(event, ours.PingReceived):
        report.append(("ping",))


def compare(we: Ours, other: Reference, data: bytes, step: int) -> bool:
    """Give both the same; whether they go on."""
    report, refused = we.receive(data, step)
    expected, reason = other.receive(data)
    if refused in H2_IS_LAXER and not reason:
        return False
    if not refused and any(words in reason for words in H2_IS_STRICTER):
        return False
    assert bool(reason) == bool(refused), (refused, reason)
    if refused:
        return False
    assert expected == report
    return True


@pytest.mark.slow
@given(OPERATIONS, st.sampled_from([1, 7, 100_000]))
@settings(max_examples=120, deadline=None)
def test_a_server_takes_what_h2_takes(operations: list[tuple[str, Any]], step: int) -> None:
    we, other = Ours(is_client=False), Reference(is_client=False)
    greeting = frames.PREFACE + frames.settings_frame({})
    assert compare(we, other, greeting, step)
    writer = Writer()
    for operation in operations:
        if operation[0] == "answer":
            stream = we.connection.streams.get(operation[1])
            if stream is not None and not stream.local_ended:
                is_whole = stream.remote_ended
                we.connection.send(stream, ((b":status", b"200"),), ended=True)
                we.connection.take()
                other.answer(stream.id, is_whole=is_whole)
        elif not compare(we, other, writer.write(operation), step):
            return


@pytest.mark.slow
@given(OPERATIONS, st.sampled_from([1, 7, 100_000]))
@settings(max_examples=120, deadline=None)
def test_a_client_takes_what_h2_takes(operations: list[tuple[str, Any]], step: int) -> None:
    we, other = Ours(is_client=True), Reference(is_client=True)
    assert compare(we, other, frames.settings_frame({}), step)
    for _ in range(3):
        stream = we.connection.open()
        assert stream is not None
        we.connection.send(stream, REQUEST, ended=True)
        other.h2.send_headers(stream.id, REQUEST, end_stream=True)
    we.connection.take()
    other.h2.data_to_send()
    writer = Writer()
    for operation in operations:
        if operation[0] != "answer" and not compare(we, other, writer.write(operation), step):
            return
