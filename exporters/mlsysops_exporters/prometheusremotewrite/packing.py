"""Filling requests of limited size with series, so that no two of them need each other's order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_exporters.prometheusremotewrite.encoding import labels_of, series

if TYPE_CHECKING:
    from collections.abc import Iterable


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


class Packing:
    """Fills requests; a series that is too large for one gets a lane of its own."""

    def __init__(self, bytes_max: int, metadata: bytes) -> None:
        self._bytes_max = bytes_max
        self._lanes: list[list[Request]] = []
        self._parts = [metadata] if metadata else []
        self._size = len(metadata)
        self._items = 0
        self._times_ms: list[tuple[bytes, int]] = []

    def add(self, wire: bytes, items: int, head: bytes, time_ms: int) -> None:
        """A whole series; ``time_ms`` is that of its newest sample."""
        if self._parts and self._size + len(wire) > self._bytes_max:
            self._close()
        self._parts.append(wire)
        self._size += len(wire)
        self._items += items
        self._times_ms.append((head, time_ms))

    def add_unusual(self, one: Unusual) -> None:
        """A series that may be too large for one request."""
        items = len(one.fields) if one.is_item else 0
        if len(one.wire) <= self._bytes_max:
            self.add(one.wire, items, one.head, one.fields[-1][0])
            return
        labels = labels_of(one.head)
        runs: list[list[tuple[int, bytes]]] = [[]]
        size = len(labels)
        for time_ms, field in one.fields:
            if runs[-1] and size + len(field) > self._bytes_max:
                runs.append([])
                size = len(labels)
            runs[-1].append((time_ms, field))
            size += len(field)
        self._lanes.append(
            [
                Request(
                    series(labels, [field for _, field in run]),  # exemplars are left out
                    len(run) if one.is_item else 0,
                    [(one.head, run[-1][0])],
                )
                for run in runs
            ]
        )

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
