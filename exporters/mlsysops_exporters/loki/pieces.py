"""Attributes of records as structured metadata, from bytes to bytes.

What was seen before is looked up. A new value of a string costs its key's look-up and a copy. Only
other types are opened by protobuf.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from mlsysops_exporters.loki.attributes import Names, metadata, opened
from mlsysops_exporters.loki.encoding import length, string_attribute
from mlsysops_pipeline.pdata.byte_cache import ByteCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlsysops_exporters.loki.resources import Rules

_CACHE_BYTES: Final = 4 << 20
_KEYS_MAX: Final = 10_000
_VALUES_MAX: Final = 5_000
"""Values of one key that are remembered; with more of them, none is likely to come again."""


class Use(enum.Enum):
    """What an attribute means for its record."""

    LABEL = "label"
    """It is a label, by the configuration."""
    SPECIAL = "special"
    """Its record must be opened."""


class _Key:
    """What is known of a key. ``head``: the name in a pair. ``use``: ``None`` for metadata."""

    __slots__ = ("head", "use", "values")

    def __init__(self, head: bytes, use: Use | None) -> None:
        self.head = head
        self.use = use
        self.values = 0


class Pieces:
    """Structured metadata for serialized attributes."""

    def __init__(
        self, rules: Rules, names: Names, forgotten: Callable[[], None] = lambda: None
    ) -> None:
        self._rules = rules
        self._names = names
        self._forgotten = forgotten
        self._keys: dict[bytes, _Key] = {}
        self._cache = ByteCache(_CACHE_BYTES)
        self.get: Callable[[bytes], bytes | None] = self._cache.get
        """What is remembered of an attribute: the field (or fields) of an entry."""

    def forget_if_contested(self) -> None:
        """Forget what may have a name that turned out to be that of another attribute, too."""
        if self._names.has_new_contest():
            self._keys.clear()
            self._cache = ByteCache(_CACHE_BYTES)
            self.get = self._cache.get
            self._forgotten()

    def of(self, attributes: Iterable[bytes]) -> tuple[bytes, tuple[bytes, ...]] | None:
        """The metadata of a record, and which of its attributes are labels instead.

        ``None`` if the record must be opened. Raises `MalformedError` for what is no attribute.
        """
        parts: list[bytes] = []
        labels: list[bytes] = []
        for raw in attributes:
            piece = self.get(raw) or self._learned(raw)
            if isinstance(piece, bytes):
                parts.append(piece)
            elif piece is Use.LABEL:
                labels.append(raw)
            else:
                self.forget_if_contested()
                return None
        return b"".join(parts), tuple(labels)

    def _learned(self, raw: bytes) -> bytes | Use:
        found = string_attribute(raw)
        if found is None:
            return self._opened(raw)
        key, text = found
        known = self._keys.get(key)
        if known is None:
            known = self._key(key)
        if known.use is not None:
            return known.use
        if not text.isascii():
            text = text.decode(errors="replace").encode()
        piece = b""
        if text:
            inner = known.head + b"\x12" + length(len(text)) + text
            piece = b"\x1a" + length(len(inner)) + inner
        if known.values < _VALUES_MAX:
            known.values += 1
            self._cache.put(raw, piece)
        return piece

    def _key(self, key: bytes) -> _Key:
        text = key.decode(errors="replace")
        name = self._names.name(text)
        use = self._rules.use(text)
        if use is None and self._names.is_contested("record", text, name):
            use = Use.SPECIAL
        if len(self._keys) >= _KEYS_MAX:
            self._keys.clear()
        known = self._keys[key] = _Key(b"\x0a" + length(len(name)) + name.encode(), use)
        return known

    def _opened(self, raw: bytes) -> bytes | Use:
        attribute = opened(self._names, raw)
        use = self._rules.use(attribute.key)
        if use is not None:
            return use
        pairs, is_contested = metadata(self._names, "record", attribute)
        if is_contested:
            return Use.SPECIAL
        piece = b"".join([content for _, content in pairs])
        self._cache.put(raw, piece)
        return piece

    def __repr__(self) -> str:
        return f"<Pieces {self._cache!r} keys={len(self._keys)}>"
