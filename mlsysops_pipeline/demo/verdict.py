"""The comparison at the end: did everything that the SDK program sent arrive?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlsysops_pipeline.demo.reports import SIGNALS

if TYPE_CHECKING:
    from mlsysops_pipeline.demo.reports import ArrivedCounts, SdkReport, SentCounts, SinkReport
    from mlsysops_pipeline.demo.values import Reading

_NOUNS = {"metrics": "data points", "logs": "log records", "traces": "spans"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What both ends said last, and what went wrong besides."""

    sdk: SdkReport
    sink: SinkReport
    mishaps: list[str] = field(default_factory=list)
    """Processes that died, failed or had to be killed, one sentence each."""
    reading: Reading | None = None
    """One value at the node and at the continuum, once they were asked."""

    def problems(self) -> list[str]:
        """Everything that keeps the demo from being a success, a sentence each. Empty: success."""
        found = list(self.mishaps)
        if not self.sdk.final:
            found.append("the SDK program did not give its final numbers")
        if not self.sink.final:
            found.append("the sink did not give its final numbers")
        for signal in SIGNALS:
            found += differences(signal, self.sdk.signals[signal], self.sink.signals[signal])
        return found + (self.reading.problems() if self.reading is not None else [])

    def lines(self) -> list[str]:
        """The summary for the reader, without the verdict."""
        heads = ("recorded", "SDK sent", "sink got", "duplicates")
        lines = [f"{'':10}" + "".join(f"{head:>12}" for head in heads)]
        for signal in SIGNALS:
            sent, arrived = self.sdk.signals[signal], self.sink.signals[signal]
            numbers = (sent.made, sent.acknowledged, arrived.items, arrived.duplicates)
            mark = "equal" if not differences(signal, sent, arrived) else "NOT EQUAL"
            cells = "".join(f"{number:>12,}" for number in numbers)
            lines.append(f"{signal:10}{cells}   {mark}")
        value = [self.reading.line()] if self.reading is not None else []
        return [*lines, "", *self._levels(), *value]

    def _levels(self) -> list[str]:
        if not self.sink.levels:
            return ["mlsysops.levels at the sink: nothing arrived"]
        return [
            f"mlsysops.levels at the sink: {' -> '.join(path) or '(none)'}  on {items:,} items"
            for path, items in self.sink.levels
        ]


def differences(signal: str, sent: SentCounts, arrived: ArrivedCounts) -> list[str]:
    """In what the two ends differ about one signal, a sentence each."""
    nouns = _NOUNS[signal]
    found = []
    if sent.failed or sent.made != sent.acknowledged:
        missing = sent.made - sent.acknowledged
        found.append(
            f"{signal}: of {sent.made:,} recorded {nouns} the agent did not acknowledge {missing:,}"
        )
    if not sent.made:
        found.append(f"{signal}: the SDK program recorded no {nouns}, so nothing is shown")
    # Counts that are equal by a duplicate for each loss are no success either.
    distinct = arrived.items - arrived.duplicates
    if distinct != sent.acknowledged or arrived.items != sent.acknowledged:
        parts = [f"{signal}: the SDK program sent {sent.acknowledged:,} {nouns}, "]
        parts.append(f"the sink got {arrived.items:,}")
        if arrived.duplicates:
            parts.append(f", {arrived.duplicates:,} of them twice")
        if distinct < sent.acknowledged:
            parts.append(f"; {sent.acknowledged - distinct:,} missing")
            if arrived.gaps:
                parts.append(f", among them number {', '.join(map(str, arrived.gaps))}")
        found.append("".join(parts))
    return found
