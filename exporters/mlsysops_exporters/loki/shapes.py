"""Records that are taken apart as bytes, because all but their time and body was seen before.

Programs write the fields of a record in the order of their numbers: time, severity, body,
attributes, flags, ids, the time at which it was observed. What stands before the body (the head)
and the attributes behind it (the tail) come again and again. Both are looked up as they are; what
is known of them is what protobuf read from these bytes. Messages are read from left to right, so
known parts with whole fields between them are the whole record. Anything else is opened, and its
parts are known from then on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mlsysops_exporters.loki.fields import rare_bytes
from mlsysops_pipeline.pdata.wire import varint

if TYPE_CHECKING:
    from collections.abc import Callable

Head = tuple[int, bytes]
"""Number and text of a severity."""
Tail = tuple[bytes, tuple[bytes, ...]]
"""Attributes as structured metadata, and which of them are labels instead."""

_TAILS_BYTES: Final = 4 << 20
_OVERHEAD_BYTES: Final = 300
_HEADS_MAX: Final = 1_000
_WINDOW_RECORDS: Final = 1_000
"""After so many is seen whether their parts come again. If not, twice as many are opened at once as
the last time, so that what never comes again costs little."""
_PAUSE_MAX: Final = 32_000

_TIME_END: Final = 9
"""Where the time ends, which is the first field: a tag and eight bytes."""
_OBSERVED_BYTES: Final = 9
_IDS_BYTES: Final = 28
_FLAGS_BYTES: Final = 5


class Shapes:
    """What is known of heads and tails."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}
        self._tails: dict[bytes, Tail] = {}
        self._tails_bytes = 0
        self._known = 0
        self._unknown = 0
        self._pause = 0
        self._to_skip = 0
        self.head: Callable[[bytes], Head | None] = self._heads.get
        """The severity that bytes between time and body say."""
        self.tail: Callable[[bytes], Tail | None] = self._tails.get
        """What bytes behind the body say, if they are attributes alone."""

    def forget(self) -> None:
        """Attributes may mean something else from now on."""
        self._tails.clear()
        self._tails_bytes = 0

    def is_worth_it(self) -> bool:
        """Whether records of the next request are likely to be known; else all are opened."""
        return self._to_skip <= 0

    def skipped(self, records: int) -> None:
        """Records of a request that were opened at once."""
        self._to_skip -= records

    def count(self, known: int, unknown: int) -> None:
        """What became of the records of a request that were not."""
        self._known += known
        self._unknown += unknown
        if self._known + self._unknown < _WINDOW_RECORDS:
            return
        is_in_vain = self._unknown > self._known
        self._pause = min(self._pause * 2 or _WINDOW_RECORDS, _PAUSE_MAX) if is_in_vain else 0
        self._to_skip = self._pause
        self._known = self._unknown = 0

    def learn(self, raw: bytes, record: Any, tail: Tail) -> None:
        """Remember the parts of a record that was opened."""
        number, text = record.severity_number, record.severity_text
        if number >= 0 and len(self._heads) < _HEADS_MAX:
            head = b"\x10" + varint(number) if number else b""
            if text:
                head += b"\x1a" + varint(len(text)) + text
            if raw.startswith(head + b"*", _TIME_END):
                self._heads[head] = number, text
        key = b"".join([b"2" + varint(len(one)) + one for one in record.attributes])
        if key in self._tails:
            return
        self._tails[key] = tail
        self._tails_bytes += len(key) + len(tail[0]) + _OVERHEAD_BYTES
        if self._tails_bytes > _TAILS_BYTES:
            self.forget()

    def tail_with_ids(self, raw: bytes) -> tuple[Tail, bytes] | None:
        """A tail behind which other fields stand, and those as structured metadata."""
        end = len(raw)
        if raw[-_OBSERVED_BYTES:][:1] == b"Y":
            end -= _OBSERVED_BYTES
            tail = self.tail(raw[:end])
            if tail is not None:
                return tail, b""
        start = end - _IDS_BYTES
        if start < 0 or raw[start : start + 2] != b"J\x10" or raw[end - 10 : end - 8] != b"R\x08":
            return None
        trace_id, span_id = raw[start + 2 : end - 10], raw[end - 8 : end]
        tail = self.tail(raw[:start])
        flags = 0
        if tail is None:
            before = start - _FLAGS_BYTES
            if before < 0 or raw[before : before + 1] != b"E":
                return None
            tail = self.tail(raw[:before])
            if tail is None:
                return None
            flags = int.from_bytes(raw[before + 1 : start], "little")
        return tail, rare_bytes(trace_id, span_id, flags, 0, b"")

    def __repr__(self) -> str:
        return f"<Shapes heads={len(self._heads)} tails={len(self._tails)}>"
