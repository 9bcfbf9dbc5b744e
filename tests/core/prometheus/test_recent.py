"""A bounded memory by age."""

from __future__ import annotations

from mlsysops_pipeline.prometheus.recent import Recent


def test_the_oldest_is_forgotten_first() -> None:
    recent: Recent[str, int] = Recent(64 * 4)
    for index in range(6):
        recent.put(f"key {index}", index, 60)
        assert recent.bytes <= 64 * 4
    assert [recent.get(f"key {index}") for index in range(6)] == [None, None, 2, 3, 4, 5]
    assert repr(recent) == "<Recent entries=4 bytes=256>"


def test_one_of_another_weight_makes_room_for_itself() -> None:
    recent: Recent[str, str] = Recent(64 * 4)
    for name in "abcd":
        recent.put(name, name, 10)
    recent.put("large", "large", 64 * 3)
    assert recent.get("large") == "large"
    assert len(recent) == 1


def test_what_is_larger_than_the_memory_or_16_kib_is_not_kept() -> None:
    recent: Recent[str, str] = Recent(100)
    recent.put("a", "a", 1000)
    assert recent.get("a") is None
    assert (len(recent), recent.bytes) == (0, 0)
    wide: Recent[str, str] = Recent(1 << 30)
    wide.put("a", "a", 1 << 14)
    assert len(wide) == 0
