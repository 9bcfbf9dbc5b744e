"""Taking one payload to its destination: attempts, waits, and what is done about refusals.

A payload above the limit of a request is split first (OC-10). A retryable failure is tried again
after a wait that grows (OC-12); a partial success never is (OC-7). A destination that asks for time
gets it from every worker: nothing new is sent until then, or for `max_interval` (OG-7). Waits end
early when it turns out that the destination works again, the oldest payload going first. When the
destination calls a merged request bad data, every member is validated to full depth, malformed
ones are dropped, and the rest is sent once more (design, "Validation").
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from typing import TYPE_CHECKING, NamedTuple

from mlsysops_pipeline.delivery.attempts import Attempts
from mlsysops_pipeline.delivery.batching import split_or_keep
from mlsysops_pipeline.delivery.receipts import interrupted
from mlsysops_pipeline.delivery.retry import RetrySchedule
from mlsysops_pipeline.errors import (
    Code,
    ConsumeError,
    DropReason,
    MalformedError,
    PeerError,
    PermanentError,
    RetryableError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlsysops_pipeline.component import Exporter, ExportResult, Settings
    from mlsysops_pipeline.delivery.books import Books
    from mlsysops_pipeline.delivery.causes import CauseLog
    from mlsysops_pipeline.delivery.config import RetryConfig
    from mlsysops_pipeline.delivery.health import DeliveryHealth
    from mlsysops_pipeline.pdata.payload import Payload
    from mlsysops_pipeline.pdata.signal import Signal

REQUEST_BYTES_MAX = 64 * 1024 * 1024
"""The largest request that is sent, before compression (OTLP's recommended limit)."""
_HURRIED_PAUSE_S = 1.0
"""Between attempts while stopping, unless the destination asks for more: there is little time."""


class Shipment:
    """A payload on its way, and how many of its items are still to be accounted for.

    ``parts``: the payloads that it was merged from. ``task``: who delivers it. ``has_sender``:
    somebody waits for the result and gets the error, with the data, instead of the data being
    dropped. ``is_closed``: accounted for; what happens to it now changes nothing.
    """

    __slots__ = ("_books", "has_sender", "is_closed", "items_left", "parts", "payload", "task")

    def __init__(
        self,
        payload: Payload,
        parts: Sequence[Payload],
        task: asyncio.Task[object],
        books: Books,
        *,
        has_sender: bool,
    ) -> None:
        self.payload = payload
        self.task = task
        self.parts = parts
        self.has_sender = has_sender
        self.items_left = payload.items
        self.is_closed = False
        self._books = books

    def sent(self, items: int) -> None:
        """Items arrived."""
        if not self.is_closed:
            self.items_left -= items
            self._books.sent(items)

    def lost(self, reason: DropReason, items: int) -> None:
        """Items will never arrive."""
        if not self.is_closed:
            self.items_left -= items
            self._books.lost_in_flight(reason, items)

    def returned(self, items: int) -> None:
        """Items were given back to whoever sent them."""
        if not self.is_closed:
            self.items_left -= items
            self._books.returned_from_flight(items)

    def sources(self) -> list[str]:
        """Who sent each member of the payload, if it still has the members that it came with."""
        peers = [part.metadata.peer for part in self.parts for _ in part.wires]
        return peers if len(peers) == len(self.payload.wires) else []

    def __repr__(self) -> str:
        return f"<Shipment {self.payload!r} items_left={self.items_left}>"


class _Pause(NamedTuple):
    """A wait between two attempts. ``result``: whether it was ended early.

    ``since``: when the payload was tried first. ``ends_from``: from when on `Courier.hasten` may
    end it, which is not before the destination has had the time that it asked for.
    """

    result: asyncio.Future[bool]
    since: float
    ends_from: float


class Courier:
    """Delivers the shipments of one exporter and signal.

    ``retry``: ``None`` for one attempt only. ``hurry`` and ``abort`` are for stopping.
    ``last_error``: why the last attempt failed.
    """

    def __init__(
        self,
        exporter: Exporter,
        settings: Settings,
        signal: Signal,
        books: Books,
        *,
        causes: CauseLog,
        health: DeliveryHealth,
        timeout_s: float,
        retry: RetryConfig | None,
        has_queue: bool,
    ) -> None:
        self._attempts = Attempts(exporter.export, timeout_s, settings.clock)
        self._settings = settings
        self._clock = settings.clock
        self._signal = signal
        self._books = books
        self._causes = causes
        self._health = health
        self._retry = retry
        self._has_queue = has_queue
        self._pauses: dict[_Pause, None] = {}
        self._is_hurried = False
        self._is_aborted = False
        self._not_before = 0.0
        self.last_error = ""

    async def deliver(self, shipment: Shipment) -> None:
        """Take a shipment to its end. What cannot be delivered is dropped, counted and logged.

        If the shipment has a sender, the first error that is final is raised instead, and
        ``items_left`` of it are still to be accounted for.
        """
        payload = shipment.payload
        pieces = [payload]
        if payload.size > REQUEST_BYTES_MAX:
            pieces = split_or_keep(payload, bytes_max=REQUEST_BYTES_MAX)
        for piece in pieces:
            left_after = shipment.items_left - piece.items
            try:
                await self._send(piece, shipment)
            except ConsumeError as error:
                if shipment.has_sender:
                    raise
                self.lose(shipment, shipment.items_left - left_after, error)

    def lose(self, shipment: Shipment, items: int, error: ConsumeError) -> None:
        """Give up on items: counted and logged."""
        if shipment.is_closed or not items:
            return
        reason = self.reason(error)
        shipment.lost(reason, items)
        self._books.failed(items, error)
        if reason is not DropReason.SHUTDOWN:  # reported in one sum by who stops us
            self.last_error = error.message
            self.report("Exporting failed. Dropping data.", error, reason, items)

    def report(self, what: str, error: ConsumeError, reason: DropReason, items: int) -> None:
        """One line for a delivery that was given up, unless its cause was logged just now."""
        hint = ""
        if isinstance(error, RetryableError) and not self._is_hurried:
            if self._retry is None:
                hint = " Try enabling retry_on_failure to retry on retryable errors."
            elif not self._has_queue:
                hint = " Try enabling sending_queue to survive temporary failures."
        self._causes.say(
            (what, reason, error.code),
            logging.ERROR,
            f"{what}{hint} error={error.message!r} reason={reason} {self._signal}={items} items",
            items=items,
        )

    def reason(self, error: ConsumeError) -> DropReason:
        """How the items are counted that are given up for this error."""
        if not isinstance(error, RetryableError) or error.reason is not DropReason.REFUSED:
            return error.reason
        return DropReason.SHUTDOWN if self._is_hurried else DropReason.RETRIES_EXHAUSTED

    def hurry(self) -> None:
        """Who waits for the next attempt makes it now, and waits are short from now on.

        What has a sender that waits for the result is not tried again: the sender will.
        """
        self._is_hurried = True
        self._end_pauses()

    def abort(self) -> None:
        """End every attempt that is running, and begin no other."""
        self._is_hurried = self._is_aborted = True
        self._end_pauses()
        self._attempts.abort(interrupted())

    def hasten(self) -> bool:
        """The destination works again: who waits only because it did not tries now.

        Not before the time that it asked for, and each payload once between two whole waits: it
        may be the payload that fails, not the destination. Whether there was any.
        """
        now = self._clock.monotonic()
        if now < self._not_before:
            return False
        waiting = sorted((p for p in self._pauses if p.ends_from <= now), key=_first_tried)
        for pause in waiting:
            if not pause.result.done():
                pause.result.set_result(True)
        return bool(waiting)

    def _end_pauses(self) -> None:
        for pause in self._pauses:
            if not pause.result.done():
                pause.result.set_result(True)

    async def _send(self, payload: Payload, shipment: Shipment) -> None:
        """Send one request until it is accounted for, or raise why it cannot be."""
        if payload.size > REQUEST_BYTES_MAX:
            raise PermanentError(
                f"a single item of {payload.size} bytes is larger than a request may be "
                f"({REQUEST_BYTES_MAX} bytes)",
                code=Code.RESOURCE_EXHAUSTED,
                reason=DropReason.TOO_LARGE,
            )
        now = self._clock.monotonic()
        if now < self._not_before and self._retry is not None:
            await self._pause(self._not_before - now, now, ends_from=math.inf)
            now = self._clock.monotonic()
        started = now
        schedule: RetrySchedule | None = None
        was_examined = was_hastened = False
        while not shipment.is_closed:
            if self._is_aborted:
                raise interrupted()
            try:
                result = await self._attempts.run(payload, shipment.task, now)
            except Exception as failure:  # noqa: BLE001  the edge: whatever it is, it is translated
                error = self._translated(failure)
                if isinstance(error, RetryableError):
                    if error.is_unanswered:
                        self._books.unanswered(payload.items)
                    if schedule is None and self._retry is not None:
                        schedule = RetrySchedule(self._retry, started, random.random)
                    was_hastened = await self._wait_to_retry(
                        error, schedule, shipment, started, may_end=not was_hastened
                    )
                elif was_examined or not self._is_bad_data(error):
                    raise error  # noqa: B904  it carries its cause
                else:
                    was_examined = True
                    rest = await self._without_malformed(payload, shipment, error)
                    if rest is None:
                        return
                    payload = rest
                now = self._clock.monotonic()
            else:
                self._health.succeeded(self._settings.host, self._signal)
                self._delivered(payload, result, shipment)
                if self._pauses and self.hasten():
                    await asyncio.sleep(0)  # what has waited goes before what comes next
                return

    def _translated(self, failure: Exception) -> ConsumeError:
        """The error of an attempt as one of ours."""
        if isinstance(failure, ConsumeError):
            return failure
        error: ConsumeError
        if isinstance(failure, OSError):  # a time-out is one, too
            error = RetryableError(f"{type(failure).__name__}: {failure}")
        elif isinstance(failure, PeerError):
            is_size = failure.code == Code.RESOURCE_EXHAUSTED
            reason = DropReason.TOO_LARGE if is_size else DropReason.MALFORMED
            error = PermanentError(failure.message, code=failure.code, reason=reason)
        else:
            self._causes.say(
                ("bug", type(failure)),
                logging.ERROR,
                "the exporter failed by itself",
                error=failure,
            )
            text = f"exporter failed: {type(failure).__name__}: {failure}"
            error = PermanentError(text, reason=DropReason.EXPORT_ERROR)
        error.__cause__ = failure
        return error

    def _is_bad_data(self, error: ConsumeError) -> bool:
        """Whether the bytes are at fault; if not, the destination is, and operators see it."""
        if isinstance(error, PermanentError) and error.is_bad_data:
            return True
        self._health.failed(self._settings.host, self._signal, error.message)
        return False

    async def _wait_to_retry(
        self,
        error: RetryableError,
        schedule: RetrySchedule | None,
        shipment: Shipment,
        since: float,
        *,
        may_end: bool,
    ) -> bool:
        """Return when it is time for the next attempt; raise ``error`` if there is none.

        Whether it is earlier than it was planned: see `_Pause`.
        """
        self._health.failed(self._settings.host, self._signal, error.message)
        self.last_error = error.message
        if schedule is None or self._is_aborted or (self._is_hurried and shipment.has_sender):
            raise error
        now = self._clock.monotonic()
        if error.retry_after_s and self._retry is not None:
            hold_s = min(error.retry_after_s, self._retry.max_interval)
            self._not_before = max(self._not_before, now + hold_s)
        wait_s = schedule.next_wait_s(now, error.retry_after_s)
        if wait_s is None:
            raise error
        if self._is_hurried:
            wait_s = max(min(wait_s, _HURRIED_PAUSE_S), error.retry_after_s or 0.0)
        self._causes.say(
            ("retry", error.code),
            logging.WARNING,
            "Exporting failed. Will retry the request after interval. "
            f"error={error.message!r} interval={wait_s:.1f}s",
        )
        ends_from = now + (error.retry_after_s or 0.0) if may_end else math.inf
        return await self._pause(wait_s, since, ends_from=ends_from)

    def _delivered(self, payload: Payload, result: ExportResult | None, shipment: Shipment) -> None:
        items = payload.items
        rejected = 0
        if result is not None:
            # The number is the peer's word: it may be anything.
            rejected = min(max(result.rejected_items, 0), items)
            if result.message or (rejected and result.reason is DropReason.PARTLY_REJECTED):
                self._causes.say(
                    ("partial success", rejected > 0),
                    logging.ERROR if rejected else logging.WARNING,
                    f"the destination rejected {rejected} of {items} items ({self._signal}): "
                    f"{result.message or 'it does not say why'}",
                    items=rejected,
                )
            shipment.lost(result.reason, rejected)
            unsendable = min(result.unsendable_items, items - rejected)
            if unsendable:
                shipment.lost(DropReason.UNSENDABLE, unsendable)
                rejected += unsendable
        shipment.sent(items - rejected)

    async def _without_malformed(
        self, payload: Payload, shipment: Shipment, error: ConsumeError
    ) -> Payload | None:
        """Drop the malformed members of a payload; the rest, or ``None`` if there is none.

        Raises ``error`` if all members are well-formed, or if the data goes back to its sender,
        who has sent it as one.
        """
        from mlsysops_pipeline.pdata.validation import validate  # noqa: PLC0415  needs all views

        if shipment.has_sender and len(payload.wires) == 1:
            raise error
        sources = shipment.sources() if payload is shipment.payload else []
        good: list[bytes] = []
        lost = 0
        for index, wire in enumerate(payload.wires):
            try:
                validate(payload.signal, wire)
            except MalformedError as problem:
                items = payload.with_wires(wire).items
                lost += items
                source = sources[index] if index < len(sources) and sources[index] else "?"
                self._causes.say(
                    ("malformed", source),
                    logging.ERROR,
                    f"dropped malformed {payload.signal} from {source}: {problem}",
                    items=items,
                )
            else:
                good.append(wire)
            await asyncio.sleep(0)  # validation is slow, and there may be many members
        if len(good) == len(payload.wires):
            raise error
        shipment.lost(DropReason.MALFORMED, lost)
        self._books.failed(lost, error)
        return payload.with_wires(good, items=payload.items - lost) if good else None

    async def _pause(self, wait_s: float, since: float, *, ends_from: float) -> bool:
        """Wait, but not longer than until the collector stops, or gives up stopping.

        Whether it was ended early: see `_Pause`.
        """
        if self._is_aborted:
            return False
        pause = _Pause(asyncio.get_running_loop().create_future(), since, ends_from)
        timer = self._clock.call_later(wait_s, lambda: _let_go(pause))
        self._pauses[pause] = None
        try:
            return await pause.result
        finally:
            del self._pauses[pause]
            timer.cancel()

    def __repr__(self) -> str:
        return f"<Courier attempts={len(self._attempts)} waiting={len(self._pauses)}>"


def _let_go(pause: _Pause) -> None:
    """Its time has come."""
    if not pause.result.done():
        pause.result.set_result(False)


def _first_tried(pause: _Pause) -> float:
    return pause.since
