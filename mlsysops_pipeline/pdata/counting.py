"""How many items a request holds, and whether it holds too many of anything.

Counting merges all ancestors of the items (see `Depth.COUNTING`), so that a handful of ``len()``
is the count, whatever the number of resources, scopes and metrics. What protobuf itself would
discard is counted too: a metric with a ``gauge`` and then a ``sum`` counts the points of both,
though a reader gets only the last. No encoder writes such metrics.
"""

from __future__ import annotations

import sys
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError, TooLargeError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import CONTAINERS, PATHS, Depth, merged_view, view
from mlsysops_pipeline.pdata.wire import fields, message_tag

if TYPE_CHECKING:
    from collections.abc import Callable

ELEMENTS_MAX = 200_000
"""Elements of a request unless configured: resource groups, scope groups, metrics and items."""

_METRIC_LEVEL = 3

_ELEMENT_BYTES_MIN = 2
"""The shortest message inside another: its tag and a length of zero."""

_CHUNK_BYTES = 1_310_720
"""Most bytes that are parsed at once while it is unknown how many elements they hold. Each takes
up to 30 bytes while it is counted: 18 MB for a chunk of nothing but empty messages."""

_OTHERS_MAX = 10_000
"""Fields in a chunk that are no elements, when a message is cut into chunks: it has five or so."""


_NESTING_MAX = 100
"""Levels that protobuf follows. What nests deeper is never opened."""


def count_items(signal: Signal, wire: bytes) -> int:
    """Data points, log records or spans in one serialized request.

    Raises `MalformedError` if the framing is broken anywhere down to the item; what is in an item
    is not looked at.
    """
    return _item_counter(signal, 0)(wire)


def count_items_in(signal: Signal, level: int, wire: bytes) -> int:
    """The same for a message inside a request: the one called ``CONTAINERS[signal][level]``."""
    return _item_counter(signal, level)(wire)


def check_elements(signal: Signal, wire: bytes, limit: int = ELEMENTS_MAX) -> None:
    """Refuse a request that would take far more memory than its bytes once it is opened.

    Raises `TooLargeError` if resource groups, scope groups, metrics and items together are more
    than ``limit`` (0: no limit), and `MalformedError` if it meets broken framing. In an item of
    over 1.25 MiB, which may be made of tiny attributes, each field counts as well.

    Free below two bytes an element, half the cost of counting above, never more than about 20 MB
    of memory.
    """
    if limit and len(wire) // _ELEMENT_BYTES_MIN > limit:
        _Tally(signal, wire, limit).count()


def count_checked(signal: Signal, wire: bytes, limit: int = ELEMENTS_MAX) -> int:
    """`check_elements` and `count_items` in one, for less than both."""
    return checked_counter(signal, limit)(wire)


@cache
def checked_counter(signal: Signal, limit: int = ELEMENTS_MAX) -> Callable[[bytes], int]:
    """`count_checked` for requests of one signal: for who counts each of them."""
    count = _item_counter(signal, 0)
    small = limit * _ELEMENT_BYTES_MIN + _ELEMENT_BYTES_MIN - 1 if limit else sys.maxsize

    def count_one(wire: bytes) -> int:
        if len(wire) <= small:
            return count(wire)
        tally = _Tally(signal, wire, limit)
        tally.count()
        return tally.items

    return count_one


@cache
def _item_counter(signal: Signal, level: int) -> Callable[[bytes], int]:
    """A function from a serialized message of kind ``level`` to the number of items in it."""
    parse = view(signal, Depth.COUNTING, CONTAINERS[signal][level]).FromString
    if signal is not Signal.METRICS or level > _METRIC_LEVEL:
        return _counter(parse, signal, level, len(PATHS[signal]))
    metrics = attrgetter(".".join(names)) if (names := _steps(signal, level, 3)) else _same

    def count(wire: bytes) -> int:
        try:
            data = metrics(parse(wire)).ListFields()
        except DecodeError as error:
            raise _malformed(signal, error) from error
        items = 0
        for _, member in data:
            if type(member) is not bytes:  # its name, description and unit are
                items += len(member.data_points)
        return items

    return count


@cache
def _container_counters(signal: Signal, level: int) -> list[Callable[[bytes], int]]:
    """Functions that count, in a message of kind ``level``, the groups and metrics in it."""
    name = CONTAINERS[signal][level]
    return [
        _counter(merged_view(signal, closed, name).FromString, signal, level, closed + 1)
        for closed in range(level, min(len(PATHS[signal]) - 1, _METRIC_LEVEL))
    ]


def _counter(
    parse: Callable[[bytes], Any], signal: Signal, level: int, end: int
) -> Callable[[bytes], int]:
    """A function that parses a message of kind ``level`` and follows the path up to ``end``."""
    elements = attrgetter(".".join(_steps(signal, level, end)))

    def count(wire: bytes) -> int:
        try:
            return len(elements(parse(wire)))
        except DecodeError as error:
            raise _malformed(signal, error) from error

    return count


def _steps(signal: Signal, start: int, end: int) -> list[str]:
    return [names[0] for names in PATHS[signal][start:end]]


def _same(message: Any) -> Any:
    return message


def _malformed(signal: Signal, error: DecodeError) -> MalformedError:
    return MalformedError(f"no protobuf request of {signal}: {error}")


@cache
def child_tags(signal: Signal, level: int) -> frozenset[int]:
    """The tags of the fields in which a ``CONTAINERS[signal][level]`` holds the next level."""
    found = view(signal, Depth.COUNTING, CONTAINERS[signal][level]).DESCRIPTOR.fields
    names = PATHS[signal][level]
    return frozenset(message_tag(field.number) for field in found if field.name in names)


class _Tally:
    """Counts the elements of one request, a bounded chunk at a time."""

    __slots__ = ("_left", "_limit", "_signal", "_wire", "items")

    def __init__(self, signal: Signal, wire: bytes, limit: int) -> None:
        self._signal = signal
        self._wire = wire
        self._limit = limit
        self._left = limit
        self.items = 0

    def count(self) -> None:
        """Count all of the request."""
        end = len(self._wire)
        if end <= _CHUNK_BYTES:
            self._parse(0, 0, end)
        else:
            self._walk(0, view(self._signal, Depth.FULL).DESCRIPTOR, 0, end)

    def _walk(self, level: int, message: Any, start: int, end: int) -> None:
        """Count what is in a ``message`` that is larger than a chunk and lies at ``start:end``.

        Levels: 0 the request, 1 a resource group, 2 a scope group, 3 a metric, 4 its data.
        """
        begun = start
        children = others = 0
        tags = child_tags(self._signal, level)
        for tag, first, content, last in fields(self._wire, start, end):
            is_child = tag in tags
            children += is_child
            others += not is_child
            if children > self._left or others > _OTHERS_MAX:
                self._refuse()
            if last - begun <= _CHUNK_BYTES:
                continue
            self._parse(level, begun, first)
            begun = first
            children = others = 0
            if last - first > _CHUNK_BYTES:
                begun = last
                if is_child:
                    self._spend(1)
                    self._descend(level + 1, message.fields_by_number[tag >> 3], content, last)
        self._parse(level, begun, end)

    def _descend(self, level: int, field: Any, start: int, end: int) -> None:
        """Count what is in one message that may be larger than a chunk, itself counted."""
        if level == len(PATHS[self._signal]):
            self.items += 1
            self._walk_item(field.message_type, start, end, 1)
        elif end - start > _CHUNK_BYTES:
            self._walk(level, field.message_type, start, end)
        else:
            self._parse(level, start, end)

    def _walk_item(self, message: Any, start: int, end: int, nesting: int) -> None:
        """Count every field of an item that is larger than a chunk: each could be a message.

        Whoever opens such an item opens messages of two bytes each as well. Ordinary items are
        not looked at: what they can take is bounded by their size.
        """
        for tag, first, content, last in fields(self._wire, start, end):
            self._spend(1)
            field = message.fields_by_number.get(tag >> 3)
            is_message = (
                field is not None and message_tag(field.number) == tag and field.message_type
            )
            if is_message and last - first > _CHUNK_BYTES and nesting < _NESTING_MAX:
                self._walk_item(field.message_type, content, last, nesting + 1)

    def _parse(self, level: int, start: int, end: int) -> None:
        """Count what is in a piece of a message of kind ``level``."""
        if start == end:
            return
        chunk = self._wire[start:end]
        for count in _container_counters(self._signal, level):
            self._spend(count(chunk))
        items = _item_counter(self._signal, level)(chunk)
        self.items += items
        self._spend(items)

    def _spend(self, elements: int) -> None:
        self._left -= elements
        if self._left < 0:
            self._refuse()

    def _refuse(self) -> None:
        raise TooLargeError(
            f"the request holds more than {self._limit} resources, scopes, metrics and "
            f"{self._signal.item_noun}"
        )
