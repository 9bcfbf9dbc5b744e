"""Handing completed batches on, in order, to a next stage that may refuse them for now.

One task does it. A batch that is refused as retryable stays at the head until it is taken; what is
refused for good is dropped, counted and logged. When the processor stops, a next stage that takes
nothing for `PATIENCE_S` is given up on, so that the stages behind it have time left to drain.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from mlsysops_pipeline.delivery.receipts import resolve
from mlsysops_pipeline.errors import (
    ConsumeError,
    DropReason,
    PermanentError,
    QueueFullError,
    RetryableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlsysops_pipeline.component import Consumer, Settings
    from mlsysops_pipeline.delivery.batching import Batch
    from mlsysops_pipeline.delivery.causes import CauseLog
    from mlsysops_processors.batch.metrics import BatchMetrics

WAIT_MIN_S, WAIT_MAX_S = 0.1, 5.0
"""The wait, which doubles, after a refusal by the next stage that does not say how long."""
PATIENCE_S = 5.0
"""How long a stopping processor keeps trying while nothing is taken from it."""


class Handover:
    """Calls ``next_`` with one batch after the other.

    ``on_lost`` is told what is dropped and why, before ``on_gone``, which is told of every batch
    that is no longer here.
    """

    def __init__(
        self,
        next_: Consumer,
        settings: Settings,
        metadata_keys: tuple[str, ...],
        *,
        metrics: BatchMetrics,
        causes: CauseLog,
        on_lost: Callable[[DropReason, int], None],
        on_gone: Callable[[Batch], None],
    ) -> None:
        self._next = next_
        self._settings = settings
        self._clock = settings.clock
        self._metadata_keys = metadata_keys
        self._metrics = metrics
        self._causes = causes
        self._on_lost = on_lost
        self._on_gone = on_gone
        self._ready: deque[Batch] = deque()
        self._idle: asyncio.Future[None] | None = None
        self._pausing: asyncio.Future[None] | None = None
        self._worker: asyncio.Task[None] | None = None
        self._stopping_since: float | None = None
        self._taken_at = 0.0

    def start(self) -> None:
        """Begin to hand on."""
        self._worker = self._settings.tasks.spawn_forever(str(self._settings.id), self._work)

    def put(self, batches: Iterable[Batch]) -> None:
        """Take completed batches."""
        self._ready += batches
        if self._idle is not None:
            resolve(self._idle)

    async def stop(self) -> None:
        """Hand on what is here. If that is cut short, the rest is dropped and counted."""
        self._stopping_since = self._clock.monotonic()
        for waiting in (self._idle, self._pausing):
            if waiting is not None:
                resolve(waiting)
        try:
            if self._worker is not None:
                await asyncio.wait([self._worker])
        finally:
            if self._worker is not None:
                self._worker.cancel()
            late = RetryableError("not handed on before the deadline of stopping")
            while self._ready:
                self._lose(self._ready[0], late, DropReason.SHUTDOWN)

    async def _work(self) -> None:
        while True:
            if self._ready:
                await self._hand_on(self._ready[0])
            elif self._stopping_since is not None:
                return
            else:
                self._idle = asyncio.get_running_loop().create_future()
                await self._idle

    async def _hand_on(self, batch: Batch) -> None:
        """Hand the first batch on, however often it takes, or learn that it never will be."""
        payload = batch.merged(self._metadata_keys)
        wait_s = WAIT_MIN_S
        while True:
            try:
                await self._next.consume(payload)
            except RetryableError as error:
                if self._is_out_of_patience:
                    self._lose(batch, error, DropReason.SHUTDOWN)
                    return
                self._causes.say(
                    "retryable",
                    logging.WARNING,
                    f"the next stage does not take a batch now; it is kept: {error.message}",
                )
                await self._pause(_wait_after(error, wait_s))
                wait_s = min(2 * wait_s, WAIT_MAX_S)
            except ConsumeError as error:
                if error.reason is DropReason.TOO_LARGE and len(batch.parts) > 1:
                    # A queue is too small for the batch, but may take what it consists of.
                    self._ready.popleft()
                    self._ready.extendleft(reversed(batch.halves()))
                else:
                    self._lose(batch, error, error.reason)
                return
            except Exception as error:  # noqa: BLE001  the edge: whatever it is, it is reported
                self._causes.say(
                    ("bug", type(error)), logging.ERROR, "handing on failed", error=error
                )
                self._lose(batch, PermanentError(str(error)), DropReason.PROCESSOR_ERROR)
                return
            else:
                self._taken_at = self._clock.monotonic()
                if self._remove(batch):
                    self._metrics.sent(batch)
                return

    @property
    def _is_out_of_patience(self) -> bool:
        if self._stopping_since is None:
            return False
        since = max(self._taken_at, self._stopping_since)
        return self._clock.monotonic() - since >= PATIENCE_S

    async def _pause(self, wait_s: float) -> None:
        """Wait; a processor that is being stopped has little time and tries again soon."""
        if self._stopping_since is not None:
            wait_s = WAIT_MIN_S
        pausing = self._pausing = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(wait_s, lambda: resolve(pausing))
        try:
            await pausing
        finally:
            timer.cancel()

    def _lose(self, batch: Batch, error: ConsumeError, reason: DropReason) -> None:
        if not self._is_first(batch):
            return
        self._on_lost(reason, batch.items)
        self._remove(batch)
        self._causes.say(
            ("lost", reason, error.code),
            logging.ERROR,
            f"dropped {batch.items} items (reason {reason}): {error.message}",
            items=batch.items,
        )

    def _is_first(self, batch: Batch) -> bool:
        """Whether a batch is still here: time may have run out while it was being handed on."""
        return bool(self._ready) and self._ready[0] is batch

    def _remove(self, batch: Batch) -> bool:
        if not self._is_first(batch):
            return False
        self._ready.popleft()
        self._on_gone(batch)
        return True

    def __len__(self) -> int:
        return len(self._ready)

    def __repr__(self) -> str:
        return f"<Handover ready={len(self._ready)}>"


def _wait_after(error: RetryableError, wait_s: float) -> float:
    """A full queue may have room in a moment; a destination that asks for time gets it (OG-7)."""
    if isinstance(error, QueueFullError):
        return WAIT_MIN_S
    return max(wait_s, error.retry_after_s or 0.0)
