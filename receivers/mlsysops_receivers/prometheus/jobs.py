"""A job with everything resolved: what `global` says, defaults, compiled rules, headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mlsysops_pipeline.version import VERSION, user_agent
from mlsysops_receivers.prometheus.relabel import relabeler
from mlsysops_receivers.prometheus.scalars import ByteSize, seconds_text
from mlsysops_receivers.prometheus.scrape import ScrapeOptions
from mlsysops_receivers.prometheus.scrape_config import PROTOCOLS, inherited

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlsysops_receivers.prometheus.relabel import Labels
    from mlsysops_receivers.prometheus.scrape_config import GlobalConfig, ScrapeConfig

BODY_BYTES_MAX: Final = 64 << 20
"""Of a page, decompressed, where no body_size_limit is written."""
SAMPLES_MAX: Final = 200_000
"""Of a page, before relabelling, unless sample_limit is larger: so that memory is bounded."""
_MEDIA_TYPES: Final = {
    "PrometheusText0.0.4": "text/plain;version=0.0.4",
    "PrometheusText1.0.0": "text/plain;version=1.0.0",
    "OpenMetricsText0.0.1": "application/openmetrics-text;version=0.0.1",
    "OpenMetricsText1.0.0": "application/openmetrics-text;version=1.0.0",
}
_WITH_ESCAPING: Final = frozenset({"PrometheusText1.0.0", "OpenMetricsText1.0.0"})
_TEXT: Final = _MEDIA_TYPES["PrometheusText0.0.4"]
_PROTOCOLS_KNOWN: Final = 5  # Prometheus' own number, from which its q-values count down


@dataclass(frozen=True, slots=True)
class Job:
    """One job. ``fields``: header lines of every scrape, except its timeout and identity.

    ``fallback_type``: as what a page without a usable Content-Type is read. ``body_bytes_max``,
    ``target_limit`` (0: none): see `LimitConfig`; ``has_body_limit``: whether the first is written.
    """

    name: str
    config: ScrapeConfig
    interval_s: float
    timeout_s: float
    params: Mapping[str, tuple[str, ...]]
    relabel: Callable[[Labels], Labels | None] | None
    options: ScrapeOptions
    fields: str
    fallback_type: str
    body_bytes_max: int
    has_body_limit: bool
    target_limit: int
    has_extra_metrics: bool

    def target_labels(self) -> Labels:
        """What every target has unless discovery says otherwise."""
        config = self.config
        labels = {
            "job": self.name,
            "__scheme__": config.scheme or "http",
            "__metrics_path__": str(config.metrics_path),
            "__scrape_interval__": seconds_text(self.interval_s),
            "__scrape_timeout__": seconds_text(self.timeout_s),
        }
        for name, values in self.params.items():
            if values:
                labels[f"__param_{name}"] = values[0]
        return labels


def resolved(job: ScrapeConfig, defaults: GlobalConfig, *, trims_suffixes: bool = False) -> Job:
    """The job as it runs. Its configuration has been checked."""

    def key(name: str, fallback: Any = 0) -> Any:
        return inherited(job, defaults, name, fallback)

    body_limit: ByteSize = key("body_size_limit", ByteSize(0))
    sample_limit: int = key("sample_limit")
    return Job(
        name=str(job.job_name),
        config=job,
        interval_s=job.interval_s(defaults),
        timeout_s=job.timeout_s(defaults),
        params={name: tuple(map(str, values)) for name, values in job.params.items()},
        relabel=relabeler(job.relabel_configs),
        options=ScrapeOptions(
            honor_labels=job.honor_labels,
            honor_timestamps=job.honor_timestamps,
            track_timestamps_staleness=job.track_timestamps_staleness,
            sample_limit=sample_limit,
            samples_max=max(SAMPLES_MAX, sample_limit),
            page_bytes_max=body_limit.size or BODY_BYTES_MAX,
            label_limit=key("label_limit"),
            label_name_length_limit=key("label_name_length_limit"),
            label_value_length_limit=key("label_value_length_limit"),
            relabel=relabeler(job.metric_relabel_configs),
            external_labels={name: str(value) for name, value in defaults.external_labels.items()},
            scope_version=VERSION,
            trim_metric_suffixes=trims_suffixes,
        ),
        fields=_fields(job, key),
        fallback_type=_MEDIA_TYPES.get(job.fallback_scrape_protocol or "", _TEXT),
        body_bytes_max=body_limit.size or BODY_BYTES_MAX,
        has_body_limit=bool(body_limit.size),
        target_limit=key("target_limit"),
        has_extra_metrics=bool(key("extra_scrape_metrics", fallback=False)),
    )


def _fields(job: ScrapeConfig, key: Callable[..., Any]) -> str:
    is_legacy = key("metric_name_validation_scheme", "") == "legacy"
    escaping = key("metric_name_escaping_scheme", "")
    escaping = escaping or ("underscores" if is_legacy else "allow-utf-8")
    lines = [
        f"User-Agent: {user_agent()}",
        f"Accept: {accept(key('scrape_protocols', PROTOCOLS), escaping)}",
        f"Accept-Encoding: {'gzip' if job.enable_compression else 'identity'}",
    ]
    return "".join(f"{line}\r\n" for line in lines)


def accept(protocols: Sequence[str], escaping: str) -> str:
    """The `Accept` of a scrape: formats by falling q-values, anything else at the end (SC-5)."""
    weight = _PROTOCOLS_KNOWN + 1
    ranges = []
    for protocol in protocols:
        media_type = _MEDIA_TYPES[protocol]
        if protocol in _WITH_ESCAPING:
            media_type += f";escaping={escaping}"
        ranges.append(f"{media_type};q=0.{weight}")
        weight -= 1
    ranges.append(f"*/*;q=0.{weight}")
    return ",".join(ranges)


__all__ = ["BODY_BYTES_MAX", "SAMPLES_MAX", "Job", "accept", "resolved"]
