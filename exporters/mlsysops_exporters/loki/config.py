"""The configuration of the loki exporter: the older Collector's keys, and which labels there are.

The exporter delivers one payload after the other, because the entries of a stream must stay in
order; `num_consumers` is how many requests of one payload are sent at the same time. What the
core's sending queue is told is `Config.in_force`: it merges payloads unless that would lose headers
that somebody needs.
"""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003  pydantic reads annotations
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field

from mlsysops_pipeline.config.schema import (
    ComponentConfig,
    Duration,
    Endpoint,
    Finding,
    Section,
    Severity,
    no_effect,
)
from mlsysops_pipeline.delivery import BatchConfig, DeliveryConfig, QueueConfig
from mlsysops_pipeline.delivery.otlp_http import OtlpHttpConfig
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.prometheus.names import label_name
from mlsysops_pipeline.transport.client_settings import HttpClientConfig, HttpUrl

PUSH_PATH: Final = "/loki/api/v1/push"
Format = Literal["raw", "json", "logfmt"]

INDEX_LABELS: Final = (
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
)
"""What Loki itself makes labels of, when it is sent OTLP."""

_NATIVE_ONLY: Final = (
    "default_labels_enabled",
    "labels",
    "format",
    "max_labels",
    "max_batch_size_bytes",
)
"""Keys about what Loki does itself when it is sent OTLP."""

_HTTP: Final = tuple(HttpClientConfig.model_fields)


class DefaultLabelsConfig(ComponentConfig):
    """Labels that streams have without being asked for."""

    exporter: bool = True
    """Whether there is `exporter="OTLP"`."""
    job: bool = True
    """Whether there is `job`: service.namespace/service.name, or service.name alone."""
    instance: bool = True
    """Whether there is `instance`: service.instance.id."""
    level: bool = True
    """Whether there is `level`: the attribute of that name, else the severity (INFO, WARN2, …)."""


class LabelsConfig(ComponentConfig):
    """Attributes that become labels, each with the name of its label; empty: its own."""

    resource: dict[str, str] = Field(default_factory=lambda: dict.fromkeys(INDEX_LABELS, ""))
    """Attributes of resources. The default is Loki's own list for OTLP."""
    attributes: dict[str, str] = {}  # noqa: RUF012  models are frozen
    """Attributes of records. Few values each: every combination is a stream of its own."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        for key, group in (("resource", self.resource), ("attributes", self.attributes)):
            for attribute, name in group.items():
                if not label_name(name or attribute):
                    yield Finding((key, attribute), f"{name or attribute!r} can be no label")
                elif name and label_name(name) != name:
                    yield Finding(
                        (key, attribute),
                        f"the label `{name}` is not a valid label name",
                        suggestion=label_name(name),
                    )


class Config(HttpClientConfig, DeliveryConfig):
    """Keys of the exporter that the Collector had, and ours: labels, format and limits."""

    endpoint: HttpUrl = HttpUrl("")
    """Where logs are pushed to, the whole URL. Without a path /loki/api/v1/push is added; if the
    path ends in /otlp or /v1/logs, logs are sent as OTLP and Loki makes labels by its own rules."""
    timeout: Duration = 30.0
    """How long one request may take, in seconds. 0: as long as it takes."""
    compression: Literal["gzip", "zstd", "snappy", "deflate", "lz4", "none", ""] = ""
    """How OTLP is compressed; empty: gzip. What is pushed is always a snappy block."""
    write_buffer_size: Annotated[int, no_effect("asyncio sizes its buffers itself")] = 512 * 1024
    """Bytes; see `HttpClientConfig`."""
    sending_queue: Section[QueueConfig] = Field(default_factory=QueueConfig)
    """The queue in which data waits. One payload is delivered at a time; so that many small ones do
    not wait for each other, they are merged for up to 200 ms unless `batch` says something else, or
    `auth` may ask for the headers that each came with."""
    default_labels_enabled: DefaultLabelsConfig = DefaultLabelsConfig()
    """Labels that streams have without being asked for."""
    labels: LabelsConfig = LabelsConfig()
    """Attributes that become labels. All others are structured metadata."""
    format: Format = "raw"
    """What a line is: `raw` the body, with attributes as structured metadata; `json` or `logfmt`
    body, attributes, resource and scope together, as the Collector's exporter wrote them, without
    structured metadata. The attribute `loki.format` says otherwise for a resource or record."""
    max_labels: int = 15
    """Labels of a stream, above 0. Loki refuses more than 15 unless it is configured. What is too
    many becomes structured metadata: the last of them in the order of `labels`."""
    max_batch_size_bytes: int = 1 << 20
    """The size of requests, before compression, above 0. A larger payload is several."""

    @property
    def is_otlp(self) -> bool:
        """Whether Loki is sent OTLP."""
        return self.endpoint.path.rstrip("/").endswith(("/otlp", Signal.LOGS.url_path))

    @property
    def url(self) -> HttpUrl:
        """Where requests go; empty if nothing is configured."""
        path = self.endpoint.path.rstrip("/")
        if not self.endpoint or (path and not path.endswith("/otlp")):
            return self.endpoint
        path = path + Signal.LOGS.url_path if path else PUSH_PATH
        return HttpUrl.parse(urlsplit(self.endpoint.text)._replace(path=path).geturl())

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        yield from super().check()
        if not self.endpoint:
            yield Finding(("endpoint",), '"endpoint" must be a valid URL')
        for key in ("max_labels", "max_batch_size_bytes"):
            if getattr(self, key) <= 0:
                yield Finding((key,), "must be above 0")
        if self.is_otlp:
            for key in _NATIVE_ONLY:
                if key in self.model_fields_set:
                    message = "has no effect here: the endpoint is OTLP, and Loki decides"
                    yield Finding((key,), message, Severity.WARNING)
        elif self.compression not in {"", "snappy"}:
            message = "has no effect here: what is pushed is always a snappy block"
            yield Finding(("compression",), message, Severity.WARNING)

    def destinations(self) -> Iterable[Endpoint]:
        """See `ComponentConfig.destinations`."""
        if self.endpoint:
            yield Endpoint(("endpoint",), self.endpoint.host, self.endpoint.port)

    def otlp(self) -> OtlpHttpConfig:
        """The same for OTLP/HTTP."""
        shared = {key: getattr(self, key) for key in _HTTP if key in self.model_fields_set}
        shared |= {"compression": self.compression or "gzip", "endpoint": HttpUrl("")}
        return OtlpHttpConfig(logs_endpoint=self.url, **shared)

    @property
    def parallelism(self) -> int:
        """Requests of one payload that are sent at the same time."""
        return max(1, self.sending_queue.num_consumers) if self.sending_queue is not None else 1

    def _may_merge(self, queue: QueueConfig) -> bool:
        """Whether payloads are merged without being asked to."""
        is_written = "batch" in queue.model_fields_set
        plain = queue.sizer == "requests" and not queue.wait_for_result
        return self.auth is None and plain and not is_written

    def in_force(self) -> DeliveryConfig:
        """One payload at a time, whatever is configured, and so always through a queue.

        Without a queue of theirs, senders wait in it for the result: their data is acknowledged
        when it was delivered, and is delivered in the order of its arrival.
        """
        queue = self.sending_queue
        changes: dict[str, object] = {"num_consumers": 1}
        if queue is None or not queue.enabled:
            queue = QueueConfig()
            changes |= {"block_on_overflow": True, "wait_for_result": True}
        elif self._may_merge(queue):
            changes["batch"] = BatchConfig()
        return DeliveryConfig(
            # The exporter limits each request itself: a payload may be many.
            timeout=self.timeout if self.is_otlp else 0.0,
            retry_on_failure=self.retry_on_failure,
            sending_queue=queue.model_copy(update=changes),
        )
