"""Counts spans, their events, metrics, data points and log records, as metrics (components, D2).

For each request and resource there is one monotonic delta sum per result, of the time at which it
was counted; put `delta_to_cumulative` in front of what wants totals. An item that lacks an
attribute without a default is not counted. A kind whose results are written has no default one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from mlsysops_pipeline.component import Factory, Kind, Stability
from mlsysops_pipeline.config.schema import ComponentConfig, Finding
from mlsysops_pipeline.connectors.tallying import (
    PAIRS,
    ResultConfig,
    TallyConnector,
    check_results,
    kinds,
    rule_of,
)
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlsysops_pipeline.component import Entry, PipelineID, Settings

SCOPE = "github.com/open-telemetry/opentelemetry-collector-contrib/connector/countconnector"
"""The Collector's name of the scope, by which its users find the results."""


def _default(name: str, what: str) -> dict[str, ResultConfig]:
    return {name: ResultConfig(description=f"The number of {what} observed.")}


class Config(ComponentConfig):
    """Results by name, for each kind of item."""

    spans: dict[str, ResultConfig] = Field(
        default_factory=lambda: _default("trace.span.count", "spans")
    )
    """Of spans; `trace.span.count` unless written."""
    spanevents: dict[str, ResultConfig] = Field(
        default_factory=lambda: _default("trace.span.event.count", "span events")
    )
    """Of events of spans; `trace.span.event.count` unless written."""
    metrics: dict[str, ResultConfig] = Field(
        default_factory=lambda: _default("metric.count", "metrics")
    )
    """Of metrics; `metric.count` unless written."""
    datapoints: dict[str, ResultConfig] = Field(
        default_factory=lambda: _default("metric.datapoint.count", "data points")
    )
    """Of data points; `metric.datapoint.count` unless written."""
    logs: dict[str, ResultConfig] = Field(
        default_factory=lambda: _default("log.record.count", "log records")
    )
    """Of log records; `log.record.count` unless written."""

    def check(self) -> Iterable[Finding]:
        """See `check_results`."""
        for kind in kinds():
            # What could not be read is missing here, and must not hide what else is wrong.
            yield from check_results(kind, getattr(self, kind, {}))


def _create(
    config: Config, settings: Settings, next_: Mapping[PipelineID, Entry]
) -> TallyConnector:
    rules = {
        kind: [rule_of(kind, name, result) for name, result in getattr(config, kind).items()]
        for kind in kinds()
    }
    return TallyConnector(rules, SCOPE, settings, next_)


FACTORY = Factory(
    kind=Kind.CONNECTOR,
    type="count",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    pairs=PAIRS,
    stability=Stability.ALPHA,
)
