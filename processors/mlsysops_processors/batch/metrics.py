"""The Collector's metrics of the `batch` processor (service behaviour, section 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.delivery.books import BYTES_BOUNDS, SIZE_BOUNDS

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.delivery.batching import Batch


class BatchMetrics:
    """Counted when the next stage has taken a batch. ``combinations``: of metadata values."""

    def __init__(self, settings: Settings) -> None:
        labels = {"processor": str(settings.id)}
        if settings.pipeline is not None:
            labels["otel.signal"] = str(settings.pipeline.signal)
        meter = settings.meter
        name = "otelcol_processor_batch_"
        self._sizes = meter.histogram(
            f"{name}batch_send_size", SIZE_BOUNDS, "{unit}", "Items in the batches handed on"
        ).bind_distribution(labels)
        self._sizes_bytes = meter.histogram(
            f"{name}batch_send_size_bytes", BYTES_BOUNDS, "By", "Bytes in the batches handed on"
        ).bind_distribution(labels)
        self._by_size = meter.counter(
            f"{name}batch_size_trigger_send", "{time}", "Batches completed by their size"
        ).bind(labels)
        self._by_timeout = meter.counter(
            f"{name}timeout_trigger_send", "{time}", "Batches completed by their age"
        ).bind(labels)
        self.combinations = meter.gauge(
            f"{name}metadata_cardinality", "{combination}", "Combinations of metadata values"
        ).bind(labels)

    def sent(self, batch: Batch) -> None:
        """The next stage has taken a batch."""
        self._sizes.record(batch.items)
        self._sizes_bytes.record(batch.size)
        (self._by_timeout if batch.by_timeout else self._by_size).add(1)
