"""The length-prefixed message of a unary call, put together from pieces of DATA.

What is held stays close to what was received: small pieces are collected in one buffer, large
ones stay views of the bytes that came from the socket, and a view that keeps much more alive than
it shows is copied before the next bytes arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mlsysops_pipeline.transport.http2.streams import Chunk

PREFIX_BYTES: Final = 5
"""A flag (compressed or not) and the length, in front of every message."""

_PIECE_BYTES_MIN: Final = 4_096


class MessageBuffer:
    """One message. Use: `add` pieces; when ``size`` turns up, decide; go on; `take` it.

    ``size``: what the prefix says, or -1 until its five bytes are here. ``received``: bytes
    after the prefix.
    """

    __slots__ = ("_fresh", "_fresh_bytes", "_parts", "_tail", "is_compressed", "received", "size")

    def __init__(self) -> None:
        self.size = -1
        self.is_compressed = 0
        self.received = 0
        self._parts: list[Chunk] = []
        self._tail = bytearray()
        self._fresh = 0
        self._fresh_bytes = 0

    def add(self, chunk: Chunk) -> None:
        """Append a piece of DATA."""
        if self.size < 0:
            if self._tail or len(chunk) < PREFIX_BYTES:
                self._add_slowly(chunk)
                return
            self.is_compressed = chunk[0]
            self.size = int.from_bytes(chunk[1:PREFIX_BYTES])
            chunk = chunk[PREFIX_BYTES:]
        length = len(chunk)
        self.received += length
        if length < _PIECE_BYTES_MIN:
            self._tail += chunk
            return
        if self._tail:
            self._parts.append(bytes(self._tail))
            self._tail.clear()
        self._parts.append(chunk)
        self._fresh_bytes += length

    def _add_slowly(self, chunk: Chunk) -> None:
        """The prefix comes in pieces."""
        head = bytes(self._tail) + bytes(chunk[: PREFIX_BYTES - len(self._tail)])
        rest = chunk[PREFIX_BYTES - len(self._tail) :]
        self._tail.clear()
        if len(head) < PREFIX_BYTES:
            self._tail += head
        else:
            self.is_compressed = head[0]
            self.size = int.from_bytes(head[1:])
            self.add(rest)

    def settle(self, read_bytes: int) -> None:
        """Copy views that came with the last ``read_bytes`` if those are mostly not ours."""
        if self._fresh_bytes and self._fresh_bytes * 2 < read_bytes:
            self._parts[self._fresh :] = [b"".join(self._parts[self._fresh :])]
        self._fresh = len(self._parts)
        self._fresh_bytes = 0

    def take(self) -> bytes:
        """The whole message; the buffer is empty afterwards."""
        parts, tail = self._parts, self._tail
        self._parts, self._tail = [], bytearray()
        if not parts:
            return bytes(tail)
        if tail:
            parts.append(bytes(tail))
        elif len(parts) == 1:
            return bytes(parts[0])
        return b"".join(parts)

    def clear(self) -> None:
        """Let go of what was received."""
        self._parts.clear()
        self._tail.clear()

    def __repr__(self) -> str:
        return f"<MessageBuffer received={self.received} of {self.size}>"
