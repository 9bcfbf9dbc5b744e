"""The bounded memory of results."""

from __future__ import annotations

from mlsysops_pipeline.pdata.byte_cache import ByteCache


def test_the_oldest_is_forgotten_first() -> None:
    cache = ByteCache(bytes_max=3 * 200)
    for number in range(5):
        cache.put(bytes([number]) * 40, bytes([number]) * 10)

    kept = [cache.get(bytes([number]) * 40) for number in range(5)]
    assert [None, None, b"\2" * 10, b"\3" * 10, b"\4" * 10] == kept
    assert 600 == cache.bytes


def test_what_is_very_long_is_not_kept() -> None:
    cache = ByteCache(bytes_max=1 << 20)
    cache.put(b"long", b"x" * 9000)

    assert cache.get(b"long") is None
    assert 0 == cache.bytes


def test_a_limit_that_is_smaller_than_any_pair_keeps_nothing() -> None:
    cache = ByteCache(bytes_max=100)
    cache.put(b"key", b"value")

    assert 0 == len(cache)
    assert 0 == cache.bytes
