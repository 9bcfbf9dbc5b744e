"""What stands in front of an exporter: a queue with workers, or a straight way through.

A `Sender` is the last consumer of a pipeline. With a queue it takes responsibility when a request
is in the queue, and workers deliver it (OC-13: a queue and workers for each exporter and signal,
OC-16: as many requests at a time as configured). Without one, it delivers before it returns, and
errors are the caller's. Workers are started when there is work for them, and there is no task, no
timer and no lock for a single request.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from mlsysops_pipeline.delivery.batching import Batcher, BatchRules
from mlsysops_pipeline.delivery.books import Books
from mlsysops_pipeline.delivery.causes import CauseLog
from mlsysops_pipeline.delivery.config import DeliveryConfig
from mlsysops_pipeline.delivery.courier import Courier, Shipment
from mlsysops_pipeline.delivery.health import DeliveryHealth
from mlsysops_pipeline.delivery.queue import Queue
from mlsysops_pipeline.delivery.receipts import Receipt, resolve
from mlsysops_pipeline.errors import (
    Code,
    ConsumeError,
    DropReason,
    PeerError,
    PermanentError,
    QueueFullError,
    RetryableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.clock import Timer
    from mlsysops_pipeline.component import Exporter, Settings
    from mlsysops_pipeline.delivery.batching import Batch
    from mlsysops_pipeline.delivery.config import QueueConfig, RetryConfig
    from mlsysops_pipeline.ledger import ExporterLedger
    from mlsysops_pipeline.pdata.payload import Payload
    from mlsysops_pipeline.pdata.signal import Signal

HOPS_MAX = 16
"""Collectors that data may pass; more can only be a loop."""
RETRY_AFTER_S = 1.0
"""When a refused sender may try again: about how long a full queue takes to get room."""
_END_S = 1.0
"""How long workers may take to notice that they were cancelled."""


class _Blocked(NamedTuple):
    """A request whose sender waits for room in the queue."""

    taken: asyncio.Future[None]
    payload: Payload
    items: int
    size: int
    receipt: Receipt | None


class Sender:
    """Delivers the payloads of one signal through one exporter. Implements `Consumer`.

    ``config``: the exporter's. Sections of `DeliveryConfig` that it lacks are off. ``looping``: the
    exporter would send to this process; everything is dropped. ``health``: shared by the senders
    of one exporter. An exporter may have ``telemetry_attributes``, a map of strings (for example
    ``server.address``) that is added to the labels of its sent and failed counters.
    """

    def __init__(
        self,
        exporter: Exporter,
        config: object,
        settings: Settings,
        signal: Signal,
        ledger: ExporterLedger,
        *,
        looping: bool = False,
        health: DeliveryHealth | None = None,
    ) -> None:
        self.ledger = ledger
        self.signal = signal
        self._settings = settings
        self._clock = settings.clock
        self._looping = looping
        self._causes = CauseLog(settings.logger, settings.clock)
        attributes: Mapping[str, str] = getattr(exporter, "telemetry_attributes", {})
        self._books = Books(settings, signal, ledger, attributes)
        self._active: dict[Shipment, Batch | None] = {}
        self._books.observe_deliveries(lambda: len(self._active))
        timeout_s, retry, queue = _sections(config)
        self._courier = Courier(
            exporter,
            settings,
            signal,
            self._books,
            causes=self._causes,
            health=health or DeliveryHealth(),
            timeout_s=timeout_s,
            retry=retry,
            has_queue=queue is not None,
        )
        self._queue: Queue | None = None
        self._rules: BatchRules | None = None
        self._plan = queue
        if queue is not None:
            self._rules = _batch_rules(queue)
            batcher = Batcher(self._rules) if self._rules else None
            self._queue = Queue(
                queue.sizer, queue.queue_size, queue.bytes_max, batcher, settings.memory
            )
            self._books.observe_queue(self._queue)
        self._blocked: deque[_Blocked] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._workers: list[asyncio.Task[Any]] = []
        self._flush: Timer | None = None
        self._is_closed = False
        self._drained: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Warn if nothing can be delivered. The rest begins with the first payload."""
        if self._looping:
            self._settings.logger.warning(
                "the endpoint is a receiver of this same collector: all %s for it are dropped "
                "(reason %s)",
                self.signal,
                DropReason.LOOP,
            )

    async def consume(self, payload: Payload) -> None:
        """Take responsibility for a payload, or raise: see `Consumer.consume`.

        Empty requests end here (OC-14).
        """
        try:
            items = payload.items
        except PeerError as error:
            reason = DropReason.MALFORMED
            raise PermanentError(error.message, code=error.code, reason=reason) from error
        if not items:
            return
        if self._looping or payload.metadata.hops > HOPS_MAX:
            self._drop_looping(payload, items)
            return
        if self._is_closed:
            raise RetryableError("the exporter is being shut down", retry_after_s=RETRY_AFTER_S)
        queue = self._queue
        plan = self._plan
        if queue is None or plan is None:
            await self._deliver_through(payload)
            return
        size = payload.size
        receipt = None
        if plan.wait_for_result:
            receipt = Receipt(asyncio.get_running_loop().create_future())
        if not self._blocked and queue.fits(items, size):
            self._take(queue, payload, items, size, receipt)
        elif not await self._overflow(queue, plan, payload, receipt):
            return
        if receipt is not None:
            await receipt.result

    def _drop_looping(self, payload: Payload, items: int) -> None:
        self._books.lost_at_once(DropReason.LOOP, items)
        if not self._looping:
            self._causes.say(
                "hops",
                logging.ERROR,
                f"dropped {self.signal} that passed {payload.metadata.hops} collectors "
                f"(limit {HOPS_MAX}): exporters and receivers form a loop",
                items=items,
            )

    # What the queue takes and what it does not.

    def _take(
        self, queue: Queue, payload: Payload, items: int, size: int, receipt: Receipt | None
    ) -> None:
        self._books.enqueued(items, size)
        if self._rules is None:
            self._wake(queue.add(payload, items, size, 0.0, receipt))
            return
        now = self._clock.monotonic()
        ready = queue.add(payload, items, size, now, receipt)
        if ready:
            self._wake(ready)
        if self._flush is None:
            self._arm(queue, now)

    async def _overflow(
        self, queue: Queue, plan: QueueConfig, payload: Payload, receipt: Receipt | None
    ) -> bool:
        """Do with a request that does not fit what is configured; whether it was taken."""
        items, size = payload.items, payload.size
        if not queue.can_ever_fit(items, size):
            self._refuse(items, "element size too large", DropReason.TOO_LARGE)
            raise PermanentError(
                f"element size too large: {items} items, {size} bytes, but the sending queue of "
                f"{self._settings.id} holds {queue.capacity} {queue.sizer}, {queue.bytes_max} bytes",
                code=Code.RESOURCE_EXHAUSTED,
                reason=DropReason.TOO_LARGE,
            )
        # A batch that waits for more would keep the queue full for the rest of its time.
        self._wake(queue.complete_all())
        if plan.block_on_overflow:
            taken = asyncio.get_running_loop().create_future()
            self._blocked.append(_Blocked(taken, payload, items, size, receipt))
            await taken
            return True
        if plan.on_full == "drop_oldest" and self._make_room(queue, items, size):
            self._take(queue, payload, items, size, receipt)
            return True
        self._refuse(items, "sending queue is full", DropReason.QUEUE_FULL)
        if plan.on_full == "refuse":
            raise QueueFullError(
                "sending queue is full",
                lambda: self._books.lost_at_once(DropReason.QUEUE_FULL, items),
                retry_after_s=RETRY_AFTER_S,
            )
        self._books.lost_at_once(DropReason.QUEUE_FULL, items)
        return False

    def _make_room(self, queue: Queue, items: int, size: int) -> bool:
        """Drop what has waited longest until a request fits; whether it does."""
        while not queue.fits(items, size):
            oldest = queue.evict_oldest()
            if oldest is None:
                return False
            self._refuse(oldest.items, "sending queue is full", DropReason.QUEUE_FULL)
            error = RetryableError("dropped for newer data: the sending queue is full")
            self._settle_queued(oldest, error, DropReason.QUEUE_FULL)
        return True

    def _refuse(self, items: int, what: str, reason: DropReason) -> None:
        self._books.refused(items)
        self._causes.say(
            ("enqueue", reason),
            logging.WARNING if reason is DropReason.TOO_LARGE else logging.ERROR,
            f"{what}: {self.signal} not taken, {self._queue!r}",
            items=items,
        )

    def _admit_blocked(self, queue: Queue) -> None:
        """Take what waited for room, in order, as far as there is room."""
        while self._blocked:
            head = self._blocked[0]
            if not head.taken.done():
                if not queue.fits(head.items, head.size):
                    return
                self._take(queue, head.payload, head.items, head.size, head.receipt)
                head.taken.set_result(None)
            self._blocked.popleft()

    # Batches that wait for more.

    def _arm(self, queue: Queue, now: float) -> None:
        due = queue.next_due
        if due is not None:
            self._flush = self._clock.call_later(max(due - now, 0.0), self._flush_due)

    def _flush_due(self) -> None:
        self._flush = None
        queue = self._queue
        if queue is not None and not self._is_closed:
            now = self._clock.monotonic()
            self._wake(queue.complete_due(now))
            self._arm(queue, now)

    # Workers.

    def _wake(self, batches: int) -> None:
        """Have that many more workers look for work, as far as there are any."""
        for _ in range(batches):
            while self._idle:
                waiting = self._idle.pop()
                if not waiting.done():
                    waiting.set_result(None)
                    break
            else:
                if self._plan is None or len(self._workers) >= self._plan.num_consumers:
                    return
                name = f"{self._settings.id} {self.signal} worker {len(self._workers)}"
                self._workers.append(self._settings.tasks.spawn_forever(name, self._work))

    async def _work(self) -> None:
        """Deliver what is ready, and sleep while nothing is."""
        queue = self._queue
        loop = asyncio.get_running_loop()
        while queue is not None:
            if queue.ready:
                await self._deliver_batch(queue, queue.ready.popleft())
            elif self._is_closed:
                return
            else:
                waiting = loop.create_future()
                self._idle.append(waiting)
                await waiting

    async def _deliver_batch(self, queue: Queue, batch: Batch) -> None:
        rules = self._rules
        payload = batch.parts[0] if rules is None else batch.merged(rules.metadata_keys)
        has_sender = any(receipt.is_waited_for for receipt, _ in batch.receipts)
        shipment = Shipment(payload, batch.parts, self._books, has_sender=has_sender)
        self._active[shipment] = batch
        self._books.taken_out(batch.items, batch.size)
        error: ConsumeError = RetryableError("interrupted")
        reason = DropReason.SHUTDOWN
        try:
            await self._courier.deliver(shipment)
        except ConsumeError as refusal:
            error, reason = refusal, self._courier.reason(refusal)
        except Exception:
            reason = DropReason.EXPORT_ERROR
            raise
        finally:
            self._finish(queue, shipment, batch, error, reason)

    def _finish(
        self,
        queue: Queue,
        shipment: Shipment,
        batch: Batch,
        error: ConsumeError,
        reason: DropReason,
    ) -> None:
        """A batch left, one way or the other: account for the rest of it and release its room."""
        if shipment.is_closed:
            return
        left = shipment.items_left
        if left:
            waited_for = sum(n for receipt, n in batch.receipts if receipt.is_waited_for)
            returned = min(left, waited_for)
            shipment.returned(returned)
            shipment.lost(reason, left - returned)
            self._books.failed(left)
            if not self._is_closed:
                what = "Rejecting" if returned else "Dropping"
                self._courier.report(f"Exporting failed. {what} data.", error, reason, left)
        shipment.is_closed = True
        del self._active[shipment]
        queue.release(batch)
        for receipt, _ in batch.receipts:
            receipt.settle(error if left else None)
        self._admit_blocked(queue)
        self._check_drained()

    def _settle_queued(self, batch: Batch, error: ConsumeError, reason: DropReason) -> None:
        """Account for a batch that was taken out of the queue unsent."""
        waited_for = sum(n for receipt, n in batch.receipts if receipt.is_waited_for)
        self._books.returned_from_queue(waited_for)
        self._books.lost_in_queue(reason, batch.items - waited_for)
        for receipt, _ in batch.receipts:
            receipt.settle(error)

    # Without a queue.

    async def _deliver_through(self, payload: Payload) -> None:
        shipment = Shipment(payload, (payload,), self._books, has_sender=True)
        self._books.begun(shipment.items_left)
        self._active[shipment] = None
        try:
            await self._courier.deliver(shipment)
        except ConsumeError as error:
            self._books.failed(shipment.items_left)
            self._courier.report(
                "Exporting failed. Rejecting data.", error, error.reason, shipment.items_left
            )
            raise
        finally:
            shipment.returned(shipment.items_left)
            del self._active[shipment]
            self._check_drained()

    # Stopping.

    async def shutdown(self, drain_s: float) -> None:
        """Deliver what is there within ``drain_s`` seconds; drop and count the rest (OC-15).

        Nothing is taken any more; what fails is not tried again. Safe before `start` and twice.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._flush is not None:
            self._flush.cancel()
        for blocked in self._blocked:
            if not blocked.taken.done():
                blocked.taken.set_exception(RetryableError("the exporter is being shut down"))
        self._blocked.clear()
        self._courier.hurry()
        dropped_before = self.ledger.dropped[DropReason.SHUTDOWN]
        try:
            if self._queue is not None:
                self._wake(self._queue.complete_all())
            await self._drain(drain_s)
        finally:
            self._give_up()
            self._report_lost(self.ledger.dropped[DropReason.SHUTDOWN] - dropped_before, drain_s)
        for waiting in self._idle:
            resolve(waiting)
        if self._workers:
            await asyncio.wait(self._workers, timeout=_END_S)
        await self._drain(_END_S)  # deliveries without a queue end in their callers' tasks

    @property
    def _is_busy(self) -> bool:
        return bool(self._active or (self._queue is not None and self._queue.ready))

    def _check_drained(self) -> None:
        if self._drained is not None and not self._drained.done() and not self._is_busy:
            self._drained.set_result(None)

    async def _drain(self, drain_s: float) -> None:
        if not self._is_busy or drain_s <= 0:
            return
        drained = self._drained = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(drain_s, lambda: resolve(drained))
        try:
            await drained
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        """End what is running, and account for everything in flight and in the queue."""
        self._courier.abort()
        queue = self._queue
        if queue is None:
            return  # callers get their data back when their attempt has ended
        error = RetryableError("interrupted due to shutdown")
        for shipment, batch in list(self._active.items()):
            if batch is not None:
                self._finish(queue, shipment, batch, error, DropReason.SHUTDOWN)
        for batch in queue.take_everything():
            self._books.failed(batch.items)
            self._settle_queued(batch, error, DropReason.SHUTDOWN)

    def _report_lost(self, items: int, drain_s: float) -> None:
        if items:
            last = self._courier.last_error
            self._settings.logger.error(
                "dropped %d items (%s): not delivered within %.1f s of stopping%s",
                items,
                self.signal,
                drain_s,
                f"; last error: {last}" if last else "",
            )

    def __repr__(self) -> str:
        return (
            f"<Sender {self._settings.id} {self.signal} queue={self._queue!r} "
            f"active={len(self._active)} sent={self.ledger.sent} "
            f"dropped={self.ledger.dropped.total()}>"
        )


def _sections(config: object) -> tuple[float, RetryConfig | None, QueueConfig | None]:
    """Time-out, retry and queue of an exporter's configuration; off where it has none."""
    if not isinstance(config, DeliveryConfig):
        return 0.0, None, None
    retry, queue = config.retry_on_failure, config.sending_queue
    return (
        config.timeout,
        retry if retry is not None and retry.enabled else None,
        queue if queue is not None and queue.enabled else None,
    )


def _batch_rules(queue: QueueConfig) -> BatchRules | None:
    batch = queue.batch
    if batch is None or not batch.enabled:
        return None
    return BatchRules(
        "bytes" if queue.batch_sizer == "bytes" else "items",
        batch.min_size,
        batch.max_size,
        batch.flush_timeout,
        tuple(key.lower() for key in batch.partition.metadata_keys),
    )
