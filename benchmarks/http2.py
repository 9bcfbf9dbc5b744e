"""The little HTTP/2 that the load generator and the sink need, without the collector's own code.

Frames are cut, header blocks decoded once: a block that changes no table means the same the next
time, so its meaning is remembered. Padding and continuation, which no gRPC peer uses here, raise.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from hpack import Decoder, Encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM, END_HEADERS, ACK, PADDED, PRIORITY = 0x1, 0x4, 0x1, 0x8, 0x20
INITIAL_WINDOW_SIZE = 4
FRAME_BYTES_MAX = 16_384
DEFAULT_WINDOW = 65_535
_MEANINGS_MAX = 1000


class ProtocolError(Exception):
    """The peer sent what these two programs do not take."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    head = struct.pack(">I", len(payload))[1:] + bytes((kind, flags))
    return head + struct.pack(">I", stream) + payload


def window_update(stream: int, credit: int) -> bytes:
    """Lets the peer send more."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", credit))


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    pairs = (struct.pack(">HI", key, value) for key, value in values.items())
    return frame(SETTINGS, 0, 0, b"".join(pairs))


def read_settings(payload: bytes) -> dict[int, int]:
    """The pairs of a SETTINGS frame."""
    return dict(struct.iter_unpack(">HI", payload))


class Frames:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Kind, flags, stream and payload of every frame that is whole by now."""
        buffer = self._rest + data if self._rest else data
        place, end = 0, len(buffer)
        while end - place >= 9:
            length = int.from_bytes(buffer[place : place + 3], "big")
            after = place + 9 + length
            if after > end:
                break
            kind, flags = buffer[place + 3], buffer[place + 4]
            if (flags & PADDED and kind in {DATA, HEADERS}) or kind == CONTINUATION:
                raise ProtocolError("padding or continuation")
            stream = int.from_bytes(buffer[place + 5 : place + 9], "big") & 0x7FFFFFFF
            payload = buffer[place + 9 : after]
            if kind == HEADERS and flags & PRIORITY:
                payload = payload[5:]
            place = after
            yield kind, flags, stream, payload
        self._rest = buffer[place:]


class HeaderReader:
    """Finds some fields in header blocks; every block of a connection must pass through it."""

    def __init__(self, *names: str) -> None:
        self._names = [name.encode() for name in names]
        self._decoder = Decoder()
        self._meanings: dict[bytes, tuple[str, ...]] = {}

    def read(self, block: bytes) -> tuple[str, ...]:
        """The values of the fields; empty for those that are not there."""
        known = self._meanings.get(block)
        if known is not None:
            return known
        table = self._decoder.header_table
        before = tuple(table.dynamic_entries)
        fields = dict(self._decoder.decode(block, raw=True))
        values = tuple(fields.get(name, b"").decode() for name in self._names)
        if before != tuple(table.dynamic_entries) or len(self._meanings) >= _MEANINGS_MAX:
            # Indexes have moved: what the blocks meant until now may be wrong from here on.
            self._meanings.clear()
        else:
            self._meanings[block] = values
        return values


def stateless_block(fields: list[tuple[str, str]]) -> bytes:
    """A header block that leaves the peer's table as it is, so that it can be sent again."""
    never_indexed = [(name, value, True) for name, value in fields]
    return bytes(Encoder().encode(never_indexed, huffman=False))
