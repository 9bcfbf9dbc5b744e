"""Streams as push requests of limited size, in lanes that may be sent at the same time.

No stream is in two lanes, and the requests of a lane follow one another: so the entries of every
stream arrive in their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mlsysops_exporters.loki.encoding import stream_field, stream_head

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_exporters.loki.streams import Streams

_STREAM_BYTES = 12
"""What a stream adds to a request beside its labels and entries."""


class Request(NamedTuple):
    """One push: for whom, its bytes before compression, and how many records it has."""

    tenant: str
    body: bytes
    items: int


Lane = list[Request]


def lanes(streams: Streams, bytes_max: int) -> list[Lane]:
    """Requests for all streams. A single entry may be larger than the limit, and goes alone."""
    found: list[Lane] = []
    for tenant, by_labels in streams.tenants.items():
        found += _Packing(tenant, bytes_max).packed(by_labels.items())
    return found


class _Packing:
    """The requests of one tenant, while they are made."""

    def __init__(self, tenant: str, bytes_max: int) -> None:
        self._tenant = tenant
        self._bytes_max = bytes_max
        self._lanes: list[Lane] = []
        self._lane: Lane = []
        self._parts: list[bytes] = []
        self._size = 0
        self._items = 0

    def packed(self, streams: Iterable[tuple[str, list[bytes]]]) -> list[Lane]:
        for labels, entries in streams:
            self._add(stream_head(labels), entries)
        self._end_request()
        self._end_lane()
        return self._lanes

    def _add(self, head: bytes, entries: list[bytes]) -> None:
        own = len(head) + _STREAM_BYTES
        is_full = self._size and self._size + own + len(entries[0]) > self._bytes_max
        if is_full or self._lane:  # a lane of several requests is that of one large stream
            self._end_request()
            self._end_lane()
        start = 0
        self._size += own
        for index, entry in enumerate(entries):
            if index > start and self._size + len(entry) > self._bytes_max:
                self._take(head, entries[start:index])
                self._end_request()
                start = index
                self._size = own
            self._size += len(entry)
        self._take(head, entries[start:])

    def _take(self, head: bytes, entries: list[bytes]) -> None:
        self._parts.append(stream_field(head, entries))
        self._items += len(entries)

    def _end_request(self) -> None:
        if self._parts:
            self._lane.append(Request(self._tenant, b"".join(self._parts), self._items))
        self._parts = []
        self._size = self._items = 0

    def _end_lane(self) -> None:
        if self._lane:
            self._lanes.append(self._lane)
        self._lane = []
