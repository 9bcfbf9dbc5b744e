"""What users write about delivery: `timeout`, `retry_on_failure`, `sending_queue`.

Keys, defaults and messages are the Collector's (components, A7; CV-3), with two keys of our own:
``sending_queue.queue_bytes_max`` and ``sending_queue.on_full``.
"""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003  pydantic reads annotations
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mlsysops_pipeline.config.schema import (
    ComponentConfig,
    Duration,
    ExtensionRef,
    Finding,
    Section,
    refused,
)

QUEUE_BYTES_MAX = 64 * 1024 * 1024
"""What a sending queue may hold in bytes unless it is configured."""

Sizer = Literal["requests", "items", "bytes"]


class RetryConfig(ComponentConfig):
    """How often a delivery that failed is tried again, and for how long."""

    enabled: bool = True
    """Whether anything is tried again. ``false``: the first failure is the last."""
    initial_interval: Duration = 5.0
    """Wait after the first failure, in seconds, before jitter."""
    randomization_factor: float = 0.5
    """Jitter: a wait of ``i`` lies in ``[i * (1 - f), i * (1 + f)]``. 0 to 1."""
    multiplier: float = 1.5
    """Each wait is this many times the one before."""
    max_interval: Duration = 30.0
    """No wait grows beyond this, in seconds, before jitter."""
    max_elapsed_time: Duration = 300.0
    """Give up after this many seconds since the first attempt. 0: never."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        if not self.enabled:
            return
        if not 0 <= self.randomization_factor <= 1:
            yield Finding(("randomization_factor",), "must be within [0, 1]")
        if not self.multiplier >= 0:
            yield Finding(("multiplier",), "must be non-negative")
        if self.max_elapsed_time > 0:
            for name in ("initial_interval", "max_interval"):
                if self.max_elapsed_time < getattr(self, name):
                    yield Finding(("max_elapsed_time",), f"must not be less than '{name}'")


class PartitionConfig(ComponentConfig):
    """Which requests may share a batch."""

    metadata_keys: tuple[str, ...] = ()
    """Request headers: requests that differ in one of them get batches of their own."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        return repeated_keys(self.metadata_keys)


class BatchConfig(ComponentConfig):
    """How requests in the queue are merged (and split) before they are sent."""

    enabled: bool = True
    """Whether requests are merged."""
    flush_timeout: Duration = 0.2
    """Send after this many seconds, however little there is. Above 0."""
    min_size: int = 8192
    """Send as soon as there is this much, in units of ``sizer``."""
    max_size: int = 0
    """Split what is larger, in units of ``sizer``. 0: no limit but that of a request, 64 MiB."""
    sizer: Sizer | None = None
    """``items`` or ``bytes``. Unset: the queue's, if that one is written, else ``items``."""
    partition: PartitionConfig = PartitionConfig()
    """Which requests may share a batch."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        if self.sizer == "requests":
            yield Finding(
                ("sizer",), "`batch` supports only `items` or `bytes` sizer", suggestion="items"
            )
        if not self.flush_timeout > 0:
            yield Finding(("flush_timeout",), "`flush_timeout` must be positive")
        if self.min_size < 0:
            yield Finding(("min_size",), "`min_size` must be non-negative")
        if self.max_size < 0:
            yield Finding(("max_size",), "`max_size` must be non-negative")
        elif 0 < self.max_size < self.min_size:
            yield Finding(("max_size",), "`max_size` must be greater or equal to `min_size`")


class QueueConfig(ComponentConfig):
    """The queue in front of an exporter. It is in memory and bounded in two ways."""

    merged_bytes_max: ClassVar[int] = 0
    """What waits together is sent together, up to this many bytes of it. For exporters that take
    one payload at a time, so that a slow peer makes payloads larger and not the queue longer."""

    enabled: bool = True
    """Whether data is acknowledged from the queue. ``false``: when it was delivered."""
    num_consumers: int = 10
    """Requests that are sent at the same time. Above 0."""
    queue_size: int = 1000
    """How much the queue holds, in units of ``sizer``, with what is being sent. Above 0."""
    sizer: Sizer = "requests"
    """What ``queue_size`` counts: ``requests``, ``items`` or ``bytes``."""
    queue_bytes_max: int = QUEUE_BYTES_MAX
    """How many bytes the queue holds besides, with what is being sent. Above 0. With
    ``sizer: bytes`` ``queue_size`` says so already, and this key counts only where written."""
    block_on_overflow: bool = False
    """Whether a sender waits for room in a full queue instead of being refused."""
    wait_for_result: bool = False
    """Whether a sender waits until its data has been delivered and gets the error if not."""
    on_full: Literal["refuse", "drop_newest", "drop_oldest"] = "refuse"
    """A full queue refuses newcomers (their sender tries again), or takes and drops them, or
    drops what has waited longest to make room. Drops are counted (reason ``queue_full``)."""
    storage: Annotated[
        ExtensionRef | None,
        refused("queues are in memory only: what waits in one does not survive a restart"),
    ] = None
    """The extension that would keep the queue on disk."""
    batch: Section[BatchConfig] = None
    """Merge requests before sending. Off unless written; ``batch: {}`` is on with defaults."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        if not self.enabled:
            return
        for name in ("num_consumers", "queue_size", "queue_bytes_max"):
            if getattr(self, name) <= 0:
                yield Finding((name,), f"`{name}` must be positive")
        if self.block_on_overflow and self.on_full != "refuse":
            yield Finding(("on_full",), "a queue with `block_on_overflow` drops nothing")
        if self.batch is None or not self.batch.enabled:
            return
        sizer = self.batch_sizer
        if sizer == "requests":
            if self.batch.sizer is None:  # if it is written there, it has been reported
                yield Finding(
                    ("batch", "sizer"),
                    "`batch` supports only `items` or `bytes` sizer",
                    suggestion="items",
                )
        elif sizer == self.sizer and self.batch.min_size > self.queue_size:
            yield Finding(
                ("batch", "min_size"), "`min_size` must be less than or equal to `queue_size`"
            )

    @property
    def batch_sizer(self) -> Sizer:
        """What ``batch`` counts: as written there, else as written here, else items."""
        if self.batch is not None and self.batch.sizer is not None:
            return self.batch.sizer
        return self.sizer if "sizer" in self.model_fields_set else "items"

    @property
    def bytes_max(self) -> int:
        """The limit in bytes that holds: of the two keys that can say so, the one that does."""
        if self.sizer == "bytes" and "queue_bytes_max" not in self.model_fields_set:
            return self.queue_size
        return self.queue_bytes_max


class DeliveryConfig(ComponentConfig):
    """What every exporter's `Config` inherits to get timeout, retry and a sending queue.

    A subclass may change defaults by stating a field again, for example
    ``sending_queue: Section[QueueConfig] = None`` for an exporter that needs none.
    """

    timeout: Duration = 5.0
    """How long one attempt may take, in seconds. 0: as long as it takes."""
    retry_on_failure: Section[RetryConfig] = Field(default_factory=RetryConfig)
    """Trying again what failed and may succeed later."""
    sending_queue: Section[QueueConfig] = Field(default_factory=QueueConfig)
    """The queue in which data waits for its delivery."""

    def in_force(self) -> DeliveryConfig:
        """What the core acts on, where an exporter must not be driven as its user wrote.

        One that has to keep an order, for example, takes one payload at a time.
        """
        return self

    def delivers_from_storage(self) -> bool:
        """See `ComponentConfig.delivers_from_storage`: not as long as queues are in memory."""
        return False


def repeated_keys(keys: Iterable[str]) -> Iterable[Finding]:
    """A finding for every metadata key that is there twice; header names have no case."""
    seen: set[str] = set()
    for index, key in enumerate(keys):
        if key.lower() in seen:
            yield Finding(("metadata_keys", index), f'duplicate entry in metadata_keys: "{key}"')
        seen.add(key.lower())
