"""The sending queue: what it holds, what still fits, what comes next. It never waits.

Requests go in one by one and come out as batches (of one request each, if batching is off).
What has been taken out counts until it is released, so the limits hold for data in flight too
(components, A7: "the size includes requests in flight until they finish").
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mlsysops_pipeline.delivery.batching import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlsysops_pipeline.delivery.batching import Batcher
    from mlsysops_pipeline.delivery.config import Sizer
    from mlsysops_pipeline.delivery.receipts import Receipt
    from mlsysops_pipeline.memory import MemoryAccount
    from mlsysops_pipeline.pdata.payload import Payload


class Queue:
    """Bounded by ``capacity`` in units of ``sizer`` and by ``bytes_max``.

    ``requests``, ``items``, ``size`` (bytes): what is in it or in flight. Bytes are charged to
    ``memory``. ``ready``: batches that are complete, in order.
    """

    __slots__ = (
        "_batcher",
        "_memory",
        "bytes_max",
        "capacity",
        "items",
        "ready",
        "requests",
        "size",
        "sizer",
    )

    def __init__(
        self,
        sizer: Sizer,
        capacity: int,
        bytes_max: int,
        batcher: Batcher | None,
        memory: MemoryAccount,
    ) -> None:
        self.sizer = sizer
        self.capacity = capacity
        self.bytes_max = bytes_max
        self.requests = 0
        self.items = 0
        self.size = 0
        self.ready: deque[Batch] = deque()
        self._batcher = batcher
        self._memory = memory

    @property
    def used(self) -> int:
        """What is in the queue and in flight, in units of ``sizer``."""
        if self.sizer == "requests":
            return self.requests
        return self.items if self.sizer == "items" else self.size

    def fits(self, items: int, size: int) -> bool:
        """Whether there is room for a request now."""
        if self.size + size > self.bytes_max:
            return False
        if self.sizer == "requests":  # the usual case, which is asked once a request
            return self.requests < self.capacity
        return self.used + self._amount(items, size) <= self.capacity

    def seems_full(self, size: int) -> bool:
        """Whether there is probably no room for a request of which only its bytes are known.

        Processors may still make it larger or smaller, and its items are guessed from those that
        are here.
        """
        if not self.requests:
            return False
        if self.size + size > self.bytes_max or self.requests >= self.capacity:
            return True
        return self.sizer != "requests" and not self.fits(self.items // self.requests, size)

    def can_ever_fit(self, items: int, size: int) -> bool:
        """Whether an empty queue would have room for a request."""
        return self._amount(items, size) <= self.capacity and size <= self.bytes_max

    def _amount(self, items: int, size: int) -> int:
        if self.sizer == "requests":
            return 1
        return items if self.sizer == "items" else size

    def add(
        self, payload: Payload, items: int, size: int, now: float, receipt: Receipt | None = None
    ) -> int:
        """Take a request that fits; how many batches became ready by it."""
        self.requests += 1
        self.items += items
        self.size += size
        self._memory.charge(size)
        batcher = self._batcher
        if batcher is None:
            batch = Batch(parts=[payload], items=items, size=size, requests=1)
            if receipt is not None:
                batch.receipts.append((receipt, items))
            self.ready.append(batch)
            return 1
        open_before = batcher.size + size
        completed = batcher.add(payload, items, size, now, receipt)
        if completed:
            # Pieces repeat the resource they belong to, so splitting changes the number of bytes.
            grown = batcher.size + sum(batch.size for batch in completed) - open_before
            self.size += grown
            self._memory.charge(grown)
            self.ready += completed
        return len(completed)

    def complete_due(self, now: float) -> int:
        """Make ready what has waited long enough; how many batches that is."""
        return 0 if self._batcher is None else self._append(self._batcher.due(now))

    def complete_all(self) -> int:
        """Make everything ready; how many batches that is."""
        return 0 if self._batcher is None else self._append(self._batcher.flush())

    def _append(self, batches: Sequence[Batch]) -> int:
        self.ready += batches
        return len(batches)

    @property
    def next_due(self) -> float | None:
        """When `complete_due` has something to do."""
        return None if self._batcher is None else self._batcher.next_due

    def release(self, batch: Batch) -> None:
        """What was taken out of ``ready`` is no longer in flight."""
        self.requests -= batch.requests
        self.items -= batch.items
        self.size -= batch.size
        self._memory.release(batch.size)

    def evict_oldest(self) -> Batch | None:
        """Take out and release what has waited longest, as little as possible of it.

        ``None``: nothing is waiting; the rest is in flight.
        """
        out: Batch | None = None
        if self.ready:
            oldest = self.ready[0]
            is_whole = len(oldest.parts) == 1
            out = self.ready.popleft() if is_whole else oldest.without_first()
        elif self._batcher is not None:
            out = self._batcher.evict_oldest()
        if out is not None:
            self.release(out)
        return out

    def take_everything(self) -> Iterable[Batch]:
        """Complete, take out and release all that is waiting."""
        self.complete_all()
        while self.ready:
            batch = self.ready.popleft()
            self.release(batch)
            yield batch

    def __repr__(self) -> str:
        return (
            f"<Queue {self.used}/{self.capacity} {self.sizer} bytes={self.size}/{self.bytes_max} "
            f"ready={len(self.ready)}>"
        )
