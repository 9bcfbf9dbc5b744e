"""Filling requests of limited size with series, so that no two of them need each other's order."""

from __future__ import annotations

import operator
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from mlsysops_exporters.prometheusremotewrite.encoding import labels_of, series

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Request:
    """The body of one request, uncompressed, with what to remember when it arrived.

    ``items``: OTLP data points in it. ``times_ms``: the newest sample of each series in it; it can
    be gone through once.
    """

    __slots__ = ("body", "items", "times_ms")

    def __init__(self, body: bytes, items: int, times_ms: Iterable[tuple[bytes, int]]) -> None:
        self.body = body
        self.items = items
        self.times_ms = times_ms

    def __repr__(self) -> str:
        return f"<Request bytes={len(self.body)} items={self.items}>"


class Unusual:
    """A series with several samples, exemplars or native histograms.

    ``fields``: what it has at which time, in milliseconds, in that order. ``wire``: all of it.
    """

    __slots__ = ("exemplars", "fields", "head", "is_item", "wire")

    def __init__(
        self,
        head: bytes,
        fields: list[tuple[int, bytes]],
        exemplars: list[bytes],
        *,
        is_item: bool,
    ) -> None:
        self.head = head
        self.fields = fields
        self.exemplars = exemplars
        self.is_item = is_item
        self.wire = series(labels_of(head), [*[one for _, one in fields], *exemplars])

    def __repr__(self) -> str:
        return f"<Unusual fields={len(self.fields)} exemplars={len(self.exemplars)}>"


def pack(
    samples: Mapping[bytes, bytes],
    times_ms: Sequence[tuple[bytes, int]],
    beside: set[bytes],
    bytes_max: int,
    first: bytes,
) -> list[list[Request]]:
    """Lanes of one request each, for series of the usual form: heads, and what follows them.

    ``beside``: those that are no items. ``first``: what the first request begins with. There may be
    tens of thousands of series, so nothing here is done for each of them in Python.
    """
    wires = list(map(operator.add, samples, samples.values()))
    ends = list(accumulate(map(len, wires)))
    lanes: list[list[Request]] = []
    start = 0
    while start < len(wires):
        room = bytes_max - len(first) + (ends[start - 1] if start else 0)
        stop = max(start + 1, bisect_right(ends, room, start))
        times = times_ms[start:stop]
        items = stop - start
        if beside:
            items -= len(beside.intersection([head for head, _ in times]))
        lanes.append([Request(b"".join([first, *wires[start:stop]]), items, times)])
        start, first = stop, b""
    return lanes


class Packing:
    """Fills requests with other series; one that is too large for one gets a lane of its own.

    ``first``: what the first request begins with.
    """

    def __init__(self, bytes_max: int, first: bytes) -> None:
        self._bytes_max = bytes_max
        self._lanes: list[list[Request]] = []
        self._parts = [first] if first else []
        self._size = len(first)
        self._items = 0
        self._times_ms: list[tuple[bytes, int]] = []

    def add(self, one: Unusual) -> None:
        """A whole series."""
        size = len(one.wire)
        if size > self._bytes_max:
            self._lanes.append(self._in_pieces(one))
            return
        if self._parts and self._size + size > self._bytes_max:
            self._close()
        self._parts.append(one.wire)
        self._size += size
        self._items += len(one.fields) if one.is_item else 0
        self._times_ms.append((one.head, one.fields[-1][0]))

    def _in_pieces(self, one: Unusual) -> list[Request]:
        """The samples of one series as requests that have to follow one another."""
        labels = labels_of(one.head)
        runs: list[list[tuple[int, bytes]]] = [[]]
        size = len(labels)
        for time_ms, field in one.fields:
            if runs[-1] and size + len(field) > self._bytes_max:
                runs.append([])
                size = len(labels)
            runs[-1].append((time_ms, field))
            size += len(field)
        return [
            Request(
                series(labels, [field for _, field in run]),  # exemplars are left out
                len(run) if one.is_item else 0,
                [(one.head, run[-1][0])],
            )
            for run in runs
        ]

    def _close(self) -> None:
        if self._parts:
            request = Request(b"".join(self._parts), self._items, self._times_ms)
            self._lanes.append([request])
        self._parts, self._size, self._items, self._times_ms = [], 0, 0, []

    def finish(self) -> list[list[Request]]:
        """The lanes."""
        self._close()
        return self._lanes

    def __repr__(self) -> str:
        return f"<Packing lanes={len(self._lanes)} bytes={self._size}>"
