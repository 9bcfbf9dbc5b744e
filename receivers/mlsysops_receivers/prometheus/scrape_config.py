"""`global` and `scrape_configs` of a prometheus.yml: what is scraped, and how."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from mlsysops_pipeline.config.schema import ComponentConfig, Finding, no_effect, refused
from mlsysops_receivers.prometheus.client_config import ClientConfig
from mlsysops_receivers.prometheus.discovery_config import DiscoveryConfig
from mlsysops_receivers.prometheus.relabel import RelabelConfig
from mlsysops_receivers.prometheus.scalars import ByteSize, PromDuration, Text

if TYPE_CHECKING:
    from collections.abc import Iterable

Protocol = Literal[
    "PrometheusProto",
    "PrometheusText0.0.4",
    "PrometheusText1.0.0",
    "OpenMetricsText0.0.1",
    "OpenMetricsText1.0.0",
]
Escaping = Literal["", "allow-utf-8", "underscores", "dots", "values"]
Validation = Literal["", "utf8", "legacy"]

PROTOCOLS: Final[tuple[Protocol, ...]] = (
    "OpenMetricsText1.0.0",
    "OpenMetricsText0.0.1",
    "PrometheusText1.0.0",
    "PrometheusText0.0.4",
)
"""What a target is asked for unless something else is written, the best first."""

_PROTOBUF: Final = "the protobuf format comes later; leave it out, and targets send text"
_NATIVE: Final = "native histograms need the protobuf format, which comes later; leave it out"
_NO_EVALUATION: Final = "nothing is evaluated here"
_LIMITS: Final = (
    "sample_limit",
    "target_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
)


class LimitConfig(ComponentConfig):
    """The keys that `global` and jobs share. Of a job, ``None`` means what `global` says."""

    scrape_protocols: tuple[Protocol, ...] | None = None
    """The formats that targets are asked for, the best first."""
    body_size_limit: ByteSize | None = None
    """Bytes of a page, decompressed, above which the scrape fails; zero means 64 MiB."""
    sample_limit: int | None = None
    """Samples of a page, after relabelling, above which the scrape fails. Zero means none, but a
    page with more than 200,000 before relabelling fails unless this is larger."""
    target_limit: int | None = None
    """Targets of a job above which all its scrapes fail; zero means any number."""
    label_limit: int | None = None
    """Labels of a sample above which the scrape fails; zero means any number."""
    label_name_length_limit: int | None = None
    """Length of a label's name above which the scrape fails; zero means any."""
    label_value_length_limit: int | None = None
    """Length of a label's value above which the scrape fails; zero means any."""
    keep_dropped_targets: Annotated[
        int | None, no_effect("targets that relabelling drops are only counted", unless=0)
    ] = None
    """How many targets that relabelling drops are remembered for display."""
    metric_name_validation_scheme: Validation | None = None
    """`legacy` asks targets for names without dots and the like; `utf8` takes every name."""
    metric_name_escaping_scheme: Escaping | None = None
    """How targets are asked to write names that older programs could not read."""
    scrape_native_histograms: Annotated[bool | None, refused(_NATIVE, unless=False)] = None
    """Whether native histograms are asked for."""
    convert_classic_histograms_to_nhcb: Annotated[
        bool | None, refused("classic histograms stay explicit histograms", unless=False)
    ] = None
    """Whether classic histograms become native ones with custom buckets."""
    always_scrape_classic_histograms: Annotated[
        bool | None, no_effect("classic histograms are always scraped", unless=True)
    ] = None
    """Whether classic histograms are kept beside native ones."""
    extra_scrape_metrics: bool | None = None
    """Whether timeout, sample limit and body size of every scrape are reported, too."""
    scrape_failure_log_file: Annotated[
        str, no_effect("failed scrapes are in the log of this program", unless="")
    ] = ""
    """A file for the failures of scrapes."""

    def check(self) -> Iterable[Finding]:
        """No limit is negative, and formats are distinct and spoken."""
        yield from super().check()
        for key in _LIMITS:
            if (getattr(self, key) or 0) < 0:
                yield Finding((key,), "must not be negative")
        seen: set[str] = set()
        for index, protocol in enumerate(self.scrape_protocols or ()):
            if protocol == "PrometheusProto":
                message = f"PrometheusProto is not supported: {_PROTOBUF}"
                yield Finding(("scrape_protocols", index), message)
            if protocol in seen:
                message = f"duplicated protocol in scrape_protocols: {protocol}"
                yield Finding(("scrape_protocols", index), message)
            seen.add(protocol)
        if self.scrape_protocols is not None and not self.scrape_protocols:
            yield Finding(("scrape_protocols",), "scrape_protocols cannot be empty")
        if self.metric_name_validation_scheme == "legacy" and (
            self.metric_name_escaping_scheme == "allow-utf-8"
        ):
            message = "utf8 metric names requested but validation scheme is not set to UTF8"
            yield Finding(("metric_name_escaping_scheme",), message)


class GlobalConfig(LimitConfig):
    """`global`: what holds for every job that does not say otherwise."""

    scrape_interval: PromDuration = PromDuration(60.0, "1m")
    """Time between two scrapes of a target; zero means one minute."""
    scrape_timeout: PromDuration = PromDuration(0.0)
    """How long a scrape may take; zero means 10s, or the interval where that is shorter."""
    external_labels: dict[str, Text] = {}  # noqa: RUF012  models are frozen
    """Labels that every point gets; they replace its own."""
    evaluation_interval: Annotated[PromDuration, no_effect(_NO_EVALUATION)] = PromDuration(0.0)
    """Time between evaluations of rules."""
    rule_query_offset: Annotated[PromDuration, no_effect(_NO_EVALUATION)] = PromDuration(0.0)
    """How far back rules look."""
    query_log_file: Annotated[str, no_effect(_NO_EVALUATION)] = ""
    """A file for queries."""

    @property
    def interval_s(self) -> float:
        """Seconds between scrapes."""
        return self.scrape_interval.seconds or 60.0

    @property
    def timeout_s(self) -> float:
        """Seconds that a scrape may take."""
        return self.scrape_timeout.seconds or min(10.0, self.interval_s)

    def check(self) -> Iterable[Finding]:
        """A scrape ends before the next one begins."""
        yield from super().check()
        if self.timeout_s > self.interval_s:
            message = "global scrape timeout greater than scrape interval"
            yield Finding(("scrape_timeout",), message)
        for name in self.external_labels:
            if not name:
                yield Finding(("external_labels",), '"" is not a valid label name')


class ScrapeConfig(LimitConfig, DiscoveryConfig, ClientConfig):
    """One job."""

    job_name: Text
    """The name of the job, its `job` label; unique."""
    scrape_interval: PromDuration | None = None
    """Time between two scrapes of a target; zero means that of `global`."""
    scrape_timeout: PromDuration | None = None
    """How long a scrape may take, the interval at most; zero means that of `global`, or the
    interval where that is shorter."""
    metrics_path: Text = Text("/metrics")
    """The path of the page."""
    scheme: Literal["http", "https", ""] = "http"
    """How targets are asked."""
    params: dict[str, tuple[Text, ...]] = {}  # noqa: RUF012  models are frozen
    """Parameters of the URL."""
    honor_labels: bool = False
    """Whether `job`, `instance` and the like on the page win over those of the target, which
    otherwise push them aside as `exported_job`."""
    honor_timestamps: bool = True
    """Whether timestamps on the page are kept."""
    track_timestamps_staleness: bool = False
    """Whether series with timestamps on the page end with a stale marker, too."""
    enable_compression: bool = True
    """Whether targets may send gzip."""
    fallback_scrape_protocol: Protocol | None = None
    """How a page without a usable Content-Type is read; nothing means text 0.0.4."""
    native_histogram_bucket_limit: Annotated[int, no_effect(_NATIVE, unless=0)] = 0
    """Buckets of a native histogram."""
    native_histogram_min_bucket_factor: Annotated[float, no_effect(_NATIVE, unless=0.0)] = 0.0
    """Growth of the buckets of a native histogram."""
    scrape_classic_histograms: Annotated[
        bool, no_effect("classic histograms are always scraped", unless=True)
    ] = True
    """Old spelling of always_scrape_classic_histograms."""
    relabel_configs: tuple[RelabelConfig, ...] = ()
    """Rules over the labels of targets, before they are scraped."""
    metric_relabel_configs: tuple[RelabelConfig, ...] = ()
    """Rules over the labels of samples, `__name__` among them."""

    def check(self) -> Iterable[Finding]:
        """A name, and a format that can be read."""
        yield from super().check()
        if not self.job_name:
            yield Finding(("job_name",), "job_name is empty")
        elif not self.job_name.isprintable():
            message = f"{str(self.job_name)!r} has a line end or another control character"
            yield Finding(("job_name",), message)
        if self.fallback_scrape_protocol == "PrometheusProto":
            message = f"PrometheusProto is not supported: {_PROTOBUF}"
            yield Finding(("fallback_scrape_protocol",), message)
        if not self.relabel_configs:
            # Otherwise it may be a URL that a rule makes a parameter of (blackbox_exporter).
            for index, config in enumerate(self.static_configs):
                for found in config.address_findings():
                    yield replace(found, path=("static_configs", index, *found.path))
        interval, timeout = self.scrape_interval, self.scrape_timeout
        if interval and timeout and timeout.seconds > interval.seconds:
            yield Finding(("scrape_timeout",), timeout_message(self.job_name))

    def check_against(self, defaults: GlobalConfig) -> Iterable[Finding]:
        """What can only be judged beside `global`."""
        has_timeout_only = self.scrape_timeout and not self.scrape_interval
        if has_timeout_only and self.timeout_s(defaults) > defaults.interval_s:
            yield Finding(("scrape_timeout",), timeout_message(self.job_name))

    def interval_s(self, defaults: GlobalConfig) -> float:
        """Seconds between scrapes."""
        return (self.scrape_interval and self.scrape_interval.seconds) or defaults.interval_s

    def timeout_s(self, defaults: GlobalConfig) -> float:
        """Seconds that a scrape may take, the interval at most."""
        if self.scrape_timeout:
            return self.scrape_timeout.seconds
        return min(defaults.timeout_s, self.interval_s(defaults))


def timeout_message(job: str) -> str:
    """What Prometheus says about a timeout above the interval."""
    return f'scrape timeout greater than scrape interval for scrape config with job name "{job}"'


def inherited(job: ScrapeConfig, defaults: GlobalConfig, key: str, fallback: Any) -> Any:
    """A shared key: of the job where it is written, else of `global`, else ``fallback``."""
    for config in (job, defaults):
        value = getattr(config, key)
        if value is not None:
            return value
    return fallback
