"""What users write about the `prometheus` receiver (components, B1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from mlsysops_pipeline.config.schema import (
    ComponentConfig,
    Duration,
    Finding,
    Severity,
    WhenWritten,
    no_effect,
    refused,
)
from mlsysops_receivers.prometheus.scalars import seconds_text
from mlsysops_receivers.prometheus.scrape_config import GlobalConfig, ScrapeConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_STORAGE: Final = "this program keeps no series"
_UNSUPPORTED: Final = {
    "remote_write": "send on with the prometheusremotewrite exporter",
    "remote_read": "there is nothing to query here",
    "rule_files": "let a Prometheus behind this program evaluate rules",
}


class AlertingConfig(ComponentConfig):
    """`alerting`, which must be empty here."""

    alert_relabel_configs: tuple[Any, ...] = ()
    """Rules over the labels of alerts."""
    alertmanagers: tuple[Any, ...] = ()
    """Where alerts would be sent."""


class PrometheusConfig(ComponentConfig):
    """The part of a prometheus.yml that is about scraping."""

    defaults: GlobalConfig = Field(default=GlobalConfig(), alias="global")
    """What holds for every job."""
    scrape_configs: tuple[ScrapeConfig, ...] = ()
    """The jobs."""
    scrape_config_files: tuple[str, ...] = ()
    """Files with more jobs under `scrape_configs`, read at the start; a `*` may stand in the last
    part of a path."""
    remote_write: tuple[Any, ...] = ()
    """Of Prometheus: where it sends samples."""
    remote_read: tuple[Any, ...] = ()
    """Of Prometheus: where it queries others."""
    rule_files: tuple[Any, ...] = ()
    """Of Prometheus: recording and alerting rules."""
    alerting: AlertingConfig | None = None
    """Of Prometheus: where it sends alerts."""
    runtime: Annotated[Any, no_effect("it is about Go's runtime")] = None
    """Of Prometheus: its garbage collection."""
    storage: Annotated[Any, no_effect(_STORAGE)] = None
    """Of Prometheus: its database."""
    tracing: Annotated[Any, no_effect("this program sends no traces of itself")] = None
    """Of Prometheus: where it sends its own traces."""
    otlp: Annotated[Any, no_effect("the otlp receiver takes OTLP")] = None
    """Of Prometheus: how it takes OTLP."""

    def check(self) -> Iterable[Finding]:
        """Nothing that only a Prometheus does, job names that differ, intervals that are meant."""
        yield from self._check_unsupported()
        seen: set[str] = set()
        for index, job in enumerate(self.scrape_configs):
            place = ("scrape_configs", index)
            if job.job_name in seen:
                message = f'found multiple scrape configs with job name "{job.job_name}"'
                yield Finding((*place, "job_name"), message)
            seen.add(job.job_name)
            for finding in job.check_against(self.defaults):
                yield Finding((*place, *finding.path), finding.message)
            if job.scrape_interval is not None and not job.scrape_interval:
                default = seconds_text(self.defaults.interval_s)
                yield Finding(
                    (*place, "scrape_interval"),
                    f"{job.scrape_interval} means the interval of `global` here, {default}; what "
                    "renders half a second as 0 asks for one minute",
                    Severity.WARNING,
                    "write 500ms if half a second is meant",
                )

    def _check_unsupported(self) -> Iterator[Finding]:
        for key, advice in _UNSUPPORTED.items():
            if getattr(self, key):
                yield Finding((key,), f"unsupported features: {key}", suggestion=advice)
        if self.alerting is None:
            return
        names = {"alert_relabel_configs": "relabel_configs", "alertmanagers": "alertmanagers"}
        for key, name in names.items():
            if getattr(self.alerting, key):
                message = f"unsupported features: alert_config.{name}"
                yield Finding(("alerting", key), message, suggestion="nothing raises alerts here")


class Config(ComponentConfig):
    """The `prometheus` receiver."""

    config: PrometheusConfig = PrometheusConfig()
    """A prometheus.yml, as far as it is about scraping. Write `$$` for `$` in it."""
    scrape_configs: Annotated[
        Any, WhenWritten(Severity.ERROR, "has its place one level lower, below `config`")
    ] = None
    """The jobs stand in `config`, as in a prometheus.yml."""
    trim_metric_suffixes: bool = False
    """Take `_total`, unit and type off the names of metrics, where they are known."""
    target_allocator: Annotated[
        Any,
        refused(
            "the Target Allocator comes later; name its jobs in scrape_configs, with "
            "http_sd_configs for their targets",
            unless=None,
        ),
    ] = None
    """Of the Kubernetes operator: who shares targets out over several collectors."""
    api_server: Annotated[
        Any,
        refused(
            "the web API of Prometheus; the state of targets is in the self-metrics and in health",
            unless=None,
        ),
    ] = None
    """Part of the web API of Prometheus."""
    scrape_on_shutdown: bool = False
    """Whether every target is scraped once more before stopping."""
    discovery_reload_on_startup: Annotated[
        bool, no_effect("targets are scraped as soon as they are found", unless=False)
    ] = False
    """Of the Collector: discovery begins without its usual pause."""
    initial_scrape_offset: Duration = 0.0
    """Time from the start to the first scrape of every target; zero spreads targets over their
    interval, so that they are not all scraped at once."""

    def check(self) -> Iterable[Finding]:
        """There is something to scrape."""
        if not self.config.scrape_configs and not self.config.scrape_config_files:
            yield Finding(("config",), "no Prometheus scrape_configs or target_allocator set")
