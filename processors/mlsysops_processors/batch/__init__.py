"""Merges requests into larger ones by count or age (components, A2; CV-1).

It answers as soon as it holds the data, and so weakens delivery to "in memory": prefer
`sending_queue.batch` of the exporter. Unlike the Collector's it never drops what the next stage
refuses for now: it keeps that, tries again, and refuses newcomers while it holds too much.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar

from mlsysops_pipeline.component import Consumer, Factory, Kind, Settings, Stability
from mlsysops_pipeline.config.schema import ComponentConfig, Duration, Finding
from mlsysops_pipeline.delivery.batching import Batch, Batcher, BatchRules
from mlsysops_pipeline.delivery.causes import CauseLog
from mlsysops_pipeline.delivery.config import repeated_keys
from mlsysops_pipeline.errors import DropReason, PeerError, PermanentError, RetryableError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_processors.batch.handover import Handover
from mlsysops_processors.batch.metrics import BatchMetrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.clock import Timer
    from mlsysops_pipeline.pdata.payload import Payload

HELD_BYTES_MAX = 64 * 1024 * 1024
"""Beyond this much held, newcomers are refused; a request that is larger is taken when alone."""
RETRY_AFTER_S = 1.0
"""When a refused sender may try again."""
COMBINATIONS_MAX = 1_000_000
"""Metadata combinations with ``metadata_cardinality_limit: 0``."""


class Config(ComponentConfig):
    """When a batch is complete, how large it may be, and what may share one."""

    acknowledges_from_memory: ClassVar[bool] = True

    send_batch_size: int = 8192
    """Items (data points, log records, spans) that complete a batch. 0: every request does."""
    timeout: Duration = 0.2
    """Seconds after which a batch is complete whatever its size. 0: at once."""
    send_batch_max_size: int = 0
    """Split batches that have more items. 0: no limit."""
    metadata_keys: tuple[str, ...] = ()
    """Request headers: requests that differ in one of them get batches of their own."""
    metadata_cardinality_limit: int = 1000
    """How many combinations of values of ``metadata_keys`` there may ever be. Requests with one
    more are rejected. 0: a million."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        for name in ("send_batch_size", "send_batch_max_size", "metadata_cardinality_limit"):
            if getattr(self, name) < 0:
                yield Finding((name,), "must not be negative")
        if 0 < self.send_batch_max_size < self.send_batch_size:
            yield Finding(
                ("send_batch_max_size",),
                "send_batch_max_size must be greater or equal to send_batch_size",
            )
        yield from repeated_keys(self.metadata_keys)

    def rules(self) -> BatchRules:
        """The same for a `Batcher`."""
        return BatchRules(
            min_size=self.send_batch_size if self.timeout else 0,
            max_size=self.send_batch_max_size,
            flush_s=self.timeout,
            metadata_keys=tuple(key.lower() for key in self.metadata_keys),
        )


class BatchProcessor:
    """Implements `HoldingProcessor`: one task hands on completed batches, in order.

    ``items`` and ``size`` (bytes) are what it holds, with the batch that is being handed on.
    """

    def __init__(self, config: Config, settings: Settings, next_: Consumer) -> None:
        self.items = 0
        self.size = 0
        self._settings = settings
        self._clock = settings.clock
        ledger = settings.pipeline_ledger
        ledger.hold(lambda: self.items)
        self._rules = config.rules()
        self._batcher = Batcher(self._rules)
        self._combinations: set[tuple[tuple[str, ...], ...]] = set()
        self._combinations_max = config.metadata_cardinality_limit or COMBINATIONS_MAX
        self._causes = CauseLog(settings.logger, settings.clock)
        self._metrics = BatchMetrics(settings)
        self._handover = Handover(
            next_,
            settings,
            self._rules.metadata_keys,
            metrics=self._metrics,
            causes=self._causes,
            on_lost=ledger.drop,
            on_gone=self._gone,
        )
        self._flush: Timer | None = None
        self._is_stopping = False

    async def start(self) -> None:
        """Begin to hand on."""
        if not self._rules.metadata_keys:
            self._metrics.combinations.add(1)
        self._handover.start()

    def admit(self, size: int) -> None:
        """See `Entry.admit`: what would be refused here need not be read and processed first.

        Otherwise a sender that offers twice what is taken costs so much that nothing is taken.
        """
        if self.size and self.size + size > HELD_BYTES_MAX:
            self._refuse()

    async def consume(self, payload: Payload) -> None:
        """Hold a payload. Refuses above the limit, or with one combination too many."""
        self.accept_now(payload)

    def accept_now(self, payload: Payload) -> None:
        """The same: it never waits (see `PromptConsumer`)."""
        try:
            items = payload.items
        except PeerError as error:
            reason = DropReason.MALFORMED
            raise PermanentError(error.message, code=error.code, reason=reason) from error
        if not items:
            return
        size = payload.size
        if self._is_stopping:
            raise RetryableError("batch is being shut down", retry_after_s=RETRY_AFTER_S)
        if self.size and self.size + size > HELD_BYTES_MAX:
            self._refuse()
        if self._rules.metadata_keys:
            self._check_combination(payload)
        self.items += items
        self._hold(size)
        now = self._clock.monotonic()
        open_before = self._batcher.size + size
        completed = self._batcher.add(payload, items, size, now)
        if completed:
            # Pieces repeat the resource they belong to, so splitting changes the number of bytes.
            self._hold(self._batcher.size + sum(batch.size for batch in completed) - open_before)
            self._handover.put(completed)
        if self._flush is None:
            self._arm(now)

    def _refuse(self) -> None:
        if not len(self._handover):  # what waits for more would keep others out
            self._handover.put(self._batcher.flush())
        self._causes.say("full", logging.WARNING, f"requests are refused: {self!r}")
        raise RetryableError(
            "batch holds too much that is not taken from it", retry_after_s=RETRY_AFTER_S
        )

    def _check_combination(self, payload: Payload) -> None:
        key = self._batcher.key(payload)
        if key in self._combinations:
            return
        if len(self._combinations) >= self._combinations_max:
            raise PermanentError(
                "too many batcher metadata-value combinations", reason=DropReason.CARDINALITY
            )
        self._combinations.add(key)
        self._metrics.combinations.add(1)

    def _hold(self, size: int) -> None:
        self.size += size
        self._settings.memory.charge(size)

    def _gone(self, batch: Batch) -> None:
        self.items -= batch.items
        self.size -= batch.size
        self._settings.memory.release(batch.size)

    def _arm(self, now: float) -> None:
        """Set the timer for the batch that is open longest; one timer serves all batches."""
        due = self._batcher.next_due
        if due is not None:
            self._flush = self._clock.call_later(max(due - now, 0.0), self._flush_due)

    def _flush_due(self) -> None:
        self._flush = None
        now = self._clock.monotonic()
        self._handover.put(self._batcher.due(now))
        self._arm(now)

    async def shutdown(self) -> None:
        """Hand on everything; what is refused for too long is dropped, counted and logged."""
        if self._is_stopping:
            return
        self._is_stopping = True
        if self._flush is not None:
            self._flush.cancel()
        self._handover.put(self._batcher.flush())
        await self._handover.stop()

    def __repr__(self) -> str:
        return f"<BatchProcessor items={self.items} bytes={self.size} {self._handover!r}>"


def _create(config: Config, settings: Settings, next_: Consumer) -> BatchProcessor:
    return BatchProcessor(config, settings, next_)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="batch",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    stability=Stability.BETA,
)
