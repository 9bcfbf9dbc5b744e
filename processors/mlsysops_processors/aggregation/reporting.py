"""What users are told: the numbers of the processor itself, the ledger, and the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mlsysops_pipeline.errors import DropReason
from mlsysops_processors.aggregation.distributions import BOUNDS
from mlsysops_processors.aggregation.intake import FUTURE, IMPOSSIBLE, LATE, LIMIT, SILENT
from mlsysops_processors.aggregation.numbers import FALL, INVALID, OVERLAP, RESET
from mlsysops_processors.aggregation.writing import CLASH

if TYPE_CHECKING:
    from collections import Counter

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.delivery.causes import CauseLog
    from mlsysops_processors.aggregation.inputs import Inputs
    from mlsysops_processors.aggregation.intake import Intake
    from mlsysops_processors.aggregation.windows import Windows

_REASONS = {
    LATE: DropReason.LATE,
    FUTURE: DropReason.LATE,
    LIMIT: DropReason.CARDINALITY,
    IMPOSSIBLE: DropReason.UNCONVERTIBLE,
}
_MESSAGES = {
    LATE: "came after their window was closed",
    FUTURE: "are more than an interval ahead of the clock",
    LIMIT: "are of more metrics than there is room for",
    IMPOSSIBLE: "cannot be aggregated by any function of their rules",
    INVALID: "have a value or buckets that make no sense",
    FALL: "fell without a new start: a broken writer; they count as a reset",
    OVERLAP: "start before the last point of their series: two writers, or a clock that jumps",
    CLASH: "are results of the name, type and attributes of another, which is kept: a metric of"
    " several types, or rules that write the same",
    BOUNDS: "have other bounds than the newest; the result begins anew with those",
}
_PREFIX = "otelcol_processor_aggregation_"


class Reporting:
    """Counts and says what happens."""

    def __init__(
        self, settings: Settings, causes: CauseLog, inputs: Inputs, windows: Windows
    ) -> None:
        self._ledger = settings.pipeline_ledger
        self._causes = causes
        labels = self._labels = {"processor": str(settings.id), "otel.signal": "metrics"}
        meter = settings.meter
        self._outgoing = meter.counter("otelcol_processor_outgoing_items", "{item}").bind(labels)
        self._incoming = meter.counter("otelcol_processor_incoming_items", "{item}").bind(labels)
        self._points = meter.counter(
            f"{_PREFIX}exceptions", "{datapoint}", "Points that are not simply aggregated, by cause"
        )
        for name, unit, text, read in (
            ("series", "{series}", "Input series that are remembered", lambda: inputs.count),
            ("results", "{series}", "Results that are remembered", lambda: inputs.results),
            ("windows", "{window}", "Windows that are open", lambda: len(windows.by_start)),
            ("points", "{datapoint}", "Points in open windows", lambda: windows.points),
        ):
            meter.gauge(f"{_PREFIX}{name}", unit, text).observe(labels, read)

    def taken(self, intake: Intake) -> None:
        """A request was taken, and this is what was in it."""
        for cause, points in intake.left.items():
            if cause == SILENT:
                self._ledger.aggregated += points
                continue
            self._ledger.drop(_REASONS[cause], points)
            self._count(cause, points)
            self._say(cause, points, logging.ERROR, "dropped")
        for cause, points in intake.passed.items():
            self._count(cause, points)
            self._say(cause, points, logging.WARNING, "handed on as they are")
        if intake.overflown:
            self._count("overflow", intake.overflown)
        for (name, kind), functions in intake.impossible.items():
            text = name.decode(errors="replace")
            self._causes.say(
                ("impossible", name, kind),
                logging.WARNING,
                f"{', '.join(functions)} cannot be computed of metric {text!r}, a {kind}",
            )

    def closed(self, causes: Counter[str]) -> None:
        """A window was computed, and this was wrong."""
        for cause, points in causes.items():
            if not points:
                continue
            self._count(cause, points)
            if cause in {INVALID, CLASH}:
                self._say(cause, points, logging.ERROR, "dropped")
            elif cause != RESET:  # which is how it should be
                self._say(cause, points, logging.WARNING, "noticed")

    def overflown(self, labels: Counter[bytes]) -> None:
        """A window had points of series beyond ``max_series``, so many by what makes the series."""
        for label, points in labels.most_common(1):
            about = f"; they differ most in {label.decode(errors='replace')!r}" if label else ""
            self._causes.say(
                "overflow",
                logging.WARNING,
                "points of series beyond max_series go into one result of each metric, which has"
                f" the attribute otel.metric.overflow{about}",
                items=points,
            )

    def about_histogram(self, problem: str) -> None:
        """A histogram is left out (DM-5)."""
        self._causes.say("histogram", logging.WARNING, f"a histogram is dropped: {problem}")

    def handed_on(self, items: int) -> None:
        """Results were taken by the next stage."""
        self._outgoing.add(items)

    def passed_on(self, incoming: int, outgoing: int) -> None:
        """A request was taken, and so much of it was handed on."""
        self._incoming.add(incoming)
        if outgoing:
            self._outgoing.add(outgoing)

    def _count(self, cause: str, points: int) -> None:
        self._points.bind({**self._labels, "cause": cause}).add(points)

    def _say(self, cause: str, points: int, level: int, what: str) -> None:
        text = f"{what}: {points} points that {_MESSAGES[cause]}"
        self._causes.say(cause, level, text, items=points)
