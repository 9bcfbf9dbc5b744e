"""The one place where items of an exporter change hands, in its ledger and in its metrics.

Ledger: enqueued = sent + queued + in flight + dropped{reason}, after every method of this class.
Names, units and attributes are the Collector's (service behaviour, section 8); metrics called
``mlsysops_*`` are our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.errors import Code, DropReason, PermanentError
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.delivery.queue import Queue
    from mlsysops_pipeline.errors import ConsumeError
    from mlsysops_pipeline.ledger import ExporterLedger
    from mlsysops_pipeline.meter import Instrument, Number

SIZE_BOUNDS = (
    *(10, 25, 50, 75, 100, 250, 500, 750),
    *range(1_000, 10_001, 1_000),
    *(20_000, 30_000, 50_000, 100_000),
)
"""Upper bounds of histograms of items."""
BYTES_BOUNDS = tuple(128 << power for power in range(18))
"""Upper bounds of histograms of bytes: 128 to 16 MiB, doubling."""

_UNITS = {Signal.METRICS: "{datapoint}", Signal.LOGS: "{record}", Signal.TRACES: "{span}"}


class Books:
    """Ledger and self-metrics of one exporter and signal."""

    def __init__(
        self,
        settings: Settings,
        signal: Signal,
        ledger: ExporterLedger,
        attributes: Mapping[str, str],
    ) -> None:
        self.ledger = ledger
        meter = settings.meter
        self._labels = {"exporter": str(settings.id)}
        self._typed = {**self._labels, "data_type": str(signal)}
        noun, unit = signal.item_noun, _UNITS[signal]

        def counter(what: str, text: str) -> Instrument:
            return meter.counter(f"otelcol_exporter_{what}_{noun}", unit, text)

        self._addressed = {**self._labels, **attributes}
        self._sent = counter("sent", "Items delivered to the destination").bind(self._addressed)
        self._failed = counter("send_failed", "Items whose delivery was given up")
        self._refused = counter("enqueue_failed", "Items that the sending queue did not take").bind(
            self._labels
        )
        self._unread = meter.counter(
            "mlsysops_exporter_refused_requests",
            "{request}",
            "Requests refused before they were read, so that nobody knows their items",
        ).bind(self._typed)
        self._dropped = meter.counter(
            "mlsysops_exporter_dropped_items", "{item}", "Items lost by an exporter, by reason"
        )
        self._unanswered = meter.counter(
            "mlsysops_exporter_unanswered_items",
            "{item}",
            "Items whose request got no answer; they may have arrived, and may arrive twice",
        ).bind(self._typed)
        self._dropped_by: dict[DropReason, Number] = {}
        prefix = "otelcol_exporter_queue_batch_send_size"
        self._sizes = meter.histogram(
            prefix, SIZE_BOUNDS, "{unit}", "Items of the requests that are sent"
        ).bind_distribution(self._labels)
        self._sizes_bytes = meter.histogram(
            f"{prefix}_bytes", BYTES_BOUNDS, "By", "Bytes of the requests that are sent"
        ).bind_distribution(self._labels)
        prefix = "otelcol_exporter_enqueue_size"
        self._enqueue_sizes = meter.histogram(
            prefix, SIZE_BOUNDS, "{unit}", "Items of the requests that are enqueued"
        ).bind_distribution(self._labels)
        self._enqueue_sizes_bytes = meter.histogram(
            f"{prefix}_bytes", BYTES_BOUNDS, "By", "Bytes of the requests that are enqueued"
        ).bind_distribution(self._labels)
        self._meter = meter
        self._is_detailed = meter.is_detailed

    def observe_ledger(self) -> None:
        """Show the ledger, as far as counters do not: enqueued = sent + these two + dropped."""
        ledger = self.ledger

        def show(what: str, text: str, read: Callable[[], int]) -> None:
            name = f"mlsysops_exporter_{what}_items"
            self._meter.gauge(name, "{item}", text).observe(self._typed, read)

        show("enqueued", "Items taken and not given back to senders", lambda: ledger.enqueued)
        show("queued", "Items that wait in the sending queue", lambda: ledger.queued)
        show("in_flight", "Items being delivered or tried again", lambda: ledger.in_flight)

    def observe_deliveries(self, running: Callable[[], int]) -> None:
        """Show how many requests are being delivered, waits between attempts included."""
        self._meter.gauge(
            "otelcol_exporter_in_flight_requests", "{request}", "Requests being delivered"
        ).observe(self._typed, running)

    def observe_queue(self, queue: Queue) -> None:
        """Show how full the queue is."""
        gauge = self._meter.gauge
        gauge(
            "otelcol_exporter_queue_size", "{batch}", "What the queue holds, in units of its sizer"
        ).observe(self._typed, lambda: queue.used)
        gauge(
            "otelcol_exporter_queue_capacity", "{batch}", "What the queue can hold at most"
        ).observe(self._typed, lambda: queue.capacity)
        gauge("mlsysops_exporter_queue_bytes", "By", "Bytes that the queue holds").observe(
            self._typed, lambda: queue.size
        )
        gauge("mlsysops_exporter_queue_bytes_max", "By", "Bytes that it can hold").observe(
            self._typed, lambda: queue.bytes_max
        )

    def enqueued(self, items: int, size: int) -> None:
        """A request was taken into the queue."""
        self.ledger.enqueued += items
        self.ledger.queued += items
        if self._is_detailed:
            self._enqueue_sizes.record(items)
            self._enqueue_sizes_bytes.record(size)

    def taken_out(self, items: int, size: int) -> None:
        """A batch left the queue and is in flight."""
        self.ledger.queued -= items
        self.ledger.in_flight += items
        if self._is_detailed:
            self._sizes.record(items)
            self._sizes_bytes.record(size)

    def begun(self, items: int) -> None:
        """A request that bypasses the queue is in flight."""
        self.ledger.enqueued += items
        self.ledger.in_flight += items

    def sent(self, items: int) -> None:
        """Items in flight were delivered."""
        self.ledger.in_flight -= items
        self.ledger.sent += items
        self._sent.add(items)

    def failed(self, items: int, error: ConsumeError) -> None:
        """A request was given up: counted once, after its last attempt."""
        self._sent.add(0)  # the Collector's: shows the metric after the first request either way
        labels = self._addressed
        if self._is_detailed:
            permanent = str(isinstance(error, PermanentError)).lower()
            labels = {**labels, "error.type": _error_type(error), "error.permanent": permanent}
        self._failed.bind(labels).add(items)

    def lost_in_flight(self, reason: DropReason, items: int) -> None:
        """Items in flight will never be delivered."""
        self.ledger.in_flight -= items
        self._drop(reason, items)

    def lost_in_queue(self, reason: DropReason, items: int) -> None:
        """Items in the queue will never be delivered."""
        self.ledger.queued -= items
        self._drop(reason, items)

    def lost_at_once(self, reason: DropReason, items: int) -> None:
        """Items were taken only to be dropped."""
        self.ledger.enqueued += items
        self._drop(reason, items)

    def returned_from_flight(self, items: int) -> None:
        """Items in flight were given back to a sender that waits for the result."""
        self.ledger.in_flight -= items
        self.ledger.enqueued -= items

    def returned_from_queue(self, items: int) -> None:
        """Items in the queue were given back to a sender that waits for the result."""
        self.ledger.queued -= items
        self.ledger.enqueued -= items

    def refused(self, items: int) -> None:
        """The queue did not take a request."""
        self._refused.add(items)

    def refused_unread(self, requests: int) -> None:
        """Requests were refused before they were read; negative: at once read after all."""
        self._unread.add(requests)

    def unanswered(self, items: int) -> None:
        """A request was sent and nothing was said about it. It stays in flight."""
        self._unanswered.add(items)

    def _drop(self, reason: DropReason, items: int) -> None:
        if not items:
            return
        self.ledger.drop(reason, items)
        number = self._dropped_by.get(reason)
        if number is None:
            number = self._dropped.bind({**self._typed, "reason": str(reason)})
            self._dropped_by[reason] = number
        number.add(items)

    def __repr__(self) -> str:
        return f"<Books {self.ledger}>"


def _error_type(error: ConsumeError) -> str:
    """The Collector's word for the kind of an error."""
    if error.reason is DropReason.SHUTDOWN:
        return "Shutdown"
    if error.reason is DropReason.EXPORT_ERROR:
        return "_OTHER"
    if error.code == Code.DEADLINE_EXCEEDED:
        return "Deadline_Exceeded"
    return "".join(word.capitalize() for word in error.code.name.split("_"))
