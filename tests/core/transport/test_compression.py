from __future__ import annotations

import asyncio
import gzip
import os
import resource
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.errors import MalformedError, PeerError, TooLargeError
from mlsysops_pipeline.transport import compression
from mlsysops_pipeline.transport.compression import (
    HTTP_ENCODINGS,
    compress,
    decompress,
    decompress_aside,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 1 << 26
PLAIN = os.urandom(5_000) + b"telemetry repeats itself " * 20_000


@pytest.mark.parametrize("encoding", ["", "identity", *HTTP_ENCODINGS])
def test_what_is_compressed_comes_back(encoding: str) -> None:
    for plain in (b"", b"x", PLAIN):
        packed = compress(encoding, plain)
        if packed or encoding in {"", "identity"}:
            assert plain == decompress(encoding, packed, LIMIT)


@given(plain=st.binary(max_size=2_000), encoding=st.sampled_from(HTTP_ENCODINGS))
def test_the_limit_is_exact(plain: bytes, encoding: str) -> None:
    packed = compress(encoding, plain)
    assert plain == decompress(encoding, packed, len(plain) + 1)
    if plain:
        assert plain == decompress(encoding, packed, len(plain))
        with pytest.raises(TooLargeError):
            decompress(encoding, packed, len(plain) - 1)


@pytest.mark.parametrize("encoding", HTTP_ENCODINGS)
def test_truncated_data_is_malformed(encoding: str) -> None:
    # OH-5: gzip truncated, and the same for every other codec.
    packed = compress(encoding, PLAIN)
    for end in (0, 1, 5, len(packed) // 2, len(packed) - 1):
        if not end and "snappy" in encoding:
            continue  # an empty stream is an empty message
        with pytest.raises(MalformedError):
            decompress(encoding, packed[:end], LIMIT)


@given(data=st.binary(max_size=500), encoding=st.sampled_from(HTTP_ENCODINGS))
@settings(max_examples=300)
def test_random_bytes_never_do_more_than_be_refused(data: bytes, encoding: str) -> None:
    try:
        plain = decompress(encoding, data, 10_000)
    except PeerError:
        return
    assert len(plain) <= 10_000


@pytest.mark.parametrize("encoding", HTTP_ENCODINGS)
def test_a_flipped_bit_is_found_or_harmless(encoding: str) -> None:
    packed = bytearray(compress(encoding, PLAIN[:20_000]))
    for position in range(0, len(packed), 977):
        packed[position] ^= 0x10
        try:
            plain = decompress(encoding, bytes(packed), LIMIT)
        except PeerError:
            plain = b""
        packed[position] ^= 0x10
        assert len(plain) <= LIMIT


def test_gzip_without_its_header_is_malformed() -> None:
    # OH-5
    with pytest.raises(MalformedError, match="gzip"):
        decompress("gzip", zlib.compress(PLAIN), LIMIT)


def test_gzip_members_are_joined() -> None:
    parts = [b"one " * 100, b"", b"two " * 50_000, b"three"]
    joined = b"".join(gzip.compress(part) for part in parts)
    assert b"".join(parts) == decompress("gzip", joined, LIMIT)
    with pytest.raises(TooLargeError):
        decompress("gzip", joined, 100_000)
    for tail in (b"garbage", gzip.compress(b"x")[:-2]):
        with pytest.raises(MalformedError):
            decompress("gzip", joined + tail, LIMIT)


@pytest.mark.slow
def test_gzip_members_without_end_are_refused() -> None:
    with pytest.raises(MalformedError, match="members"):
        decompress("gzip", gzip.compress(b"") * 10_001, LIMIT)


def test_what_follows_a_zlib_stream_is_malformed() -> None:
    for encoding in ("zlib", "deflate"):
        with pytest.raises(MalformedError, match="after"):
            decompress(encoding, compress(encoding, b"abc") + b"x", LIMIT)


def _bomb(encoding: str) -> bytes:
    """64 MiB of zeros, compressed. Streams are 16 times 4 MiB, one after the other."""
    if encoding in {"zlib", "deflate", "snappy"}:
        return compress(encoding, bytes(64 << 20))
    return compress(encoding, bytes(4 << 20)) * 16


@pytest.mark.slow
@pytest.mark.parametrize("encoding", HTTP_ENCODINGS)
def test_a_bomb_of_any_codec_is_refused_in_little_memory(encoding: str) -> None:
    # OC-8: the limit holds after decompression; what is over it is never materialized.
    bomb = _bomb(encoding)
    limit = 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            decompress(encoding, bomb, limit)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert peak < 4 * limit
    assert grown_kib < 32 << 10


def test_a_snappy_block_that_declares_too_much_is_refused_before_allocating() -> None:
    declared = b"\xff\xff\xff\xff\x0f" + b"\x00" * 10
    with pytest.raises(TooLargeError):
        decompress("snappy", declared, LIMIT)


def test_snappy_takes_blocks_and_streams() -> None:
    for form in ("snappy", "x-snappy-framed"):
        assert PLAIN == decompress("snappy", compress(form, PLAIN), LIMIT)
    with pytest.raises(MalformedError):
        decompress("x-snappy-framed", compress("snappy", PLAIN), LIMIT)


def test_a_zstd_window_beyond_reason_is_refused() -> None:
    magic = b"\x28\xb5\x2f\xfd"
    for descriptor in (b"\x00\x90", b"\x00\xff"):  # windows of 256 MiB and of 3.75 TiB
        with pytest.raises(TooLargeError, match="window"):
            decompress("zstd", magic + descriptor + b"\x01\x00\x00", LIMIT)
    single_segment = magic + b"\xe0" + (1 << 40).to_bytes(8, "little") + b"\x01\x00\x00"
    with pytest.raises(TooLargeError, match="window"):
        decompress("zstd", single_segment, LIMIT)


_LENGTHS = (1, 20, 255, 256, 257, 300, 65_791, 65_792, 300_000)


@given(sizes=st.lists(st.sampled_from(_LENGTHS), min_size=1, max_size=5))
def test_frames_of_zstd_are_read_whole_whatever_they_say_of_their_length(sizes: list[int]) -> None:
    plains = [os.urandom(min(size, 5_000)) + bytes(max(size - 5_000, 0)) for size in sizes]
    frames = [compress("zstd", plain) for plain in plains]
    for plain, frame in zip(plains, frames, strict=True):
        if len(frame) > 17 and frame[4] >> 5:
            assert len(plain) == compression._zstd_content(frame)
    assert b"".join(plains) == decompress("zstd", b"".join(frames), LIMIT)


def test_a_frame_of_zstd_that_lies_about_its_length_is_malformed_or_too_large() -> None:
    frame = bytearray(compress("zstd", os.urandom(200) + bytes(100)))
    assert 300 == compression._zstd_content(bytes(frame))
    place = 5 if frame[4] & 0x20 else 6
    for content in (10, 4_000, 60_000):
        frame[place : place + 2] = content.to_bytes(2, "little")
        with pytest.raises((MalformedError, TooLargeError)):
            decompress("zstd", bytes(frame), LIMIT)
    assert 0 == compression._zstd_content(b"\x28\xb5\x2f\xfd")


def test_an_unknown_encoding_is_malformed() -> None:
    with pytest.raises(MalformedError, match="unsupported Content-Encoding: br"):
        decompress("br", b"x", LIMIT)
    with pytest.raises(ValueError, match="unsupported compression type"):
        compress("br", b"x")


def test_no_encoding_has_the_same_limit() -> None:
    assert b"abc" == decompress("identity", b"abc", 3)
    with pytest.raises(TooLargeError):
        decompress("", b"abc", 2)


@pytest.mark.parametrize("level", [-2, -1, 0, 1, 6, 9])
def test_every_level_of_gzip_and_zlib_is_readable_by_zlib(level: int) -> None:
    assert PLAIN == zlib.decompress(compress("gzip", PLAIN, level), wbits=31)
    assert PLAIN == zlib.decompress(compress("deflate", PLAIN, level))


def test_levels_of_other_codecs() -> None:
    for encoding, level in (("zstd", 9), ("lz4", 3)):
        assert PLAIN == decompress(encoding, compress(encoding, PLAIN, level), LIMIT)


def test_without_isal_the_results_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_zlib", zlib)
    packed = compress("gzip", PLAIN)
    assert PLAIN == decompress("gzip", packed, LIMIT)
    for data, error in ((packed[:-1], MalformedError), (b"garbage", MalformedError)):
        with pytest.raises(error):
            decompress("gzip", data, LIMIT)


@pytest.mark.parametrize("encoding", ["identity", *HTTP_ENCODINGS])
async def test_aside_is_the_same_for_small_and_large(encoding: str) -> None:
    for plain in (b"x" * 10, os.urandom(200_000), bytes(2 << 20)):
        packed = compress(encoding, plain)
        assert plain == await decompress_aside(encoding, packed, LIMIT)
        with pytest.raises(TooLargeError):
            await decompress_aside(encoding, packed, len(plain) - 1)
    if encoding != "identity":
        with pytest.raises(MalformedError):
            await decompress_aside(encoding, compress(encoding, b"x")[:-1], LIMIT)


async def test_the_event_loop_decompresses_little_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []

    def spy(decode: Callable[[bytes, int], bytes], data: bytes, bytes_max: int) -> bytes:
        limits.append(bytes_max)
        return decode(data, bytes_max)

    real = compression._DECODERS["gzip"]
    monkeypatch.setitem(compression._DECODERS, "gzip", lambda data, n: spy(real, data, n))
    await decompress_aside("gzip", compress("gzip", bytes(5 << 20)), LIMIT)
    assert [1 << 20, LIMIT] == limits


async def test_senders_of_bombs_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may take 64 MiB and more for a few KiB: together they would be as many as they are."""
    running: list[int] = [0, 0]
    real = compression._DECODERS["gzip"]

    def spy(data: bytes, bytes_max: int) -> bytes:
        if bytes_max != LIMIT:
            return real(data, bytes_max)
        running[0] += 1
        running[1] = max(running)
        try:
            return real(data, bytes_max)
        finally:
            running[0] -= 1

    monkeypatch.setitem(compression._DECODERS, "gzip", spy)
    bomb = compress("gzip", bytes(LIMIT + 1))
    got = await asyncio.gather(
        *(decompress_aside("gzip", bomb, LIMIT) for _ in range(5)), return_exceptions=True
    )
    assert [TooLargeError] * 5 == [type(error) for error in got]
    assert 1 == running[1]
