"""What stands in front of an exporter: a queue with workers, or a straight way through.

A `Sender` is the last consumer of a pipeline. With a queue it takes responsibility when a request
is in the queue, and workers deliver it (OC-13: a queue and workers for each exporter and signal,
OC-16: as many requests at a time as configured). Without one, it delivers before it returns, and
errors are the caller's.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from mlsysops_pipeline.delivery.books import Books
from mlsysops_pipeline.delivery.causes import CauseLog
from mlsysops_pipeline.delivery.config import DeliveryConfig
from mlsysops_pipeline.delivery.courier import Courier, Shipment
from mlsysops_pipeline.delivery.health import DeliveryHealth
from mlsysops_pipeline.delivery.intake import RETRY_AFTER_S, Intake
from mlsysops_pipeline.delivery.receipts import resolve
from mlsysops_pipeline.delivery.workers import current_task
from mlsysops_pipeline.errors import (
    ConsumeError,
    DropReason,
    PeerError,
    PermanentError,
    RetryableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.component import Exporter, Rest, Settings
    from mlsysops_pipeline.delivery.config import QueueConfig, RetryConfig
    from mlsysops_pipeline.ledger import ExporterLedger
    from mlsysops_pipeline.pdata.payload import Payload
    from mlsysops_pipeline.pdata.signal import Signal

HOPS_MAX = 16
"""Collectors that data may pass; more can only be a loop."""
_END_S = 1.0
"""How long deliveries in their callers' tasks may take to notice that they were cancelled."""


class Sender:
    """Delivers the payloads of one signal through one exporter. Implements `Consumer`.

    ``config``: the exporter's. Sections of `DeliveryConfig` that it lacks are off. ``looping``: the
    exporter would send to this process; everything is dropped. ``health``: shared by the senders
    of one exporter. An exporter may have ``telemetry_attributes``, a map of strings (for example
    ``server.address``) that is added to the labels of its sent and failed counters, or a function
    that returns one for a signal. It may have ``on_ready``, a list of functions without arguments
    that it calls when it has connected to its peer: what waits to be tried again is tried then.
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
        self._looping = looping
        self._causes = CauseLog(settings.logger, settings.clock)
        described = getattr(exporter, "telemetry_attributes", {})
        attributes: Mapping[str, str] = described(signal) if callable(described) else described
        self._books = Books(settings, signal, ledger, attributes)
        self._books.observe_ledger()
        self._books.observe_deliveries(lambda: self._deliveries)
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
        on_ready = getattr(exporter, "on_ready", None)
        if on_ready is not None:
            on_ready.append(self._courier.hasten)
        self._intake: Intake | None = None
        if queue is not None:
            self._intake = Intake(
                queue,
                settings,
                signal,
                self._books,
                self._courier,
                causes=self._causes,
                on_end=self._left,
            )
        self._through: set[Shipment] = set()
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
        rest = self.accept_now(payload)
        if rest is not None:
            await rest()

    def accept_now(self, payload: Payload) -> Rest | None:
        """See `PromptConsumer`."""
        try:
            items = payload.items
        except PeerError as error:
            reason = DropReason.MALFORMED
            raise PermanentError(error.message, code=error.code, reason=reason) from error
        if not items:
            return None
        if self._looping or payload.metadata.hops > HOPS_MAX:
            self._drop_looping(payload, items)
            return None
        if self._is_closed:
            raise RetryableError("the exporter is being shut down", retry_after_s=RETRY_AFTER_S)
        if self._intake is None:
            return partial(self._deliver_through, payload)
        return self._intake.accept_now(payload, items)

    def admit(self, size: int) -> None:
        """See `Entry.admit`. Raises `QueueFullError`: another destination may have room."""
        if self._intake is not None and not self._is_closed:
            self._intake.admit(size)

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

    async def _deliver_through(self, payload: Payload) -> None:
        shipment = Shipment(payload, (payload,), current_task(), self._books, has_sender=True)
        self._books.begun(shipment.items_left)
        self._through.add(shipment)
        try:
            await self._courier.deliver(shipment)
        except ConsumeError as error:
            self._books.failed(shipment.items_left, error)
            self._courier.report(
                "Exporting failed. Rejecting data.", error, error.reason, shipment.items_left
            )
            raise
        finally:
            shipment.returned(shipment.items_left)
            self._through.discard(shipment)
            self._left()

    @property
    def _deliveries(self) -> int:
        return len(self._through) + (len(self._intake.workers.active) if self._intake else 0)

    async def shutdown(self, drain_s: float) -> None:
        """Deliver what is there within ``drain_s`` seconds; drop and count the rest (OC-15).

        Nothing is taken any more. What waits for its next attempt makes it now, and what fails is
        tried again at short intervals until then. Safe before `start` and twice.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._courier.hurry()
        lost_before = self.ledger.dropped[DropReason.SHUTDOWN]
        began_s = self._settings.clock.monotonic()
        try:
            if self._intake is not None:
                self._intake.close()
            await self._drain(drain_s)
        finally:
            self._courier.abort()
            if self._intake is not None:
                self._intake.workers.give_up()
            is_late = self._settings.clock.monotonic() - began_s >= drain_s
            lost = self.ledger.dropped[DropReason.SHUTDOWN] - lost_before
            self._report_lost(lost, f"within {drain_s:.1f} s of" if is_late else "while")
        if self._intake is not None:
            await self._intake.workers.end()
        await self._drain(_END_S)  # deliveries without a queue end in their callers' tasks

    @property
    def _is_busy(self) -> bool:
        return bool(self._through) or (self._intake is not None and self._intake.workers.is_busy)

    def _left(self) -> None:
        """A delivery has ended."""
        if self._drained is not None and not self._is_busy:
            resolve(self._drained)

    async def _drain(self, drain_s: float) -> None:
        if not self._is_busy or drain_s <= 0:
            return
        drained = self._drained = asyncio.get_running_loop().create_future()
        timer = self._settings.clock.call_later(drain_s, lambda: resolve(drained))
        try:
            await drained
        finally:
            timer.cancel()

    def _report_lost(self, items: int, when: str) -> None:
        if items:
            last = self._courier.last_error
            self._settings.logger.error(
                "dropped %d items (%s): not delivered %s stopping%s",
                items,
                self.signal,
                when,
                f"; last error: {last}" if last else "",
            )

    def __repr__(self) -> str:
        return (
            f"<Sender {self._settings.id} {self.signal} {self._intake!r} "
            f"delivering={self._deliveries} sent={self.ledger.sent} "
            f"dropped={self.ledger.dropped.total()}>"
        )


def _sections(config: object) -> tuple[float, RetryConfig | None, QueueConfig | None]:
    """Time-out, retry and queue of an exporter's configuration; off where it has none."""
    if not isinstance(config, DeliveryConfig):
        return 0.0, None, None
    config = config.in_force()
    retry, queue = config.retry_on_failure, config.sending_queue
    return (
        config.timeout,
        retry if retry is not None and retry.enabled else None,
        queue if queue is not None and queue.enabled else None,
    )
