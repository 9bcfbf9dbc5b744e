"""Cutting a payload into parts of bounded size, without looking into more of it than needed.

Members go to a part whole as long as they fit. Of the one that does not, the groups that fit go
whole, and only the group, scope and metric at the cut are opened. Each piece repeats what it is a
piece of: resource, scope, schema URLs, the metric's name, description, unit, metadata, type,
temporality, and all fields that we do not know. Items are never cut, lost, repeated or reordered.

A message is taken apart into its *envelope* (all its fields but the children) and its children.
Pieces are slices of both as they came: nothing is decoded and written again.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from mlsysops_pipeline.pdata.counting import child_tags, count_items_in
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import PATHS
from mlsysops_pipeline.pdata.wire import fields, length_prefix

if TYPE_CHECKING:
    from mlsysops_pipeline.pdata.payload import Payload

_UNLIMITED = sys.maxsize

_COPIES_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of repeated envelopes that splitting adds beyond twice the payload. Without a limit, a
request with a resource of megabytes and many tiny items would grow by orders of magnitude."""

_METRIC_LEVEL = 3
"""The level whose children lie one level deeper, in the member of the oneof ``data``."""

_OTHERS_MAX = 10_000
"""Fields beside its children that a message may have to be cut. It has five or so; a flood of
unknown ones is not worth the time that reading them takes."""

_FRAME_BYTES_MAX = 6
"""The tag and length before a message inside another (a length of 2 GiB takes five bytes)."""


def split(payload: Payload, *, items_max: int = 0, bytes_max: int = 0) -> list[Payload]:
    """Cut ``payload`` into parts of at most ``items_max`` items and ``bytes_max`` bytes (0: any).

    Parts are filled in order, as full as they get, and know their item counts, which add up to
    the payload's. A payload within both limits is returned as it is. Over a limit is only: an item
    that is larger with its envelope than ``bytes_max``, alone in its part; a metric with two kinds
    of data, which is not cut because protobuf keeps only the last; a message of more than 10,000
    fields beside its children; and what is left when repeated envelopes took more than 16 MiB and
    twice the payload.

    Raises `MalformedError` if the framing of a member is broken.
    """
    items_max = items_max or _UNLIMITED
    bytes_max = bytes_max or _UNLIMITED
    if payload.size <= bytes_max and payload.items <= items_max:
        return [payload]
    parts = _Parts(payload, items_max, bytes_max)
    for wire, items in zip(payload.wires, payload.member_items(), strict=True):
        if items <= parts.items_left and len(wire) <= parts.bytes_left:
            parts.add(wire, items)
        else:
            _cut(parts, _Node(parts, 0, wire, items))
    parts.close()
    return parts.done


def _cut(parts: _Parts, node: _Node) -> None:
    """Spread one member over the current part and as many more as it takes."""
    while not node.is_spent:
        piece = node.take(parts.items_left, parts.bytes_left, force=parts.is_empty)
        if piece is not None:
            parts.add(b"".join(piece.chunks), piece.items)
        if not node.is_spent:
            parts.close()


class _Parts:
    """The parts that are complete, and the one being filled."""

    __slots__ = (
        "_bytes_max",
        "_copies_left",
        "_items",
        "_items_max",
        "_payload",
        "_wires",
        "bytes_left",
        "done",
        "items_left",
        "signal",
    )

    def __init__(self, payload: Payload, items_max: int, bytes_max: int) -> None:
        self.done: list[Payload] = []
        self.signal = payload.signal
        self._payload = payload
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._copies_left = _COPIES_BYTES_MAX + 2 * payload.size
        self._begin()

    def _begin(self) -> None:
        self._wires: list[bytes] = []
        self._items = 0
        self.items_left = self._items_max
        self.bytes_left = self._bytes_max

    @property
    def is_empty(self) -> bool:
        return not self._wires

    def add(self, wire: bytes, items: int) -> None:
        """Put a member or a piece of one into the current part."""
        self._wires.append(wire)
        self._items += items
        self.items_left -= items
        self.bytes_left -= len(wire)

    def close(self) -> None:
        """Complete the current part, if there is anything in it, and begin the next."""
        if self._wires:
            self.done.append(self._payload.with_wires(self._wires, items=self._items))
            self._begin()

    def repeat(self, size: int) -> None:
        """Account for an envelope that is written once more. Ends cutting when it is too much."""
        self._copies_left -= size
        if self._copies_left < 0:
            self._items_max = self._bytes_max = _UNLIMITED


class _Node:
    """A message that is being cut: its envelope, its children, and how far they are taken."""

    __slots__ = (
        "_envelope",
        "_has_begun",
        "_inner",
        "_items",
        "_level",
        "_next",
        "_parts",
        "_run",
        "_signal",
    )

    def __init__(self, parts: _Parts, level: int, wire: bytes, items: int) -> None:
        self._parts = parts
        self._signal = parts.signal
        self._items = items
        if level == _METRIC_LEVEL:
            self._level = level + 1
            self._envelope, self._run = _open_metric(wire)
        else:
            self._level = level
            rest, self._run = _take_apart(wire, child_tags(self._signal, level))
            self._envelope = _Envelope(rest)
        self._next = 0
        self._inner: _Node | None = None
        self._has_begun = False

    @property
    def is_spent(self) -> bool:
        """Whether all of the message has been taken."""
        return self._has_begun and self._inner is None and self._next == self._run.length

    def take(self, items_max: int, bytes_max: int, *, force: bool) -> _Piece | None:
        """The next piece of the message; ``None`` if nothing fits.

        ``force`` takes the smallest piece there is even if it does not fit.
        """
        room = bytes_max - self._envelope.size
        if not force and (room < 0 or (not self._run.length and self._items > items_max)):
            return None
        piece = _Piece()
        if not self._run.length:
            piece.items = self._items
        while self._inner is not None or self._next < self._run.length:
            is_more = self._take_next(
                piece, items_max - piece.items, room - piece.size, force=force and not piece.size
            )
            if not is_more:
                break
        if self._run.length and not piece.size:
            return None
        if self._has_begun:
            self._parts.repeat(self._envelope.size)
        self._has_begun = True
        self._envelope.put_around(piece)
        return piece

    def _take_next(self, piece: _Piece, items_max: int, room: int, *, force: bool) -> bool:
        """Add children that fit whole, or else a piece of the next one. Whether more may fit."""
        if self._inner is None:
            start = self._next
            end, items = self._fitting(items_max, room)
            if force and end == start and self._holds_items:
                end, items = start + 1, 1
            if end > start:
                self._next = end
                self._items -= items
                piece.add(self._run.between(start, end), items)
                return True
            if self._holds_items or (items_max <= 0 and not force):
                return False
            self._inner = self._open_next()
        inner = self._inner.take(items_max, room - _FRAME_BYTES_MAX, force=force)
        if inner is None:
            return False
        self._items -= inner.items
        inner.frame(_child_number(self._signal, self._level))
        piece.extend(inner)
        if not self._inner.is_spent:
            return False
        self._inner = None
        return True

    @property
    def _holds_items(self) -> bool:
        """Whether the children are the items."""
        return self._level == len(PATHS[self._signal]) - 1

    def _open_next(self) -> _Node:
        """Take the next child, to be cut."""
        wire = self._run.content(self._next)
        self._next += 1
        is_last = self._next == self._run.length
        items = self._items if is_last else count_items_in(self._signal, self._level + 1, wire)
        return _Node(self._parts, self._level + 1, wire, items)

    def _fitting(self, items_max: int, room: int) -> tuple[int, int]:
        """Up to which child the next ones fit whole, and their items."""
        start, length, bounds = self._next, self._run.length, self._run.bounds
        end = bisect_right(bounds, bounds[start] + room, lo=start + 1) - 1
        if self._holds_items:
            end = min(end, start + items_max)
            return end, end - start
        if items_max >= self._items and end == length:
            return end, self._items
        if start + 1 == length:
            return start, 0  # the last one has all items that are left: too many
        return self._fitting_by_items(items_max, end)

    def _fitting_by_items(self, items_max: int, end: int) -> tuple[int, int]:
        """The same for children that are not items themselves, of those before ``end``.

        Counting a run of children costs far less than counting them one by one, so it guesses how
        many it takes from the mean, corrects, and halves what turned out to be too much.
        """
        at = self._next
        density = max(1, self._items) / (self._run.length - at)
        step = end - at
        items = 0
        is_bounded = False
        while at < end and items < items_max:
            if not is_bounded:
                step = max(1, min(int((items_max - items) / density), end - at))
            run = self._run.between(at, at + step)
            found = count_items_in(self._signal, self._level, run)
            if items + found <= items_max:
                items += found
                at += step
                step = (end - at + 1) // 2
            elif step == 1:
                break
            else:
                end, is_bounded = at + step, True
                step //= 2
        return at, items


class _Run(NamedTuple):
    """Children, one after the other in ``wire``.

    ``bounds``: where each begins, and where the last ends.
    """

    wire: bytes
    bounds: list[int]

    @property
    def length(self) -> int:
        """How many there are."""
        return len(self.bounds) - 1

    def between(self, start: int, end: int) -> bytes:
        """Some of them, as they stand in their parent."""
        return self.wire[self.bounds[start] : self.bounds[end]]

    def content(self, index: int) -> bytes:
        """The message that one of them is."""
        _, _, content, end = next(fields(self.wire, self.bounds[index], self.bounds[index + 1]))
        return self.wire[content:end]


_NONE = _Run(b"", [0])


class _Piece:
    """A message as it grows from the inside, in chunks that are joined only once."""

    __slots__ = ("chunks", "items", "size")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self.items = 0

    def add(self, chunk: bytes, items: int) -> None:
        """Append fields that hold ``items`` items."""
        self.chunks.append(chunk)
        self.size += len(chunk)
        self.items += items

    def extend(self, other: _Piece) -> None:
        """Append another piece."""
        self.chunks += other.chunks
        self.size += other.size
        self.items += other.items

    def put_before(self, prefix: bytes) -> None:
        """Prepend fields."""
        self.chunks.insert(0, prefix)
        self.size += len(prefix)

    def frame(self, number: int) -> None:
        """Make a field of all that is there."""
        self.put_before(length_prefix(number, self.size))


class _Envelope(NamedTuple):
    """All of a message but its children, and for a metric, all of its data but the points."""

    rest: bytes
    data_number: int = 0
    data_rest: bytes = b""

    @property
    def size(self) -> int:
        """Bytes at most that it adds around the children."""
        frame = _FRAME_BYTES_MAX if self.data_number else 0
        return len(self.rest) + len(self.data_rest) + frame

    def put_around(self, piece: _Piece) -> None:
        """Make the message of its children."""
        if self.data_number:
            piece.put_before(self.data_rest)
            piece.frame(self.data_number)
        piece.put_before(self.rest)


def _take_apart(wire: bytes, tags: frozenset[int]) -> tuple[bytes, _Run]:
    """A message's fields with one of ``tags``, and before them its other fields."""
    starts: list[int] = []
    ends = [0]
    rest: list[bytes] = []
    others = 0
    for tag, start, _, end in fields(wire, 0, len(wire)):
        if tag in tags:
            if start > ends[-1]:
                rest.append(wire[ends[-1] : start])
            starts.append(start)
            ends.append(end)
        elif (others := others + 1) > _OTHERS_MAX:
            return wire, _NONE
    if not starts:
        return wire, _NONE
    rest.append(wire[ends[-1] :])
    if starts[1:] == ends[1:-1]:
        return b"".join(rest), _Run(wire, [*starts, ends[-1]])
    children = [wire[start:end] for start, end in zip(starts, ends[1:], strict=True)]
    return b"".join(rest), _Run(b"".join(children), [0, *accumulate(map(len, children))])


def _child_number(signal: Signal, level: int) -> int:
    """In which field a request or group holds its children."""
    (tag,) = child_tags(signal, level)
    return tag >> 3


def _open_metric(wire: bytes) -> tuple[_Envelope, _Run]:
    """Take a metric apart, unless it has two kinds of data: that one is all envelope."""
    rest, members = _take_apart(wire, child_tags(Signal.METRICS, _METRIC_LEVEL))
    found = list(fields(members.wire, members.bounds[0], members.bounds[-1]))
    if len({tag for tag, _, _, _ in found}) != 1:
        return _Envelope(wire), _NONE
    # What comes twice of the same kind is merged, and merging is concatenation.
    data = b"".join([members.wire[content:end] for _, _, content, end in found])
    data_rest, points = _take_apart(data, child_tags(Signal.METRICS, _METRIC_LEVEL + 1))
    return _Envelope(rest, found[0][0] >> 3, data_rest), points
