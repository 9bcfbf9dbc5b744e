"""The tasks that take batches out of a queue and have them delivered, so many at a time.

They are started when there is work for them and then sleep until there is more: there is no task,
no timer and no lock for a single request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.delivery.courier import Shipment
from mlsysops_pipeline.delivery.receipts import interrupted, resolve
from mlsysops_pipeline.errors import Bug, ConsumeError, DropReason
from mlsysops_pipeline.pdata.payload import Payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.delivery.batching import Batch
    from mlsysops_pipeline.delivery.books import Books
    from mlsysops_pipeline.delivery.courier import Courier
    from mlsysops_pipeline.delivery.queue import Queue

TURN = 32
"""Deliveries after which a worker lets others run: an exporter need not wait for anything."""
_END_S = 1.0
"""How long workers may take to notice that they were cancelled."""


class Workers:
    """At most ``workers_max`` tasks that deliver what ``queue`` has ready.

    ``metadata_keys``: the headers that merged requests agree in; ``None`` if requests are not
    merged. ``merged_bytes_max``: see `QueueConfig`. ``on_room`` is called whenever a delivery has
    ended and its room is free.
    """

    def __init__(
        self,
        queue: Queue,
        courier: Courier,
        books: Books,
        settings: Settings,
        *,
        name: str,
        workers_max: int,
        merged_bytes_max: int,
        metadata_keys: tuple[str, ...] | None,
        on_room: Callable[[], None],
    ) -> None:
        self.active: dict[Shipment, Batch] = {}
        self._queue = queue
        self._courier = courier
        self._books = books
        self._settings = settings
        self._name = name
        self._workers_max = workers_max
        self._merged_bytes_max = merged_bytes_max
        self._metadata_keys = metadata_keys
        self._on_room = on_room
        self._idle: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._is_ending = False

    def wake(self, batches: int) -> None:
        """Have that many more workers look for work, as far as there are any."""
        for _ in range(batches):
            while self._idle:
                waiting = self._idle.pop()
                if not waiting.done():
                    waiting.set_result(None)
                    break
            else:
                if len(self._tasks) >= self._workers_max:
                    return  # all are busy, and look for more work themselves
                name = f"{self._name} worker {len(self._tasks)}"
                self._tasks.append(self._settings.tasks.spawn_forever(name, self._work))

    @property
    def is_hungry(self) -> bool:
        """Whether a worker has nothing to do, so that waiting for more to merge costs time."""
        return not self._queue.ready and len(self.active) < self._workers_max

    @property
    def is_busy(self) -> bool:
        """Whether something is being delivered, or is ready to be."""
        return bool(self.active or self._queue.ready)

    async def _work(self) -> None:
        """Deliver what is ready, and sleep while nothing is."""
        loop = asyncio.get_running_loop()
        task = current_task()
        ready = self._queue.ready
        left = TURN
        while True:
            if not left:
                left = TURN
                await asyncio.sleep(0)
            if ready:
                left -= 1
                batch = ready.popleft()
                while ready and self._goes_with(ready[0], batch):
                    batch.absorb(ready.popleft())
                await self._deliver(batch, task)
            elif self._is_ending:
                return
            else:
                waiting = loop.create_future()
                self._idle.append(waiting)
                await waiting

    def _goes_with(self, waiting: Batch, batch: Batch) -> bool:
        """Whether a batch is sent together with the one before it."""
        if batch.size + waiting.size > self._merged_bytes_max:
            return False
        if self._metadata_keys is not None:
            return waiting.key == batch.key
        return waiting.parts[0].metadata.headers == batch.parts[0].metadata.headers

    async def _deliver(self, batch: Batch, task: asyncio.Task[Any]) -> None:
        keys = self._metadata_keys
        if keys is None:
            payload = Payload.merge(batch.parts, batch.parts[0].metadata)
        else:
            payload = batch.merged(keys)
        has_sender = bool(batch.receipts) and batch.items_waited_for > 0
        shipment = Shipment(payload, batch.parts, task, self._books, has_sender=has_sender)
        self.active[shipment] = batch
        self._books.taken_out(batch.items, batch.size)
        error: ConsumeError | None = None
        reason = DropReason.SHUTDOWN
        try:
            await self._courier.deliver(shipment)
        except ConsumeError as refusal:
            error, reason = refusal, self._courier.reason(refusal)
        except Exception:
            reason = DropReason.EXPORT_ERROR
            raise
        finally:
            self._finish(shipment, batch, error, reason)

    def _finish(
        self, shipment: Shipment, batch: Batch, error: ConsumeError | None, reason: DropReason
    ) -> None:
        """A batch left, one way or the other: account for the rest of it and release its room."""
        if shipment.is_closed:
            return
        left = shipment.items_left
        if left:
            error = error or interrupted()
            returned = min(left, batch.items_waited_for)
            shipment.returned(returned)
            shipment.lost(reason, left - returned)
            self._books.failed(left, error)
            if not self._is_ending:
                what = "Rejecting" if returned else "Dropping"
                self._courier.report(f"Exporting failed. {what} data.", error, reason, left)
        shipment.is_closed = True
        del self.active[shipment]
        self._queue.release(batch)
        for receipt, _ in batch.receipts:
            receipt.settle(error if left else None)
        self._on_room()

    def lose_queued(self, batch: Batch, error: ConsumeError, reason: DropReason) -> None:
        """Account for a batch that was taken out of the queue unsent."""
        waited_for = batch.items_waited_for
        self._books.returned_from_queue(waited_for)
        self._books.lost_in_queue(reason, batch.items - waited_for)
        for receipt, _ in batch.receipts:
            receipt.settle(error)

    def give_up(self) -> None:
        """Account for everything in flight and in the queue: the time for it has passed."""
        self._is_ending = True
        for shipment, batch in list(self.active.items()):
            self._finish(shipment, batch, None, DropReason.SHUTDOWN)
        error = interrupted()
        for batch in self._queue.take_everything():
            self._books.failed(batch.items, error)
            self.lose_queued(batch, error, DropReason.SHUTDOWN)

    async def end(self) -> None:
        """Let the workers return. Safe to call twice."""
        self._is_ending = True
        for waiting in self._idle:
            resolve(waiting)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_END_S)

    def __repr__(self) -> str:
        return (
            f"<Workers {len(self._tasks)}/{self._workers_max} idle={len(self._idle)} "
            f"delivering={len(self.active)}>"
        )


def current_task() -> asyncio.Task[Any]:
    """The running task; deliveries are cancelled by it when their time is up."""
    task = asyncio.current_task()
    if task is None:
        raise Bug("payloads are delivered by tasks")
    return task
