"""The bounded memory of results."""

from __future__ import annotations

from mlsysops_pipeline.pdata.byte_cache import ByteCache


def test_the_oldest_is_forgotten_first() -> None:
    cache = ByteCache(bytes_max=30)
    for number in range(5):
        cache.put(number, bytes([number]), 10)

    assert [None, None, b"\2", b"\3", b"\4"] == [cache.get(number) for number in range(5)]
    assert 30 == cache.bytes


def test_what_is_very_long_is_not_kept() -> None:
    cache = ByteCache(bytes_max=1 << 20)
    cache.put("long", b"x" * 9000, 9000)

    assert cache.get("long") is None
    assert 0 == len(cache)
