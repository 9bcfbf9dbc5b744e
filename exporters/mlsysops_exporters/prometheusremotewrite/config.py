"""The configuration of the remote write exporter (components, E2), with the Collector's defaults.

The exporter delivers one payload after the other, because samples of one series must arrive in
order (R1-5); `num_consumers` is how many requests of one payload are sent at the same time, as in
the Collector. What the core's sending queue is told is `Config.in_force`.
"""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003  pydantic reads annotations
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from mlsysops_pipeline.config.resource_labels import (
    ResourceConversionConfig,
    ResourceLabelsConfig,
    check_resource_labels,
)
from mlsysops_pipeline.config.schema import (
    ComponentConfig,
    Duration,
    Finding,
    Section,
    Severity,
    WhenWritten,
    no_effect,
    refused,
)
from mlsysops_pipeline.delivery import DeliveryConfig, QueueConfig, RetryConfig
from mlsysops_pipeline.prometheus.names import Strategy, label_name
from mlsysops_pipeline.transport.client_settings import HttpClientConfig, HttpUrl

BATCH_BYTES: Final = 3_000_000
"""The size of requests unless configured, before compression."""

VERSION_HEADER: Final = "x-prometheus-remote-write-version"
FIXED_HEADERS: Final = frozenset({"user-agent", VERSION_HEADER})
"""Headers that users must not change (R1-1), beside those of every HTTP client."""

_NO_WAL: Final = "there is no write-ahead log: what waits in the queue does not survive a restart"


class RemoteWriteRetryConfig(RetryConfig):
    """How often a delivery that failed is tried again, and for how long."""

    initial_interval: Duration = 0.05
    """Wait after the first failure, in seconds, before jitter."""


class RemoteWriteSendingQueueConfig(QueueConfig):
    """The queue in front of the exporter."""

    merged_bytes_max: ClassVar[int] = 4 << 20
    """About 30,000 points: see `QueueConfig`."""

    queue_size: int = 10_000
    """How much the queue holds, in units of ``sizer``, with what is being sent. Above 0."""
    num_consumers: int = 5
    """Requests of one payload that are sent at the same time. Above 0. Payloads follow one
    another, so that the samples of a series stay in order; those that wait together are sent
    together, and in parts if that is refused."""


class RemoteWriteQueueConfig(ComponentConfig):
    """The older name of `sending_queue`, with fewer keys."""

    enabled: bool = True
    """Whether data is acknowledged from the queue. ``false``: when it was delivered."""
    queue_size: int = 10_000
    """Requests that the queue holds. Above 0."""
    num_consumers: int = 5
    """Requests of one payload that are sent at the same time; zero means one."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        if self.queue_size == 0:
            yield Finding(("queue_size",), "a 0 size queue will drop all the data")
        elif self.queue_size < 0:
            yield Finding(("queue_size",), "remote write queue size can't be negative")
        if self.num_consumers < 0:
            yield Finding(("num_consumers",), "remote write consumer number can't be negative")


class TargetInfoConfig(ComponentConfig):
    """The series `target_info`, which has the attributes of a resource as labels."""

    enabled: bool = True
    """Whether it is sent."""


class WalConfig(ComponentConfig):
    """A log on disk."""

    directory: str = ""
    """Where it is."""
    buffer_size: int = 300
    """Requests that are read from it at a time."""
    truncate_frequency: Duration = 60.0
    """Seconds between two cuts."""
    lag_record_frequency: Duration = 15.0
    """Seconds between two looks at how much waits in it."""


class Config(HttpClientConfig, DeliveryConfig):
    """Keys of the Collector's exporter, and `sending_queue` as every other exporter has it."""

    endpoint: HttpUrl = HttpUrl.parse("http://some.url:9411/api/prom/push")
    """Where requests are posted to, the whole URL. The default is a placeholder."""
    timeout: Duration = 5.0
    """How long one request may take, in seconds. 0: as long as it takes."""
    compression: Literal["snappy", ""] = "snappy"
    """Always a snappy block, as the protocol has it."""
    write_buffer_size: Annotated[int, no_effect("asyncio sizes its buffers itself")] = 512 * 1024
    """Bytes; see `HttpClientConfig`."""
    namespace: str = ""
    """Put before every metric name, with an underscore."""
    external_labels: dict[str, str] = {}  # noqa: RUF012  models are frozen
    """Labels of every series; a series' own label of the same name counts."""
    add_metric_suffixes: Annotated[
        bool,
        WhenWritten(Severity.WARNING, "is deprecated: use translation_strategy", unless=True),
    ] = True
    """Whether names end in their unit and type. Counts unless `translation_strategy` is set."""
    translation_strategy: Strategy | Literal[""] = ""
    """How OTLP names become Prometheus names; empty: `UnderscoreEscapingWithSuffixes`."""
    send_metadata: bool = False
    """Whether type, help and unit of metrics are sent, once a minute and when they are new."""
    disable_scope_info: bool = False
    """Whether the labels `otel_scope_*` are left out."""
    max_batch_size_bytes: int = BATCH_BYTES
    """The size of requests, before compression; zero means 3000000."""
    max_batch_request_parallelism: int | None = None
    """Requests of one payload that are sent at the same time; unset: `num_consumers`."""
    protobuf_message: Annotated[
        Literal["prometheus.WriteRequest", "io.prometheus.write.v2.Request"],
        refused("requests are those of remote write 1.0", unless="prometheus.WriteRequest"),
    ] = "prometheus.WriteRequest"
    """The message that requests are."""
    retry_on_failure: Section[RetryConfig] = Field(default_factory=RemoteWriteRetryConfig)
    """Trying again what failed and may succeed later; after 50 ms at first."""
    sending_queue: Section[RemoteWriteSendingQueueConfig] = Field(
        default_factory=RemoteWriteSendingQueueConfig
    )
    """The queue in which data waits for its delivery."""
    remote_write_queue: RemoteWriteQueueConfig | None = None
    """The same under its older name. Only one of the two may be written."""
    resource_to_telemetry_conversion: ResourceConversionConfig = ResourceConversionConfig()
    """Whether resource attributes become labels of every series."""
    resource_constant_labels: Section[ResourceLabelsConfig] = None
    """The same, for those that are chosen. Off unless written."""
    target_info: TargetInfoConfig = TargetInfoConfig()
    """The series that has the attributes of a resource as labels."""
    wal: Annotated[WalConfig | None, refused(_NO_WAL, unless=None)] = None
    """A log on disk of what was not delivered yet."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        yield from super().check()
        if not self.endpoint:
            yield Finding(("endpoint",), "must be the URL to which requests are posted")
        for name, value in self.external_labels.items():
            if not name or not value:
                yield Finding(
                    ("external_labels",),
                    f"prometheus remote write: external labels configuration contains an empty "
                    f"key or value: {name!r}: {value!r}",
                )
            elif not label_name(name):
                yield Finding(("external_labels",), f"{name!r} can be no label")
        if self.max_batch_size_bytes < 0:
            yield Finding(("max_batch_size_bytes",), "max_batch_byte_size must be greater than 0")
        if self.max_batch_request_parallelism is not None and (
            self.max_batch_request_parallelism < 1
        ):
            yield Finding(
                ("max_batch_request_parallelism",),
                "max_batch_request_parallelism can't be set to below 1",
            )
        if not self.strategy.escapes:
            yield Finding(
                ("translation_strategy",),
                f"{self.translation_strategy} makes names that remote write 1.0 does not carry",
                suggestion="UnderscoreEscapingWithSuffixes or UnderscoreEscapingWithoutSuffixes",
            )
        if {"sending_queue", "remote_write_queue"} <= self.model_fields_set:
            yield Finding(
                ("remote_write_queue",),
                "is the older name of sending_queue, and both are there",
                suggestion="move its keys to sending_queue",
            )
        yield from check_resource_labels(
            self.resource_to_telemetry_conversion, self.resource_constant_labels
        )
        for name, _ in self.headers:
            if name.lower() in FIXED_HEADERS:
                message = f"{name} has no effect: the protocol says what it is"
                yield Finding(("headers",), message, Severity.WARNING)

    @property
    def strategy(self) -> Strategy:
        """How names are made."""
        if self.translation_strategy:
            return Strategy(self.translation_strategy)
        if self.add_metric_suffixes:
            return Strategy.UNDERSCORES_WITH_SUFFIXES
        return Strategy.UNDERSCORES_WITHOUT_SUFFIXES

    @property
    def batch_bytes(self) -> int:
        """The size of requests, before compression."""
        return self.max_batch_size_bytes or BATCH_BYTES

    @property
    def parallelism(self) -> int:
        """Requests of one payload that are sent at the same time."""
        if self.max_batch_request_parallelism is not None:
            return self.max_batch_request_parallelism
        queue = self.remote_write_queue or self.sending_queue
        return max(1, queue.num_consumers) if queue is not None else 1

    def in_force(self) -> DeliveryConfig:
        """One payload at a time, whatever is configured, and so always through a queue.

        Without a queue of theirs, senders wait in it for the result: their data is acknowledged
        when it was delivered, and is delivered in the order of its arrival.
        """
        queue: QueueConfig | None = self.sending_queue
        older = self.remote_write_queue
        if older is not None:
            queue = RemoteWriteSendingQueueConfig(
                enabled=older.enabled, queue_size=older.queue_size
            )
        if queue is not None and queue.enabled:
            changes: dict[str, object] = {"num_consumers": 1}
        else:
            queue = RemoteWriteSendingQueueConfig()
            changes = {
                "num_consumers": 1,
                "queue_size": 10_000,
                "block_on_overflow": True,
                "wait_for_result": True,
            }
        return DeliveryConfig(
            timeout=0.0,  # the exporter limits each request itself: a payload may be many
            retry_on_failure=self.retry_on_failure,
            sending_queue=queue.model_copy(update=changes),
        )
