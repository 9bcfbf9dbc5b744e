"""The three signals, and the names under which each of them travels."""

from __future__ import annotations

import enum


class Signal(enum.Enum):
    """A kind of telemetry. The value is the word that configuration files use.

    The attributes beside it are fixed by OTLP: the gRPC service, the default URL path, and the
    noun that self-metrics count by (``otelcol_receiver_accepted_<item_noun>``).
    """

    METRICS = "metrics"
    LOGS = "logs"
    TRACES = "traces"

    __hash__ = object.__hash__  # members are keys where it counts, and the default is slow

    item_noun: str
    service: str
    method: str
    url_path: str

    def __str__(self) -> str:
        return self.value


_NOUNS = {
    Signal.METRICS: ("metric_points", "metrics.v1.MetricsService"),
    Signal.LOGS: ("log_records", "logs.v1.LogsService"),
    Signal.TRACES: ("spans", "trace.v1.TraceService"),
}
for _signal, (_noun, _service) in _NOUNS.items():
    _signal.item_noun = _noun
    _signal.service = f"opentelemetry.proto.collector.{_service}"
    _signal.method = f"/{_signal.service}/Export"
    _signal.url_path = f"/v1/{_signal.value}"
