"""The front of a sending queue: what is taken, what waits for room, what is refused or dropped."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mlsysops_pipeline.delivery.batching import Batcher, BatchRules
from mlsysops_pipeline.delivery.queue import Queue
from mlsysops_pipeline.delivery.receipts import Receipt
from mlsysops_pipeline.delivery.workers import Workers
from mlsysops_pipeline.errors import (
    Code,
    DropReason,
    PermanentError,
    QueueFullError,
    RetryableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.clock import Timer
    from mlsysops_pipeline.component import Rest, Settings
    from mlsysops_pipeline.delivery.books import Books
    from mlsysops_pipeline.delivery.causes import CauseLog
    from mlsysops_pipeline.delivery.config import QueueConfig
    from mlsysops_pipeline.delivery.courier import Courier
    from mlsysops_pipeline.pdata.payload import Payload
    from mlsysops_pipeline.pdata.signal import Signal

RETRY_AFTER_S = 1.0
"""When a refused sender may try again: about how long a full queue takes to get room."""
READ_WHEN_FULL_MAX = 20
"""Requests a second that are read although the queue seems full: they are counted by items, and
what is smaller than it seems (a filter leaves little of it) is not kept out for ever."""


class _Blocked(NamedTuple):
    """A request whose sender waits for room in the queue."""

    taken: asyncio.Future[None]
    payload: Payload
    items: int
    size: int
    receipt: Receipt | None


class Intake:
    """A queue as its producers see it, with the workers behind it.

    ``on_end`` is called whenever a delivery has ended.
    """

    def __init__(
        self,
        plan: QueueConfig,
        settings: Settings,
        signal: Signal,
        books: Books,
        courier: Courier,
        *,
        causes: CauseLog,
        on_end: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._clock = settings.clock
        self._signal = signal
        self._books = books
        self._causes = causes
        self._on_end = on_end
        rules = _batch_rules(plan)
        self._is_batching = rules is not None
        self.queue = Queue(
            plan.sizer,
            plan.queue_size,
            plan.bytes_max,
            None if rules is None else Batcher(rules),
            settings.memory,
        )
        self.workers = Workers(
            self.queue,
            courier,
            books,
            settings,
            name=f"{settings.id} {signal}",
            workers_max=plan.num_consumers,
            merged_bytes_max=plan.merged_bytes_max,
            metadata_keys=None if rules is None else rules.metadata_keys,
            on_room=self._admit_blocked,
        )
        books.observe_queue(self.queue)
        self._blocked: deque[_Blocked] = deque()
        self._flush: Timer | None = None
        self._refuses = plan.on_full == "refuse" and not plan.block_on_overflow
        self._read_when_full = 0
        self._second_began_s = 0.0

    def admit(self, size: int) -> None:
        """See `Entry.admit`: what a full queue would refuse need not be read and processed first.

        Otherwise a sender that offers twice what is taken costs so much that little is taken.
        """
        if not self._refuses or not self.queue.seems_full(size):
            return
        now = self._clock.monotonic()
        if not 0 <= now - self._second_began_s < 1:
            self._second_began_s = now
            self._read_when_full = 0
        if self._read_when_full < READ_WHEN_FULL_MAX:
            self._read_when_full += 1
            return
        self._do_not_wait_for_more()
        self._books.refused_unread(1)
        raise QueueFullError(
            "sending queue is full",
            lambda: self._books.refused_unread(-1),
            retry_after_s=RETRY_AFTER_S,
        )

    def accept_now(self, payload: Payload, items: int) -> Rest | None:
        """Take a payload into the queue, or raise: see `PromptConsumer`."""
        size = payload.size
        if self._plan.wait_for_result or self._blocked or not self.queue.fits(items, size):
            return partial(self._consume, payload, items)
        self._take(payload, items, size, None)
        return None

    async def _consume(self, payload: Payload, items: int) -> None:
        size = payload.size
        receipt = None
        if self._plan.wait_for_result:
            receipt = Receipt(asyncio.get_running_loop().create_future())
        if not self._blocked and self.queue.fits(items, size):
            self._take(payload, items, size, receipt)
        elif not await self._overflow(payload, items, size, receipt):
            return
        if receipt is not None:
            await receipt.result

    def close(self) -> None:
        """Refuse who waits for room, and make ready what waits for more."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        for blocked in self._blocked:
            if not blocked.taken.done():
                blocked.taken.set_exception(RetryableError("the exporter is being shut down"))
        self._blocked.clear()
        self.workers.wake(self.queue.complete_all())

    def _take(self, payload: Payload, items: int, size: int, receipt: Receipt | None) -> None:
        self._books.enqueued(items, size)
        if not self._is_batching:
            self.workers.wake(self.queue.add(payload, items, size, 0.0, receipt))
            return
        now = self._clock.monotonic()
        ready = self.queue.add(payload, items, size, now, receipt)
        if ready:
            self.workers.wake(ready)
        if self._flush is None:
            self._arm(now)

    def _arm(self, now: float) -> None:
        """Set the timer for the batch that is open longest; one timer serves all batches."""
        due = self.queue.next_due
        if due is not None:
            self._flush = self._clock.call_later(max(due - now, 0.0), self._flush_due)

    def _flush_due(self) -> None:
        self._flush = None
        now = self._clock.monotonic()
        self.workers.wake(self.queue.complete_due(now))
        self._arm(now)

    async def _overflow(
        self, payload: Payload, items: int, size: int, receipt: Receipt | None
    ) -> bool:
        """Do with a request that does not fit what is configured; whether it was taken."""
        if not self.queue.can_ever_fit(items, size):
            self._books.refused(items)
            self._report("element size too large", logging.ERROR, DropReason.TOO_LARGE, items)
            raise PermanentError(
                f"element size too large: {items} items, {size} bytes in one request; the sending "
                f"queue of {self._settings.id} holds {self.queue.capacity} {self.queue.sizer} and "
                f"{self.queue.bytes_max} bytes",
                code=Code.RESOURCE_EXHAUSTED,
                reason=DropReason.TOO_LARGE,
            )
        self._do_not_wait_for_more()
        if self._plan.block_on_overflow:
            taken = asyncio.get_running_loop().create_future()
            self._blocked.append(_Blocked(taken, payload, items, size, receipt))
            await taken
            return True
        if self._plan.on_full == "drop_oldest" and self._make_room(items, size):
            self._take(payload, items, size, receipt)
            return True
        self._books.refused(items)
        if self._plan.on_full == "refuse":
            self._report(
                "sending queue is full, senders are refused", logging.WARNING, "refused", items
            )
            raise QueueFullError(
                "sending queue is full", lambda: self._drop(items), retry_after_s=RETRY_AFTER_S
            )
        self._drop(items)
        return False

    def _do_not_wait_for_more(self) -> None:
        """Send what waits for more, if it keeps the queue full while a worker is idle."""
        if self.workers.is_hungry:
            self.workers.wake(self.queue.complete_all())

    def _drop(self, items: int) -> None:
        """A newcomer is lost: so it is configured, or another destination has taken it."""
        self._books.lost_at_once(DropReason.QUEUE_FULL, items)
        self._report("sending queue is full, dropped", logging.ERROR, DropReason.QUEUE_FULL, items)

    def _make_room(self, items: int, size: int) -> bool:
        """Drop what has waited longest until a request fits; whether it does."""
        while not self.queue.fits(items, size):
            oldest = self.queue.evict_oldest()
            if oldest is None:
                return False
            self._books.refused(oldest.items)
            self._report(
                "sending queue is full, dropped the oldest",
                logging.ERROR,
                DropReason.QUEUE_FULL,
                oldest.items,
            )
            error = RetryableError("dropped for newer data: the sending queue is full")
            self.workers.lose_queued(oldest, error, DropReason.QUEUE_FULL)
        return True

    def _report(self, what: str, level: int, cause: str, items: int) -> None:
        text = f"{what}: {self._signal}={items} items, {self.queue!r}"
        self._causes.say(("enqueue", cause), level, text, items=items)

    def _admit_blocked(self) -> None:
        """Take what waited for room, in order, as far as there is room."""
        while self._blocked:
            head = self._blocked[0]
            if not head.taken.done():
                if not self.queue.fits(head.items, head.size):
                    self._do_not_wait_for_more()
                    break
                self._take(head.payload, head.items, head.size, head.receipt)
                head.taken.set_result(None)
            self._blocked.popleft()
        self._on_end()

    def __repr__(self) -> str:
        return f"<Intake {self.queue!r} {self.workers!r} blocked={len(self._blocked)}>"


def _batch_rules(plan: QueueConfig) -> BatchRules | None:
    batch = plan.batch
    if batch is None or not batch.enabled:
        return None
    return BatchRules(
        "bytes" if plan.batch_sizer == "bytes" else "items",
        batch.min_size,
        batch.max_size,
        batch.flush_timeout,
        tuple(key.lower() for key in batch.partition.metadata_keys),
    )
