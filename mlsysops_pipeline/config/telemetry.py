"""`service.telemetry`: the collector's own logs, metrics and resource (service behaviour, 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from mlsysops_pipeline.config.schema import (
    CaseInsensitive,
    ComponentConfig,
    Duration,
    Endpoint,
    Finding,
    NetAddress,
    Section,
    Severity,
    no_effect,
    refused,
)

_METRICS_PORT = 8888
_NAMES = "own metrics come out under the names of the Collector's default reader"


class LogSampling(ComponentConfig):
    """Which of many equal log messages are written."""

    tick: Duration = 10.0
    """The period in which equal messages of one level are counted."""
    initial: int = Field(10, ge=0)
    """How many of them are written in each period."""
    thereafter: int = Field(100, ge=0)
    """After those, every n-th is written; 0 = none."""


class LogsConfig(ComponentConfig):
    """How the collector itself logs, when it runs as a program."""

    level: Annotated[
        Literal["debug", "info", "warn", "warning", "error", "dpanic", "panic", "fatal"],
        CaseInsensitive(),
    ] = "info"
    """The least severe level that is written."""
    encoding: Literal["console", "json"] = "console"
    """Whether lines are for people or JSON objects."""
    sampling: Section[LogSampling] = Field(default_factory=LogSampling)
    """Thins out repeated messages."""
    initial_fields: dict[str, Any] = Field(default_factory=dict)
    """Fields on every line."""
    development: Annotated[bool, no_effect("there is no development mode", unless=False)] = False
    """Accepted and ignored."""
    disable_caller: Annotated[
        bool, no_effect("lines always say where they come from", unless=False)
    ] = False
    """Accepted and ignored."""
    disable_stacktrace: Annotated[
        bool, no_effect("a stack trace is written where an exception was caught", unless=False)
    ] = False
    """Accepted and ignored."""
    output_paths: Annotated[
        tuple[str, ...], no_effect("logs go to standard error", unless=("stderr",))
    ] = ("stderr",)
    """Accepted and ignored."""
    error_output_paths: Annotated[
        tuple[str, ...], no_effect("logs go to standard error", unless=("stderr",))
    ] = ("stderr",)
    """Accepted and ignored."""
    disable_zap_resource: Annotated[
        bool, no_effect("lines do not carry the resource", unless=True)
    ] = False
    """Accepted and ignored."""
    processors: Annotated[
        tuple[Any, ...], refused("the collector's own logs are not sent by OTLP", unless=())
    ] = ()
    """Not supported."""


class PrometheusExporter(ComponentConfig):
    """The page with the collector's own metrics, at the path /metrics."""

    host: str = "localhost"
    """The address to listen on."""
    port: int = Field(_METRICS_PORT, ge=0, le=65535)
    """The port; 0 = any free one."""
    without_scope_info: Annotated[bool, refused(_NAMES, unless=True)] = True
    """Only ``true`` is supported."""
    without_units: Annotated[bool, refused(_NAMES, unless=True)] = True
    """Only ``true`` is supported."""
    without_type_suffix: Annotated[bool, refused(_NAMES, unless=True)] = True
    """Only ``true`` is supported."""
    with_resource_constant_labels: Annotated[
        Any, refused("resource attributes are only in target_info", unless=None)
    ] = None
    """Not supported."""
    translation_strategy: Annotated[
        str, refused(_NAMES, unless="UnderscoreEscapingWithoutSuffixes")
    ] = "UnderscoreEscapingWithoutSuffixes"
    """Only the default is supported."""


class PullExporter(ComponentConfig):
    """What a pull reader offers."""

    prometheus: Section[PrometheusExporter] = None
    """Prometheus text over HTTP."""

    def check(self) -> Iterable[Finding]:
        """A pull reader needs its exporter."""
        if self.prometheus is None:
            yield Finding((), "a pull reader needs an exporter", suggestion="write prometheus:")


class PullReader(ComponentConfig):
    """Own metrics for those who fetch them."""

    exporter: PullExporter
    """How they are fetched."""


class MetricReader(ComponentConfig):
    """One way out for the collector's own metrics."""

    pull: PullReader | None = None
    """Served over HTTP."""
    periodic: Annotated[
        Any, refused("own metrics are served by a pull reader, not pushed", unless=None)
    ] = None
    """Not supported."""

    def check(self) -> Iterable[Finding]:
        """A reader is one of the two."""
        if self.pull is None and self.periodic is None:
            yield Finding((), "a reader is either pull or periodic", suggestion="write pull:")


class MetricsConfig(ComponentConfig):
    """The collector's own metrics. Without ``readers`` nothing listens."""

    level: Annotated[Literal["none", "basic", "normal", "detailed"], CaseInsensitive()] = "normal"
    """How much is measured; ``none`` = nothing, and nothing listens."""
    readers: tuple[MetricReader, ...] = ()
    """Where they come out."""
    views: Annotated[tuple[Any, ...], refused("the views of own metrics are fixed", unless=())] = ()
    """Not supported."""
    address: Annotated[
        Any,
        refused(
            "it was removed; write readers: "
            "[{pull: {exporter: {prometheus: {host: HOST, port: PORT}}}}]"
        ),
    ] = None
    """Removed from the Collector; see ``readers``."""

    def check(self) -> Iterable[Finding]:
        """What is measured has to come out somewhere."""
        if "readers" in self.model_fields_set and not self.readers and self.level != "none":
            message = (
                "collector telemetry metrics reader should exist when metric level is not none"
            )
            yield Finding(("readers",), message, suggestion="write level: none to switch them off")

    def pages(self) -> tuple[NetAddress, ...]:
        """Where the metrics are served; empty when they are off."""
        if self.level == "none":
            return ()
        exporters = [r.pull.exporter.prometheus for r in self.readers if r.pull is not None]
        return tuple(NetAddress(e.host, e.port) for e in exporters if e is not None)

    def listeners(self) -> Iterable[Endpoint]:
        """See `ComponentConfig.listeners`."""
        if self.level == "none":
            return
        for index, reader in enumerate(self.readers):
            if reader.pull is not None and reader.pull.exporter.prometheus is not None:
                path = ("readers", index, "pull", "exporter", "prometheus", "port")
                page = reader.pull.exporter.prometheus
                yield Endpoint(path, page.host, page.port)


class TracesConfig(ComponentConfig):
    """The collector's own traces. There are none: every key is accepted and ignored."""

    level: Annotated[Any, no_effect("the collector makes no traces of itself", unless="none")] = (
        "none"
    )
    """Accepted and ignored."""
    propagators: Annotated[
        tuple[Any, ...], no_effect("the collector makes no traces of itself", unless=())
    ] = ()
    """Accepted and ignored."""
    processors: Annotated[
        tuple[Any, ...], no_effect("the collector makes no traces of itself", unless=())
    ] = ()
    """Accepted and ignored."""


class TelemetryConfig(ComponentConfig):
    """What the collector tells about itself."""

    logs: LogsConfig = Field(default_factory=LogsConfig)
    """Its log lines."""
    metrics: MetricsConfig = Field(default_factory=MetricsConfig)
    """Its metrics."""
    traces: TracesConfig = Field(default_factory=TracesConfig)
    """Accepted and ignored."""
    resource: Any = None
    """Attributes that tell this collector from others: a map (a null value removes a default), or
    ``attributes: [{name, value}]``."""

    def check(self) -> Iterable[Finding]:
        """The two forms of ``resource``."""
        return [] if self.resource is None else list(_resource_findings(self.resource))

    def resource_attributes(self) -> dict[str, str | None]:
        """The attributes that are configured; ``None`` removes one that would be there."""
        if not isinstance(self.resource, dict):
            return {}
        listed = self.resource.get("attributes")
        if isinstance(listed, list):
            return {item["name"]: _text(item.get("value")) for item in listed}
        return {key: _text(value) for key, value in self.resource.items()}


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


def _resource_findings(resource: Any) -> Iterable[Finding]:
    if not isinstance(resource, dict):
        yield Finding(("resource",), "expected a map of attributes")
        return
    listed = resource.get("attributes")
    if not isinstance(listed, list):
        for key, value in resource.items():
            if isinstance(value, dict | list):
                yield Finding(("resource", key), "expected a string, got a map or list")
        return
    for key in resource:
        if key in {"schema_url", "detection/development", "detectors"}:
            message = "has no effect here: attributes are as configured, none are detected"
            yield Finding(("resource", key), message, Severity.WARNING)
        elif key != "attributes":
            yield Finding(("resource", key), "unknown key", suggestion="allowed: attributes")
    for index, item in enumerate(listed):
        yield from _attribute_findings(("resource", "attributes", index), item)


def _attribute_findings(path: tuple[str | int, ...], item: Any) -> Iterable[Finding]:
    if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
        yield Finding(path, "expected a map of name and value")
        return
    for key, value in item.items():
        if key not in {"name", "value", "type"}:
            hint = "allowed: name, value, type"
            yield Finding((*path, key), "unknown key", suggestion=hint)
        elif isinstance(value, dict | list):
            yield Finding((*path, key), "expected a string, got a map or list")
