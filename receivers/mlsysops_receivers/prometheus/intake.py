"""The way of scraped points into the pipelines, and the numbers about it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.errors import ConsumeError, PeerError
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.transport.complaints import Complaints

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Entry, Settings
    from mlsysops_receivers.prometheus.scrape import Scraped

_METADATA: Final = Metadata("prometheus")
_LEFT_OUT: Final = ("duplicates", "out_of_order", "out_of_bounds", "unmapped", "rejected")


class Intake:
    """Counts and hands on. ``turn``: of the pages that have much to read, one after the other."""

    def __init__(self, entry: Entry, settings: Settings) -> None:
        self.turn = asyncio.Lock()
        self._logger = settings.logger
        self._entry = entry
        self._complaints = Complaints(settings.logger, settings.clock)
        receiver = str(settings.id)
        attributes = {"receiver": receiver, "transport": "http"}
        meter, name = settings.meter, Signal.METRICS.item_noun
        self._accepted = meter.counter(f"otelcol_receiver_accepted_{name}", "{datapoint}").bind(
            attributes
        )
        self._refused = meter.counter(f"otelcol_receiver_refused_{name}", "{datapoint}").bind(
            attributes
        )
        left_out = meter.counter(
            "mlsysops_receiver_left_out_samples",
            "{sample}",
            "Samples of pages that were otherwise kept.",
        )
        self._left_out = {
            reason: left_out.bind({"receiver": receiver, "reason": reason}) for reason in _LEFT_OUT
        }

    def admit(self, size: int) -> None:
        """See `Entry.admit`."""
        self._entry.admit(size)

    async def take(self, wire: bytes, target: object, points: int | None = None) -> bool:
        """Whether the pipelines took responsibility; if not, that is counted and logged.

        ``points``: how many they are, if that is known.
        """
        if not wire:
            return True
        payload = Payload(Signal.METRICS, wire, _METADATA, items=points)
        try:
            await self._entry.consume(payload)
        except (ConsumeError, PeerError) as error:
            self.refuse(payload.items, target, str(error))
            return False
        except Exception as error:  # the edge: whatever it is, it is counted
            self._logger.exception("handing on a scrape of %s failed", target)
            self.refuse(payload.items, target, f"{type(error).__name__}: {error}")
            return False
        self._accepted.add(payload.items)
        return True

    def refuse(self, points: int, target: object, reason: str) -> None:
        """Count points that were not taken."""
        self._refused.add(points)
        self._complaints.say("refused", f"Scrape commit failed: {reason} (target {target})")

    def note(self, scraped: Scraped) -> None:
        """Count the samples of a page that were left out."""
        for reason, number in self._left_out.items():
            count = getattr(scraped, reason)
            if count:
                number.add(count)

    def complain(self, target: object, scraped: Scraped) -> None:
        """Log, rarely, which target has samples that are left out."""
        for reason in _LEFT_OUT:
            count = getattr(scraped, reason)
            if count:
                words = reason.replace("_", "-")
                text = f"{count} samples of a page were left out: {words} (target {target})"
                self._complaints.say((reason, str(target)), text)

    def __repr__(self) -> str:
        return f"<Intake accepted={self._accepted.value} refused={self._refused.value}>"
