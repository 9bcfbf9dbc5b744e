"""Decompression of bodies while they come, with a limit on what comes out."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_zlib: Any
try:
    from isal import isal_zlib as _zlib
except ImportError:  # a machine without wheels of isal: several times slower, otherwise the same
    _zlib = zlib

PIECE_BYTES: Final = 64 << 10
_WBITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_MEMBERS_MAX: Final = 10_000


class InflateError(Exception):
    """Not what its Content-Encoding says, or cut off."""


class Inflater:
    """One compressed body. Raises `InflateError` for an encoding that is not known, or bad data."""

    __slots__ = ("_encoding", "_members", "_stream", "_wbits")

    def __init__(self, encoding: str) -> None:
        wbits = _WBITS.get(encoding)
        if wbits is None:
            raise InflateError(f"unsupported Content-Encoding {encoding[:40]!r}")
        self._encoding = encoding
        self._wbits = wbits
        self._stream: Any = _zlib.decompressobj(wbits)
        self._members = 1

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What ``data`` decompresses to, in pieces of `PIECE_BYTES` at most."""
        try:
            while data:
                if self._stream.eof:
                    self._next_member()
                piece = self._stream.decompress(data, PIECE_BYTES)
                if piece:
                    yield piece
                data = (
                    self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
                )
                if not data and len(piece) == PIECE_BYTES and not self._stream.eof:
                    yield from self._rest()
        except (zlib.error, _zlib.error) as error:
            raise InflateError(f"{self._encoding}: {error}") from error

    def _rest(self) -> Iterator[bytes]:
        """What the stream still holds though it has taken all its input."""
        while piece := self._stream.decompress(b"", PIECE_BYTES):
            yield piece

    def _next_member(self) -> None:
        self._members += 1
        if self._members > _MEMBERS_MAX:
            raise InflateError(f"{self._encoding}: more than {_MEMBERS_MAX} members")
        self._stream = _zlib.decompressobj(self._wbits)

    def finish(self) -> None:
        """The body has ended."""
        if not self._stream.eof:
            raise InflateError(f"{self._encoding}: unexpected EOF")

    def __repr__(self) -> str:
        return f"<Inflater {self._encoding} members={self._members}>"
