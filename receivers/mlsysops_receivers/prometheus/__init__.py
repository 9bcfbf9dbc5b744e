"""The `prometheus` receiver: scrapes targets as a Prometheus does, and hands on OTLP.

    receivers:
      prometheus:
        config:                        # a prometheus.yml, as far as it is about scraping
          scrape_configs:
            - job_name: node
              scrape_interval: 10s
              static_configs:
                - targets: [localhost:9100]

Text 0.0.4 and OpenMetrics, gzip, UTF-8 names, exemplars; relabelling with every action; targets
from the file itself, from other files and from HTTP servers. Each scrape is one request, with `up`
and the `scrape_*` series; what a target no longer has ends with a stale marker. A scrape that fails
in whatever way keeps nothing of its page.

Targets have their place in the interval; pages are read while they come, in small steps, so that a
slow or huge one delays no other. Limits where none are configured: 64 MiB and 200,000 samples a
page, 100,000 targets a job. A target whose page is above one of ours is asked ever more rarely,
each minute in the end; between its failures it fails for the same reason, unasked. What pipelines
refuse is gone, except that the end of series is told again with the next scrape.

Later: discovery by Kubernetes and others, the protobuf format with native histograms, OAuth 2.0,
the Target Allocator. Their keys say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Factory, Kind, Stability
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_receivers.prometheus.config import Config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.component import Entry, Settings
    from mlsysops_receivers.prometheus.receiver import PrometheusReceiver

__all__ = ["FACTORY", "Config"]


def _create(
    config: Config, settings: Settings, next_: Mapping[Signal, Entry]
) -> PrometheusReceiver:
    # What scrapes is imported with the first receiver, not with its configuration.
    from mlsysops_receivers.prometheus.receiver import PrometheusReceiver  # noqa: PLC0415

    return PrometheusReceiver(config, settings, next_)


FACTORY = Factory(
    kind=Kind.RECEIVER,
    type="prometheus",
    config=Config,
    create=_create,
    signals=frozenset({Signal.METRICS}),
    stability=Stability.BETA,
)
