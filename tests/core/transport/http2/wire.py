"""A hand-made client: frames as bytes, header blocks by `hpack`, a parser for what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import hpack

from mlsysops_pipeline.transport.http2 import frames
from mlsysops_pipeline.transport.http2.frames import HEADER, PREFACE, frame_header, settings_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GREETING = PREFACE + settings_frame({})
PATH = "/test.Service/Method"


class Frame(NamedTuple):
    """One frame as it was read."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def read_frames(data: bytes) -> Iterator[Frame]:
    """The frames in ``data``, which must be whole."""
    position = 0
    while position < len(data):
        high, low, kind, flags, stream = HEADER.unpack_from(data, position)
        start = position + 9
        position = start + (high << 16 | low)
        assert position <= len(data)
        yield Frame(kind, flags, stream, data[start:position])


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Any frame, right or wrong."""
    return frame_header(len(payload), kind, flags, stream) + payload


def message(content: bytes, *, flag: int = 0) -> bytes:
    """A length-prefixed message."""
    return bytes([flag]) + len(content).to_bytes(4) + content


class Caller:
    """The client side of one connection, as far as tests need it."""

    def __init__(self) -> None:
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.next_stream = 1

    def head(
        self,
        *,
        path: str = PATH,
        ended: bool = False,
        stream: int | None = None,
        method: str = "POST",
        content_type: str | None = "application/grpc",
        extra: Iterable[tuple[str, str]] = (),
    ) -> bytes:
        """HEADERS of a new call."""
        fields = [
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", "collector:4317"),
            ("te", "trailers"),
        ]
        if content_type is not None:
            fields.append(("content-type", content_type))
        block = self.encoder.encode([*fields, *extra])
        if stream is None:
            stream = self.next_stream
            self.next_stream += 2
        flags = frames.END_HEADERS | (frames.END_STREAM if ended else 0)
        return frame(frames.HEADERS, flags, stream, block)

    def trailers(self, stream: int) -> bytes:
        """HEADERS that end a request."""
        block = self.encoder.encode([("x-trailer", "1")])
        return frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block)

    def call(self, content: bytes, *, flag: int = 0, **head: object) -> bytes:
        """A whole call."""
        stream = self.next_stream
        begin = self.head(**head)  # type: ignore[arg-type]
        return begin + frame(frames.DATA, frames.END_STREAM, stream, message(content, flag=flag))

    def answers(self, data: bytes) -> dict[int, dict[str, str]]:
        """All header fields of each stream, head and trailers together, and ``body`` in hex."""
        found: dict[int, dict[str, str]] = {}
        bodies: dict[int, bytearray] = {}
        for each in read_frames(data):
            if each.kind == frames.HEADERS:
                fields = found.setdefault(each.stream, {})
                for name, value in self.decoder.decode(each.payload):
                    fields[_text(name)] = _text(value)
            elif each.kind == frames.DATA:
                bodies.setdefault(each.stream, bytearray()).extend(each.payload)
            elif each.kind == frames.RST_STREAM:
                found.setdefault(each.stream, {})["reset"] = str(int.from_bytes(each.payload))
        for stream, body in bodies.items():
            found.setdefault(stream, {})["body"] = body.hex()
        return found


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


def goaway(data: bytes) -> tuple[int, int, str] | None:
    """Last stream, code and message of the last GOAWAY."""
    found = None
    for each in read_frames(data):
        if each.kind == frames.GOAWAY:
            last, code = int.from_bytes(each.payload[:4]), int.from_bytes(each.payload[4:8])
            found = (last, code, each.payload[8:].decode())
    return found
