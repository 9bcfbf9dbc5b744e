"""Configuration files of the shapes that the MLSysOps framework gives its collector pods.

What its agents put in comes from variables: a back end is not set (``None``), set, or set to
nothing (``""``), which leaves a key with nothing behind it. The continuum's file has the
Kubernetes receivers, and its list of exporters of logs names `otlp` whether it is defined or not.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS = ("node", "cluster", "continuum")
NEXT_HOPS: dict[str, tuple[str | None, ...]] = {
    # `:43170` is a host that is set to nothing.
    "node": ("cluster-otel-collector.mlsysops-framework.svc.cluster.local:43170", None),
    "cluster": ("127.0.0.1:43170", "continuum.invalid:43170", ":43170", None),
    "continuum": (None, "192.0.2.9:43170", ":43170"),
}
MIMIR = (None, "http://mimir.invalid:9009/api/v1/push", "")
LOKI = (None, "http://loki.invalid:3100/loki/api/v1/push", "")
TEMPO = (None, "tempo.invalid:4317", "")


@dataclass(frozen=True)
class Rendered:
    """One file, and what it was made from."""

    level: str
    next_hop: str | None = None
    mimir: str | None = None
    loki: str | None = None
    tempo: str | None = None
    interval: str = "10s"
    expiration: str = "15s"
    listen: str = "0.0.0.0:43170"
    page: str = "0.0.0.0:9999"

    @property
    def has_kubernetes(self) -> bool:
        """Whether it has the receivers of Kubernetes."""
        return self.level == "continuum"

    def on_free_ports(self) -> Rendered:
        """The same file for a machine on which others listen too."""
        return replace(self, listen="127.0.0.1:0", page="127.0.0.1:0")

    def text(self) -> str:
        """The file."""
        sections = [
            ("receivers:", self._receivers()),
            ("exporters: ", self._exporters()),
            ("processors:", _add_labels()),
            ("service:\n  pipelines:", self._pipelines()),
        ]
        return "\n\n".join("\n".join([head, *lines]) for head, lines in sections) + " "

    def _receivers(self) -> Iterator[str]:
        yield "  otlp:"
        yield "    protocols:"
        yield "      grpc:"
        yield f'        endpoint: "{self.listen}"'
        yield "      http:"
        if self.listen.endswith(":0"):
            yield f'        endpoint: "{self.listen}"'
        yield "        cors:"
        yield "          allowed_origins:"
        yield '            - "https://*"'
        yield '            - "http://*"'
        yield "  prometheus:"
        yield "    config:"
        yield "      scrape_configs:"
        yield "        - job_name: '${env:NODE_HOSTNAME}_node_exporter'"
        yield f"          scrape_interval: {self.interval}"
        yield f"          scrape_timeout: {self.interval}"
        yield "          static_configs:"
        yield "            - targets: ['${env:NODE_IP}:9200'] "
        if self.has_kubernetes:
            yield "  k8s_events:"
            yield "    namespaces: [ default, mlsysops ]"
            yield "  k8s_cluster:"
            yield f"    collection_interval: {self.interval}"
            yield '    node_conditions_to_report: [ "Ready", "MemoryPressure" ]'
            yield '    allocatable_types_to_report: [ "cpu","memory" ]'
            yield f"    metadata_collection_interval: {self.interval}"
            yield "    metrics:"
            for name in ("cronjob.active_jobs", "hpa.current_replicas", "hpa.max_replicas"):
                yield f"      k8s.{name}:"
                yield "        enabled: false"

    def _exporters(self) -> Iterator[str]:
        if self.next_hop is not None:
            yield "  otlp:"
            yield f"    endpoint: {self.next_hop}"
            yield "    tls:"
            yield "      insecure: true  "
        if self.mimir is not None:
            yield "  prometheusremotewrite:"
            yield f"    endpoint: {self.mimir}"
            for section in ("target_info", "resource_to_telemetry_conversion"):
                yield f"    {section}:"
                yield "      enabled: true"
            yield "    tls:"
            yield "      insecure: true  "
        for name, endpoint in (("loki", self.loki), ("tempo", self.tempo)):
            if endpoint is not None:
                yield f"  {name}:"
                yield f"    endpoint: {endpoint} "
        yield "  prometheus:"
        yield f"    endpoint: {self.page}"
        yield "    send_timestamps: true"
        yield f"    metric_expiration: {self.expiration}"
        yield "    enable_open_metrics: false"
        yield "    add_metric_suffixes: true"
        yield "    resource_to_telemetry_conversion:"
        yield "      enabled: true"

    def _pipelines(self) -> Iterator[str]:
        optional = (
            ("otlp", self.next_hop),
            ("prometheusremotewrite", self.mimir),
            ("tempo", self.tempo),
        )
        exporters = ", ".join(name for name, endpoint in optional if endpoint is not None)
        yield "    metrics:"
        yield f"      receivers: [otlp,prometheus{',k8s_cluster' if self.has_kubernetes else ''}]"
        yield "      processors: [attributes/add_labels]"
        yield f"      exporters: [ prometheus,{exporters}] "
        if self.loki is not None:
            more = ",k8s_cluster, k8s_events" if self.has_kubernetes else ""
            yield "    logs:"
            yield f"      receivers: [ otlp{more}]"
            yield "      processors: [ ]"
            yield "      exporters: [ loki,otlp ]"


def _add_labels() -> list[str]:
    return [
        "  attributes/add_labels:",
        "    actions:",
        "      - key: node_name",
        "        action: insert",
        "        value: '${env:NODE_HOSTNAME}'",
    ]


def every(level: str) -> Iterator[Rendered]:
    """Every combination at one level."""
    for values in itertools.product(NEXT_HOPS[level], MIMIR, LOKI, TEMPO):
        yield Rendered(level, *values)
