"""Where items went: the conservation laws of a pipeline and of an exporter.

Pipeline: received = handed on + held + filtered{rule} + aggregated + dropped{reason} - created.
Exporter: enqueued = sent + queued + in flight + dropped{reason}.

``received`` counts what the pipeline accepted; what it refused went back to the sender. Handing
on counts once per destination, so a fan-out to three creates two copies of each item. Processors
report what they removed and why; nobody else counts it again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.errors import DropReason


@dataclass(slots=True)
class PipelineLedger:
    """The items of one pipeline since it started."""

    received: int = 0
    handed_on: int = 0
    created: int = 0
    aggregated: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    dropped: Counter[DropReason] = field(default_factory=Counter)
    holders: list[Callable[[], int]] = field(default_factory=list)

    def drop(self, reason: DropReason, items: int) -> None:
        """A processor lost ``items``."""
        self.dropped[reason] += items

    def filter(self, rule: str, items: int) -> None:
        """A processor removed ``items`` because its configuration said so."""
        self.filtered[rule] += items

    def hold(self, count: Callable[[], int]) -> None:
        """Register a processor that keeps items after accepting them; ``count`` reads how many."""
        self.holders.append(count)

    @property
    def held(self) -> int:
        """Items inside processors right now."""
        return sum(count() for count in self.holders)

    @property
    def imbalance(self) -> int:
        """Zero, unless something was lost or made without being counted."""
        out = self.handed_on + self.held + self.aggregated - self.created
        return self.received - out - self.filtered.total() - self.dropped.total()


@dataclass(slots=True)
class ExporterLedger:
    """The items of one exporter and signal since it started."""

    enqueued: int = 0
    sent: int = 0
    in_flight: int = 0
    queued: int = 0
    dropped: Counter[DropReason] = field(default_factory=Counter)

    def drop(self, reason: DropReason, items: int) -> None:
        """``items`` will never be delivered."""
        self.dropped[reason] += items

    @property
    def imbalance(self) -> int:
        """Zero, unless something was lost or made without being counted."""
        return self.enqueued - self.sent - self.queued - self.in_flight - self.dropped.total()
