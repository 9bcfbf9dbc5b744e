"""Adds up a numeric attribute of spans, events, metrics, points and log records (components, D3).

As `count`, but each item adds the value of `source_attribute`, of the item, its scope or its
resource: integers, doubles, and texts that are numbers; what is none adds nothing. Results are
monotonic delta sums of doubles, one for each request and resource.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

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

SCOPE = "github.com/open-telemetry/opentelemetry-collector-contrib/connector/sumconnector"
"""The Collector's name of the scope, by which its users find the results."""
_DIGITS_MAX = 400


class SumConfig(ResultConfig):
    """One sum."""

    source_attribute: str = ""
    """The attribute whose values are added up. Required."""


class Config(ComponentConfig):
    """Sums by name, for each kind of item."""

    spans: dict[str, SumConfig] = Field(default_factory=dict)
    """Over spans."""
    spanevents: dict[str, SumConfig] = Field(default_factory=dict)
    """Over events of spans."""
    metrics: dict[str, SumConfig] = Field(default_factory=dict)
    """Over metrics, which have no attributes: of their scopes and resources."""
    datapoints: dict[str, SumConfig] = Field(default_factory=dict)
    """Over data points."""
    logs: dict[str, SumConfig] = Field(default_factory=dict)
    """Over log records."""

    def check(self) -> Iterable[Finding]:
        """See `check_results`; and each sum has a source."""
        for kind in kinds():
            # What could not be read is missing here, and must not hide what else is wrong.
            results = getattr(self, kind, {})
            yield from check_results(kind, results)
            for name, result in results.items():
                if not result.source_attribute:
                    message = f"{kind}: metric source_attribute missing"
                    yield Finding((kind, name, "source_attribute"), message)


def amount_of(value: Any) -> float | None:
    """What an ``AnyValue`` adds; ``None`` if it is no finite number."""
    kind = value.WhichOneof("value")
    if kind == "int_value":
        return float(value.int_value)
    if kind == "double_value":
        return value.double_value if math.isfinite(value.double_value) else None
    if kind != "string_value" or len(value.string_value) > _DIGITS_MAX:
        return None
    try:
        number = float(value.string_value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _create(
    config: Config, settings: Settings, next_: Mapping[PipelineID, Entry]
) -> TallyConnector:
    rules = {
        kind: [
            rule_of(kind, name, result, source=result.source_attribute.encode(), amount=amount_of)
            for name, result in getattr(config, kind).items()
        ]
        for kind in kinds()
    }
    return TallyConnector(rules, SCOPE, settings, next_)


FACTORY = Factory(
    kind=Kind.CONNECTOR,
    type="sum",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    pairs=PAIRS,
    stability=Stability.ALPHA,
)
