"""Cutting a payload into parts of bounded size, without looking into more of it than needed.

Members go to a part whole as long as they fit. Of the one that does not, the groups that fit go
whole, and only the group, scope and metric at the cut are opened. Each piece repeats what it is a
piece of: resource, scope, schema URLs, the metric's name, description, unit, metadata, type,
temporality, and all fields that we do not know. Items are never cut, lost, repeated or reordered.

A message is taken apart into its *envelope* (all its fields but the children) and the children's
bytes; pieces are concatenations of both, so nothing is decoded that is not a boundary.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.counting import count_items_in
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import CONTAINERS, PATHS, Depth, merged_view, view
from mlsysops_pipeline.pdata.wire import length_prefix, varint

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from mlsysops_pipeline.pdata.payload import Payload

_UNLIMITED = sys.maxsize

_COPIES_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of repeated envelopes that splitting adds beyond twice the payload. Without a limit, a
request with a resource of megabytes and many tiny items would grow by orders of magnitude."""

_METRIC_LEVEL = 3
"""The level whose children lie one level deeper, in the member of the oneof ``data``."""

_FRAME_BYTES_MAX = 6
"""The tag and length before a message inside another (a length of 2 GiB takes five bytes)."""


def split(payload: Payload, *, items_max: int = 0, bytes_max: int = 0) -> list[Payload]:
    """Cut ``payload`` into parts of at most ``items_max`` items and ``bytes_max`` bytes (0: any).

    Parts are filled in order, as full as they get, and know their item counts, which add up to
    the payload's. A payload within both limits is returned as it is. Over a limit is only: an item
    that is larger with its envelope than ``bytes_max``, alone in its part; a metric with two kinds
    of data, which is not cut because protobuf keeps only the last; and what is left when repeated
    envelopes took more than 16 MiB and twice the payload.

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
        "_counts",
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
        self._counts = 0
        self.items_left = self._items_max
        self.bytes_left = self._bytes_max

    @property
    def is_empty(self) -> bool:
        return not self._wires

    def add(self, wire: bytes, items: int) -> None:
        """Put a member or a piece of one into the current part."""
        self._wires.append(wire)
        self._counts += items
        self.items_left -= items
        self.bytes_left -= len(wire)

    def close(self) -> None:
        """Complete the current part, if there is anything in it, and begin the next."""
        if self._wires:
            self.done.append(self._payload.with_wires(self._wires, items=self._counts))
            self._begin()

    def repeat(self, size: int) -> None:
        """Account for an envelope that is written once more. Ends cutting when it is too much."""
        self._copies_left -= size
        if self._copies_left < 0:
            self._items_max = self._bytes_max = _UNLIMITED


class _Node:
    """A message that is being cut: its envelope, its children, and how far they are taken."""

    __slots__ = (
        "_children",
        "_ends",
        "_envelope",
        "_frame",
        "_has_begun",
        "_inner",
        "_items",
        "_level",
        "_next",
        "_parts",
        "_signal",
        "_size",
    )

    def __init__(self, parts: _Parts, level: int, wire: bytes, items: int) -> None:
        self._parts = parts
        self._signal = signal = parts.signal
        self._items = items
        self._size = len(wire)
        self._level = level
        if level == _METRIC_LEVEL:
            self._level += 1
            self._envelope, self._children = _open_metric(wire, self._items)
        else:
            self._envelope, self._children = _open_group(signal, level, wire)
        self._next = 0
        self._inner: _Node | None = None
        self._has_begun = False
        self._frame = 0
        self._ends: list[int] = []

    @property
    def is_spent(self) -> bool:
        """Whether all of the message has been taken."""
        return self._has_begun and self._inner is None and self._next == len(self._children)

    def take(self, items_max: int, bytes_max: int, *, force: bool) -> _Piece | None:
        """The next piece of the message; ``None`` if nothing fits.

        ``force`` takes the smallest piece there is even if it does not fit.
        """
        room = bytes_max - self._envelope.size
        if not force and (room < 0 or (not self._children and self._items > items_max)):
            return None
        piece = _Piece()
        if not self._children:
            piece.items = self._items
        while self._inner is not None or self._next < len(self._children):
            is_more = self._take_next(
                piece, items_max - piece.items, room - piece.size, force=force and not piece.size
            )
            if not is_more:
                break
        if self._children and not piece.size:
            return None
        if self._has_begun:
            self._parts.repeat(self._envelope.size)
        self._has_begun = True
        self._envelope.put_around(piece)
        return piece

    def _take_next(self, piece: _Piece, items_max: int, room: int, *, force: bool) -> bool:
        """Add children that fit whole, or else a piece of the next one. Whether more may fit."""
        if self._inner is None:
            run = self._fitting(items_max, room)
            if force and not run.length and self._holds_items:
                run = _Run(1, 1, self._frames(self._next, self._next + 1))
            if run.length:
                self._next += run.length
                self._items -= run.items
                piece.add([run.frames], len(run.frames), run.items)
                return True
            if self._holds_items or (items_max <= 0 and not force):
                return False
            self._inner = self._open_next()
        inner = self._inner.take(items_max, room - _FRAME_BYTES_MAX, force=force)
        if inner is None:
            return False
        self._items -= inner.items
        inner.frame(_child(self._signal, self._level)[1])
        piece.add(inner.chunks, inner.size, inner.items)
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
        wire = self._children[self._next]
        self._next += 1
        is_last = self._next == len(self._children)
        items = self._items if is_last else count_items_in(self._signal, self._level + 1, wire)
        return _Node(self._parts, self._level + 1, wire, items)

    def _fitting(self, items_max: int, room: int) -> _Run:
        """The next children that fit whole."""
        start = self._next
        count = len(self._children) - start
        if room < self._size:  # else all fit: written again they are never larger than they were
            count = self._count_within(room)
        if self._holds_items:
            count = min(count, items_max)
            items = count
        elif items_max >= self._items and start + count == len(self._children):
            items = self._items
        elif start + 1 == len(self._children):
            count = items = 0  # the last one has all items that are left: too many
        else:
            return self._fitting_by_items(items_max, start + count)
        return _Run(count, items, self._frames(start, start + count))

    def _count_within(self, room: int) -> int:
        """How many of the next children take at most ``room`` bytes, each with its frame."""
        if not self._ends:
            self._ends = list(accumulate(map(len, self._children), initial=0))
            self._frame = 1 + len(varint(max(map(len, self._children))))
        start, ends, frame = self._next, self._ends, self._frame
        base = ends[start] + start * frame
        return bisect_right(
            range(start + 1, len(self._children) + 1),
            room,
            key=lambda end: ends[end] + end * frame - base,
        )

    def _fitting_by_items(self, items_max: int, end: int) -> _Run:
        """The next children that fit, none of them an item itself, of those before ``end``.

        Counting a run of children costs far less than counting them one by one, so it guesses how
        many it takes from the mean, corrects, and halves what turned out to be too much.
        """
        at = self._next
        density = max(1, self._items) / (len(self._children) - at)
        step = end - at
        items = 0
        runs: list[bytes] = []
        is_bounded = False
        while at < end and items < items_max:
            if not is_bounded:
                step = max(1, min(int((items_max - items) / density), end - at))
            frames = self._frames(at, at + step)
            found = count_items_in(self._signal, self._level, frames)
            if items + found <= items_max:
                items += found
                at += step
                runs.append(frames)
                step = (end - at + 1) // 2
            elif step == 1:
                break
            else:
                end, is_bounded = at + step, True
                step //= 2
        return _Run(at - self._next, items, b"".join(runs))

    def _frames(self, start: int, end: int) -> bytes:
        """Children as they stand in their parent."""
        signal, level = self._signal, self._level
        shell: Any = merged_view(signal, level, CONTAINERS[signal][level])()
        getattr(shell, _child(signal, level)[0]).extend(self._children[start:end])
        return shell.SerializePartialToString()  # type: ignore[no-any-return]  # of protobuf


class _Run(NamedTuple):
    """Children that stand one after the other, as they stand in their parent."""

    length: int
    items: int
    frames: bytes


class _Piece:
    """A message as it grows from the inside, in chunks that are joined only once."""

    __slots__ = ("chunks", "items", "size")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self.items = 0

    def add(self, chunks: list[bytes], size: int, items: int) -> None:
        """Append what holds ``items`` items."""
        self.chunks += chunks
        self.size += size
        self.items += items

    def put_before(self, prefix: bytes) -> None:
        """Prepend fields."""
        self.chunks.insert(0, prefix)
        self.size += len(prefix)

    def frame(self, number: int) -> None:
        """Make a field of all that is there."""
        self.put_before(length_prefix(number, self.size))


class _Envelope(NamedTuple):
    """All of a message but its children: fields before them, and for metrics, ``data``'s fields."""

    before: bytes
    data_number: int = 0
    data: bytes = b""

    @property
    def size(self) -> int:
        """Bytes at most that it adds around the children."""
        return len(self.before) + len(self.data) + (_FRAME_BYTES_MAX if self.data_number else 0)

    def put_around(self, piece: _Piece) -> None:
        """Make the message of its children."""
        if self.data_number:
            piece.put_before(self.data)
            piece.frame(self.data_number)
        piece.put_before(self.before)


def _open_group(signal: Signal, level: int, wire: bytes) -> tuple[_Envelope, list[bytes]]:
    """Take a request, resource group or scope group apart."""
    name = _child(signal, level)[0]
    shell: Any = _parse(merged_view(signal, level, CONTAINERS[signal][level]), wire)
    children = list(getattr(shell, name))
    shell.ClearField(name)
    return _Envelope(shell.SerializePartialToString()), children


def _open_metric(wire: bytes, items: int) -> tuple[_Envelope, list[bytes]]:
    """Take a metric apart, unless it has two kinds of data: that one is all envelope."""
    metric: Any = _parse(view(Signal.METRICS, Depth.RECORD, "Metric"), wire)
    kind = metric.WhichOneof("data")
    if kind is None or len(getattr(metric, kind).data_points) != items:
        return _Envelope(wire), []
    data = getattr(metric, kind)
    points = list(data.data_points)
    data.ClearField("data_points")
    around = data.SerializePartialToString()
    number = metric.DESCRIPTOR.fields_by_name[kind].number
    metric.ClearField(kind)
    return _Envelope(metric.SerializePartialToString(), number, around), points


def _parse(kind: type[Message], wire: bytes) -> Message:
    try:
        return kind.FromString(wire)
    except DecodeError as error:
        raise MalformedError(f"no protobuf {kind.DESCRIPTOR.name}: {error}") from error


@cache
def _child(signal: Signal, level: int) -> tuple[str, int]:
    """The name and number of the field in which a message of this level holds its children."""
    name = PATHS[signal][level][0]
    return name, merged_view(signal, level, CONTAINERS[signal][level]).DESCRIPTOR.fields_by_name[
        name
    ].number
