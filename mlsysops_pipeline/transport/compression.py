"""Compression of requests and answers, with memory that a hostile sender cannot grow.

Whatever the codec, what is decompressed never exceeds ``bytes_max``: the output goes to a buffer of
that size at most, whose pages cost nothing until they are written, and decoding stops as soon as it
is full. Working memory beside it is bounded by the format (gzip, deflate, snappy: 64 KiB; lz4:
4 MiB blocks) or checked before decoding (zstd windows, lengths that snappy blocks declare).

Errors: `TooLargeError` above ``bytes_max``, `MalformedError` for what is truncated or no such
format (conformance OC-8, OH-5, OH-6). A codec is imported when it is first used.
"""

from __future__ import annotations

import mmap
import zlib
from typing import TYPE_CHECKING, Any, Final

from mlsysops_pipeline.errors import MalformedError, TooLargeError
from mlsysops_pipeline.transport.aside import Aside

if TYPE_CHECKING:
    from collections.abc import Callable

_zlib: Any
try:
    from isal import isal_zlib as _zlib
except ImportError:  # a machine without wheels of isal: several times slower, otherwise the same
    _zlib = zlib

HTTP_ENCODINGS: Final = (
    "gzip",
    "zstd",
    "zlib",
    "snappy",
    "deflate",
    "lz4",
    "x-snappy-framed",
)
"""Content-Encodings that can be read and written, beside none at all."""

_GZIP_WBITS: Final = 31
_ZLIB_WBITS: Final = 15
_GZIP_MEMBERS_MAX: Final = 10_000
_GZIP_PIECE_BYTES: Final = 64 << 10
_GZIP_LEVEL: Final = 1
_ISAL_LEVELS: Final = (None, 0, 1)
_HUFFMAN_ONLY: Final = -2

_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_WINDOW_BYTES_MAX: Final = 32 << 20
"""The largest window of the Go encoder's levels; `zstd --ultra` and `--long` go further."""

_SNAPPY_STREAM: Final = b"\xff\x06\x00\x00sNaPpY"
_ZSTD_RATIO_MAX: Final = 64
"""How much larger than a frame a buffer may be because the frame says that it needs it."""
_GUESS_RATIO: Final = 16
_GUESS_BYTES_MIN: Final = 16 << 10
_GUESS_BYTES_MAX: Final = 256 << 10

_ASIDE: Final = Aside("decompression")
_INLINE_WIRE_BYTES_MAX: Final = 128 << 10
_INLINE_BYTES_MAX: Final = 1 << 20
"""What the event loop may decompress itself: a millisecond or two at the slowest codec."""


def decompress(encoding: str, data: bytes, bytes_max: int) -> bytes:
    """``data`` as it was before it was compressed, ``bytes_max`` bytes at most.

    ``encoding``: a Content-Encoding or grpc-encoding in lower case; empty and ``identity`` mean
    none. ``snappy`` takes a block or a stream, whichever it is: HTTP clients of the Collector
    send blocks, its gRPC clients send streams. gzip may have several members.

    Blocks for about a millisecond per MiB of result. Raises `TooLargeError` or `MalformedError`.
    """
    if encoding in {"", "identity"}:
        if len(data) > bytes_max:
            raise _too_large(bytes_max)
        return data
    decode = _DECODERS.get(encoding)
    if decode is None:
        raise MalformedError(f"unsupported Content-Encoding: {encoding[:100]}")
    return decode(data, bytes_max)


async def decompress_aside(encoding: str, data: bytes, bytes_max: int) -> bytes:
    """As `decompress`; what takes longer than a few milliseconds runs in a thread, one at a time.

    A few KiB may become the largest request there is, so it is not their number that bounds memory.
    """
    if encoding in {"", "identity"}:
        return decompress(encoding, data, bytes_max)
    if len(data) <= _INLINE_WIRE_BYTES_MAX:
        if bytes_max <= _INLINE_BYTES_MAX:
            return decompress(encoding, data, bytes_max)
        try:
            return decompress(encoding, data, _INLINE_BYTES_MAX)
        except TooLargeError:
            pass  # it is larger than it looked: once more, aside
    return await _ASIDE.run(decompress, encoding, data, bytes_max)


def compress(encoding: str, data: bytes, level: int | None = None) -> bytes:
    """``data`` compressed. ``level``: the codec's own scale, ``None`` for its fast default.

    ``snappy`` makes a block, ``x-snappy-framed`` a stream (which gRPC calls ``snappy``). Raises
    `ValueError` for an encoding that is not known.
    """
    if encoding in {"", "identity", "none"}:
        return data
    encode = _ENCODERS.get(encoding)
    if encode is None:
        raise ValueError(f"unsupported compression type {encoding!r}")
    return encode(data, level)


class Gzip:
    """Compresses what comes in pieces, as `compress` does what comes at once."""

    __slots__ = ("_stream",)

    def __init__(self) -> None:
        self._stream = _zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WBITS)

    def compress(self, data: bytes) -> bytes:
        """The next of what was compressed; often nothing, until there is enough."""
        return bytes(self._stream.compress(data))

    def flush(self) -> bytes:
        """The rest, after the last piece."""
        return bytes(self._stream.flush())


def _too_large(bytes_max: int) -> TooLargeError:
    return TooLargeError(f"request body is above {bytes_max} bytes when decompressed")


# gzip, zlib


def _gunzip(data: bytes, bytes_max: int) -> bytes:
    """One member in one go; several, which are rare, piece by piece."""
    inflater = _zlib.decompressobj(_GZIP_WBITS)
    first = _inflate(inflater, data, bytes_max, "gzip")
    if not inflater.eof:
        raise MalformedError("gzip: the data is truncated")
    if not inflater.unused_data:
        return first
    return _gunzip_members(first, memoryview(inflater.unused_data), bytes_max)


def _gunzip_members(first: bytes, rest: memoryview, bytes_max: int) -> bytes:
    """The members after the first. Pieces bound what the inflater copies of its input."""
    parts, size, position, members = [first], len(first), 0, 1
    inflater: Any = None
    while position < len(rest):
        if inflater is None:
            members += 1
            if members > _GZIP_MEMBERS_MAX:
                raise MalformedError(f"gzip: more than {_GZIP_MEMBERS_MAX} members")
            inflater = _zlib.decompressobj(_GZIP_WBITS)
        piece = rest[position : position + _GZIP_PIECE_BYTES]
        part = _inflate(inflater, piece, bytes_max - size, "gzip", bytes_max)
        if part:
            parts.append(part)
            size += len(part)
        position += len(piece) - len(inflater.unused_data)
        if inflater.eof:
            inflater = None
    if inflater is not None:
        raise MalformedError("gzip: the data is truncated")
    return b"".join(parts)


def _inflate_stream(data: bytes, bytes_max: int) -> bytes:
    inflater = _zlib.decompressobj(_ZLIB_WBITS)
    plain = _inflate(inflater, data, bytes_max, "zlib")
    if not inflater.eof:
        raise MalformedError("zlib: the data is truncated")
    if inflater.unused_data:
        raise MalformedError("zlib: there is something after the data")
    return plain


def _inflate(
    inflater: Any, data: bytes | memoryview, room: int, name: str, bytes_max: int | None = None
) -> bytes:
    """What ``data`` holds; one byte above ``room`` is enough to refuse it."""
    try:
        plain: bytes = inflater.decompress(data, room + 1)
    except (zlib.error, _zlib.error) as error:
        raise MalformedError(f"{name}: {error}") from error
    if len(plain) > room:
        raise _too_large(room if bytes_max is None else bytes_max)
    return plain


def _gzip(data: bytes, level: int | None) -> bytes:
    return _deflate(data, level, _GZIP_WBITS)


def _zlib_stream(data: bytes, level: int | None) -> bytes:
    return _deflate(data, level, _ZLIB_WBITS)


def _deflate(data: bytes, level: int | None, wbits: int) -> bytes:
    """By `isal` at its fast level unless a level is asked for that only zlib has."""
    if level in _ISAL_LEVELS:
        fast = _GZIP_LEVEL if level is None else level
        return bytes(_zlib.compress(data, fast, wbits=wbits))
    strategy = zlib.Z_DEFAULT_STRATEGY
    if level == _HUFFMAN_ONLY:
        level, strategy = zlib.Z_DEFAULT_COMPRESSION, zlib.Z_HUFFMAN_ONLY
    deflater = zlib.compressobj(level or 0, zlib.DEFLATED, wbits, strategy=strategy)
    return deflater.compress(data) + deflater.flush()


# zstd, lz4, snappy


def _unzstd(data: bytes, bytes_max: int) -> bytes:
    window = _zstd_window(data)
    if window > max(_ZSTD_WINDOW_BYTES_MAX, bytes_max):
        raise TooLargeError(f"zstd: a window of {window} bytes is not accepted")
    declared = _zstd_content(data)
    if 0 < declared <= min(bytes_max, _ZSTD_RATIO_MAX * len(data)):
        exact = bytearray(declared)
        size = _try_into(_cramjam().zstd.decompress_into, data, exact, "zstd")
        if size == declared:
            return bytes(exact)
    return _decode_into(_cramjam().zstd.decompress_into, data, bytes_max, "zstd")


def _zstd_content(data: bytes) -> int:
    """The length that the first frame says it has (RFC 8878, 3.1.1.1.4); 0 if it does not."""
    if len(data) < 18 or data[:4] != _ZSTD_MAGIC:
        return 0
    descriptor = data[4]
    is_single = descriptor & 0x20
    code = descriptor >> 6
    if not code and not is_single:
        return 0
    start = (5 if is_single else 6) + (0, 1, 2, 4)[descriptor & 3]
    width = (1, 2, 4, 8)[code]
    content = int.from_bytes(data[start : start + width], "little")
    return content + 256 if width == 2 else content


def _zstd_window(data: bytes) -> int:
    """What the first frame wants to keep in memory (RFC 8878, 3.1.1.1); 0 if it is no frame.

    The library itself refuses windows above 128 MiB in whatever frame, and a window costs memory
    only as far as it is filled.
    """
    if len(data) < 6 or data[:4] != _ZSTD_MAGIC:
        return 0
    descriptor = data[4]
    if descriptor & 0x20:  # a single segment: the window is the content
        start = 5 + (0, 1, 2, 4)[descriptor & 3]
        width = (1, 2, 4, 8)[descriptor >> 6]
        return int.from_bytes(data[start : start + width], "little")
    exponent, mantissa = data[5] >> 3, data[5] & 7
    base = 1 << (10 + exponent)
    return base + (base >> 3) * mantissa


def _unlz4(data: bytes, bytes_max: int) -> bytes:
    return _decode_into(_cramjam().lz4.decompress_into, data, bytes_max, "lz4")


def _unsnappy(data: bytes, bytes_max: int) -> bytes:
    if data.startswith(_SNAPPY_STREAM):
        return _unsnappy_stream(data, bytes_max)
    if not data:
        return data  # what the Go library makes of an empty message
    snappy = _cramjam().snappy
    try:
        declared: int = snappy.decompress_raw_len(data)
    except _decompression_error() as error:
        raise MalformedError(str(error)) from error
    if declared > bytes_max:  # checked before anything is allocated
        raise _too_large(bytes_max)
    return _decode_into(snappy.decompress_raw_into, data, declared, "snappy")


def _unsnappy_stream(data: bytes, bytes_max: int) -> bytes:
    if not data:
        return data
    return _decode_into(_cramjam().snappy.decompress_into, data, bytes_max, "snappy")


def _decode_into(decode: Callable[..., int], data: bytes, bytes_max: int, name: str) -> bytes:
    """Decode into a buffer that cannot grow; a small one first, as most messages are."""
    guess = max(_GUESS_BYTES_MIN, _GUESS_RATIO * len(data))
    if guess <= _GUESS_BYTES_MAX and guess < bytes_max:
        small = bytearray(guess)
        size = _try_into(decode, data, small, name)
        if size is not None:
            return bytes(memoryview(small)[:size])
    if bytes_max <= _GUESS_BYTES_MAX:
        exact = bytearray(bytes_max)
        size = _try_into(decode, data, exact, name)
        if size is None:
            raise _too_large(bytes_max)
        return bytes(memoryview(exact)[:size])
    with mmap.mmap(-1, bytes_max) as pages:  # its pages exist when they are written
        size = _try_into(decode, data, pages, name)
        if size is None:
            raise _too_large(bytes_max)
        return pages[:size]


def _try_into(
    decode: Callable[..., int], data: bytes, buffer: bytearray | mmap.mmap, name: str
) -> int | None:
    """How many bytes were written, or ``None`` if there was no room for all."""
    try:
        return decode(data, buffer)
    except _decompression_error() as error:
        text = str(error)
        if text == "failed to write whole buffer":
            return None
        raise MalformedError(text if text.startswith(name) else f"{name}: {text}") from error


def _zstd(data: bytes, level: int | None) -> bytes:
    return bytes(_cramjam().zstd.compress(data, 1 if level is None else level))


def _lz4(data: bytes, level: int | None) -> bytes:
    return bytes(_cramjam().lz4.compress(data, 0 if level is None else level))


def _snappy(data: bytes, _level: int | None) -> bytes:
    return bytes(_cramjam().snappy.compress_raw(data))


def _snappy_stream(data: bytes, _level: int | None) -> bytes:
    return bytes(_cramjam().snappy.compress(data))


def _cramjam() -> Any:
    import cramjam  # noqa: PLC0415  3 MB that most collectors never need

    return cramjam


def _decompression_error() -> type[Exception]:
    error: type[Exception] = _cramjam().DecompressionError
    return error


_DECODERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gunzip,
    "zlib": _inflate_stream,
    "deflate": _inflate_stream,  # a zlib stream, as HTTP defines it and every peer sends it
    "zstd": _unzstd,
    "snappy": _unsnappy,
    "x-snappy-framed": _unsnappy_stream,
    "lz4": _unlz4,
}
_ENCODERS: Final[dict[str, Callable[[bytes, int | None], bytes]]] = {
    "gzip": _gzip,
    "zlib": _zlib_stream,
    "deflate": _zlib_stream,
    "zstd": _zstd,
    "snappy": _snappy,
    "x-snappy-framed": _snappy_stream,
    "lz4": _lz4,
}
