"""Merging requests into batches: what to send, and when. Shared by queues and `batch`.

Nothing here waits, sends or asks for the time. A `Batcher` is told of payloads and of the moment,
and answers with the batches that are complete. Payloads are merged by reference: members keep
their boundaries, and nothing is copied before an exporter joins them.

Rules (CV-1): a batch is complete when it reaches ``min_size`` (or 16 MiB, so that large items do
not fill whoever holds it), or ``flush_s`` after its first request. What is larger than ``max_size``
is split into pieces of that size, and the last piece, when smaller than ``min_size``, is where the
next batch begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.payload import Metadata, Payload

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlsysops_pipeline.delivery.receipts import Receipt

PARTITIONS_MAX = 10_000
"""Batches that one batcher keeps open at a time; the oldest is completed early beyond that."""

BATCH_BYTES = 16 * 1024 * 1024
"""A batch of this many bytes is complete, however few items they are."""

Key: TypeAlias = tuple[tuple[str, ...], ...]
"""The values of the metadata keys, in their order; empty where a header is missing."""


@dataclass(frozen=True, slots=True)
class BatchRules:
    """When a batch is complete and how large it may be, in units of ``sizer``.

    ``max_size`` 0: no limit. ``metadata_keys``: headers whose values must agree in a batch, in
    lower case.
    """

    sizer: Literal["items", "bytes"] = "items"
    min_size: int = 8192
    max_size: int = 0
    flush_s: float = 0.2
    metadata_keys: tuple[str, ...] = ()


class Batch:
    """Requests that are sent as one, or one piece of requests that were too large together.

    ``parts`` are the requests, or the single piece. ``requests`` counts the requests that end
    here: pieces of one request count it once. ``receipts``: who waits for the result, and with
    how many items. ``flush_at``: the moment at which it is complete whatever its size.
    """

    __slots__ = ("by_timeout", "flush_at", "items", "key", "parts", "receipts", "requests", "size")

    def __init__(
        self,
        key: Key = (),
        flush_at: float = 0.0,
        *,
        parts: list[Payload],
        items: int = 0,
        size: int = 0,
        requests: int = 0,
    ) -> None:
        self.key = key
        self.flush_at = flush_at
        self.by_timeout = False
        self.parts = parts
        self.items = items
        self.size = size
        self.requests = requests
        self.receipts: list[tuple[Receipt, int]] = []

    def without_first(self) -> Batch:
        """Take the oldest request out, as a batch of its own; pieces cannot be taken apart."""
        first = self.parts.pop(0)
        out = Batch(self.key, parts=[first], items=first.items, size=first.size, requests=1)
        covered = 0
        while self.receipts and covered < out.items:
            out.receipts.append(self.receipts.pop(0))
            covered += out.receipts[-1][1]
        self.items -= out.items
        self.size -= out.size
        self.requests -= 1
        return out

    def absorb(self, other: Batch) -> None:
        """Send another one, that waits behind it, as a part of this one."""
        self.parts += other.parts
        self.items += other.items
        self.size += other.size
        self.requests += other.requests
        self.receipts += other.receipts

    def halves(self) -> tuple[Batch, Batch]:
        """The same requests in two batches. There must be two requests or more."""
        middle = len(self.parts) // 2
        return self._of(self.parts[:middle]), self._of(self.parts[middle:])

    def _of(self, parts: list[Payload]) -> Batch:
        items = sum(part.items for part in parts)
        size = sum(part.size for part in parts)
        batch = Batch(self.key, parts=parts, items=items, size=size, requests=len(parts))
        batch.by_timeout = self.by_timeout
        return batch

    def merged(self, metadata_keys: tuple[str, ...]) -> Payload:
        """All parts as one payload, by reference; what is known of their items stays known."""
        return Payload.merge(self.parts, self.metadata(metadata_keys))

    def metadata(self, metadata_keys: tuple[str, ...]) -> Metadata:
        """What is true of the batch, whatever came along in it.

        That is the largest hop count, and the headers by which requests were kept apart. It holds
        for a batch of one request as well: what a component behind it sees must not depend on how
        busy the collector is.
        """
        hops = max([part.metadata.hops for part in self.parts])
        pairs = zip(metadata_keys, self.key, strict=True)
        headers = {name: values for name, values in pairs if values}
        return Metadata(hops=hops, headers=headers) if headers else Metadata(hops=hops)

    @property
    def items_waited_for(self) -> int:
        """Items whose sender is still there and gets them back if they fail."""
        return sum(items for receipt, items in self.receipts if receipt.is_waited_for)

    def __repr__(self) -> str:
        return f"<Batch requests={self.requests} items={self.items} bytes={self.size}>"


class Batcher:
    """Sorts requests into open batches and completes them. ``items``, ``size``: what is open."""

    __slots__ = ("_by_items", "_open", "items", "rules", "size")

    def __init__(self, rules: BatchRules) -> None:
        self.rules = rules
        self.items = 0
        self.size = 0
        self._by_items = rules.sizer == "items"
        # In the order of opening, and so, as all wait equally long, in the order of completion.
        self._open: dict[Key, Batch] = {}

    def key(self, payload: Payload) -> Key:
        """Which batch a payload belongs to."""
        headers = payload.metadata.headers
        return tuple(headers.get(name, ()) for name in self.rules.metadata_keys)

    def add(
        self, payload: Payload, items: int, size: int, now: float, receipt: Receipt | None = None
    ) -> Sequence[Batch]:
        """Take one request; the batches that are complete now, in order."""
        rules = self.rules
        key = self.key(payload) if rules.metadata_keys else ()
        completed: list[Batch] = []
        batch = self._open.get(key)
        if batch is None:
            if len(self._open) >= PARTITIONS_MAX:
                completed.append(self._close(next(iter(self._open))))
            batch = self._open[key] = Batch(key, now + rules.flush_s, parts=[])
        batch.parts.append(payload)
        batch.items += items
        batch.size += size
        batch.requests += 1
        self.items += items
        self.size += size
        if receipt is not None:
            batch.receipts.append((receipt, items))
        total = batch.items if self._by_items else batch.size
        if total >= rules.min_size or batch.size >= BATCH_BYTES:
            self._close(key)
            if rules.max_size and total > rules.max_size:
                completed += self._in_pieces(batch, now)
            else:
                completed.append(batch)
        return completed

    def due(self, now: float) -> list[Batch]:
        """Complete what has waited long enough."""
        keys = []
        for key, batch in self._open.items():
            if batch.flush_at > now:
                break
            keys.append(key)
        return self._close_by_time(keys)

    def flush(self) -> list[Batch]:
        """Complete everything."""
        return self._close_by_time(list(self._open))

    @property
    def next_due(self) -> float | None:
        """When `due` has something to do; ``None`` while nothing is open."""
        for batch in self._open.values():
            return batch.flush_at
        return None

    @property
    def oldest(self) -> Batch | None:
        """The batch that was opened first."""
        return next(iter(self._open.values()), None)

    def evict_oldest(self) -> Batch | None:
        """Take out the oldest request of the oldest batch."""
        batch = self.oldest
        if batch is None:
            return None
        if len(batch.parts) == 1:
            return self._close(batch.key)
        out = batch.without_first()
        self.items -= out.items
        self.size -= out.size
        return out

    def _close(self, key: Key) -> Batch:
        batch = self._open.pop(key)
        self.items -= batch.items
        self.size -= batch.size
        return batch

    def _close_by_time(self, keys: Iterable[Key]) -> list[Batch]:
        batches = [self._close(key) for key in keys]
        for batch in batches:
            batch.by_timeout = True
        return batches

    def _in_pieces(self, batch: Batch, now: float) -> list[Batch]:
        """Split a batch that is too large; a last piece that is too small is kept open."""
        rules = self.rules
        payload = Payload.merge(batch.parts, batch.metadata(rules.metadata_keys))
        limits = {"items_max" if self._by_items else "bytes_max": rules.max_size}
        pieces = [
            Batch(batch.key, parts=[piece], items=piece.items, size=piece.size)
            for piece in split_or_keep(payload, **limits)
        ]
        # Every request but the one that made the batch too large ends in the first piece.
        pieces[0].requests = batch.requests - 1
        pieces[-1].requests += 1
        _share_receipts(batch, pieces)
        last = pieces[-1]
        if (last.items if self._by_items else last.size) < rules.min_size:
            pieces.pop()
            last.flush_at = now + rules.flush_s
            self._open[last.key] = last
            self.items += last.items
            self.size += last.size
        return pieces

    def __repr__(self) -> str:
        return f"<Batcher open={len(self._open)} items={self.items} bytes={self.size}>"


def _share_receipts(batch: Batch, pieces: Sequence[Batch]) -> None:
    """Give every piece the receipts of the requests that it has items of (order is kept)."""
    if not batch.receipts:
        return
    index = 0
    room = pieces[0].items
    for receipt, items in batch.receipts:
        left = items
        first = True
        while left:
            if not room:
                index += 1
                room = pieces[index].items
            part = min(left, room)
            if not first:
                receipt.pieces += 1
            first = False
            pieces[index].receipts.append((receipt, part))
            left -= part
            room -= part


def split_or_keep(payload: Payload, *, items_max: int = 0, bytes_max: int = 0) -> list[Payload]:
    """Split a payload; a member that is too broken to be split stays whole, beside the others.

    Whether its bytes are acceptable is for the destination to say (design, "Validation").
    """
    # Only who splits pays for the views that it takes.
    from mlsysops_pipeline.pdata.splitting import split  # noqa: PLC0415

    try:
        return split(payload, items_max=items_max, bytes_max=bytes_max)
    except MalformedError:
        pieces: list[Payload] = []
        for wire in payload.wires:
            member = payload.with_wires(wire)
            try:
                pieces += split(member, items_max=items_max, bytes_max=bytes_max)
            except MalformedError:
                pieces.append(member)
        return pieces
