"""The keys of the prometheus exporter (components, E1)."""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003  pydantic reads annotations
from typing import Annotated, Self

from pydantic import Field

from mlsysops_pipeline.config.resource_labels import (
    ResourceConversionConfig,
    ResourceLabelsConfig,
    check_resource_labels,
)
from mlsysops_pipeline.config.schema import (
    Duration,
    Finding,
    NetAddress,
    Section,
    deprecated,
    no_effect,
)
from mlsysops_pipeline.delivery.config import (
    DeliveryConfig,
    QueueConfig,
    RetryConfig,
)
from mlsysops_pipeline.prometheus.names import Strategy, label_name
from mlsysops_pipeline.transport.server_settings import HttpServerConfig

_NOTHING_SENT = "series are kept here until they are scraped"


class PageAddress(NetAddress):
    """Where the page is served."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """See `NetAddress.parse`; the Collector's message for an empty one."""
        if not text.strip():
            raise ValueError("expecting a non-blank address to run the Prometheus metrics handler")
        return super().parse(text)


class StrategyName(str):
    """The name of a translation strategy."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name. Raises `ValueError` with the Collector's message."""
        if text not in set(Strategy):
            known = ", ".join(Strategy)
            raise ValueError(f"invalid translation_strategy: {text}; the strategies are {known}")
        return cls(text)


class Config(HttpServerConfig, DeliveryConfig):
    """An HTTP server and what its page shows."""

    endpoint: PageAddress = PageAddress("localhost", 9464)
    """Where `/metrics` is served: HOST:PORT, or unix://PATH."""
    namespace: str = ""
    """Put in front of every metric name, with an underscore."""
    const_labels: dict[str, str] = Field(default_factory=dict)
    """Labels of every series. One that a series has already is left as it is, because two series
    that differ only in it would become one."""
    send_timestamps: bool = False
    """Whether samples carry the time of their points."""
    metric_expiration: Duration = 300.0
    """Seconds after its last new point at which a series disappears. 0: never."""
    enable_open_metrics: bool = False
    """Whether readers that ask for OpenMetrics get it; exemplars are only there."""
    translation_strategy: StrategyName | None = None
    """How OTLP names become Prometheus names. Unset: `UnderscoreEscapingWithSuffixes`."""
    add_metric_suffixes: Annotated[bool, deprecated("use translation_strategy")] = True
    """``false``: names without unit and type, unless ``translation_strategy`` is set."""
    resource_to_telemetry_conversion: Annotated[
        ResourceConversionConfig, deprecated("use resource_constant_labels")
    ] = ResourceConversionConfig()
    """Whether resource attributes become labels."""
    resource_constant_labels: Section[ResourceLabelsConfig] = None
    """Resource attributes that become labels of every series. Off unless written."""
    without_scope_info: bool = False
    """Leave out the `otel_scope_*` labels."""
    max_series: int = 200_000
    """How many lines of samples the page may have, beside series that ended lately; above 0.
    Labels of more than 1 KiB count as several. Points of series beyond that are dropped (reason
    ``cardinality``) and the label that makes most of them is logged."""
    timeout: Annotated[Duration, no_effect(_NOTHING_SENT, unless=0.0)] = 0.0
    """Of exporters that send."""
    retry_on_failure: Annotated[Section[RetryConfig], no_effect(_NOTHING_SENT, unless=None)] = None
    """Of exporters that send."""
    sending_queue: Section[QueueConfig] = None
    """A queue in front of the series; off unless written, and hardly ever useful."""

    @property
    def strategy(self) -> Strategy:
        """How names are made."""
        if self.translation_strategy is not None:
            return Strategy(str(self.translation_strategy))
        if self.add_metric_suffixes:
            return Strategy.UNDERSCORES_WITH_SUFFIXES
        return Strategy.UNDERSCORES_WITHOUT_SUFFIXES

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        yield from HttpServerConfig.check(self)
        if self.max_series <= 0:
            yield Finding(("max_series",), "must be positive")
        for name in self.const_labels:
            if not label_name(name, strategy=self.strategy):
                yield Finding(("const_labels", name), "is no name for a label")
            elif name.startswith("__") or name in {"le", "quantile"}:
                yield Finding(("const_labels", name), "is a name that Prometheus keeps for itself")
        yield from check_resource_labels(
            self.resource_to_telemetry_conversion, self.resource_constant_labels
        )
