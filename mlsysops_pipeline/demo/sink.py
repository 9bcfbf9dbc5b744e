"""The far end of the demo: an OTLP/gRPC server that is not the collector, and counts.

It is `grpcio` with the official classes and service stubs of opentelemetry-proto. Every request
is decoded in full, every item counted; log records and spans are known by their sequence number,
data points by their time, metric and attributes, so that what comes twice is seen.

This program imports nothing of the collector.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, OrderedDict
from concurrent import futures
from threading import Lock
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from mlsysops_pipeline.demo.reports import (
    LEVELS_ATTRIBUTE,
    SEQUENCE_ATTRIBUTE,
    SIGNALS,
    STOP,
    ArrivedCounts,
    Inbox,
    SinkReport,
    send,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_MESSAGE_BYTES_MAX = 64 * 1024 * 1024
_REPORT_INTERVAL_S = 0.25
_STOP_GRACE_S = 5.0
_SEQUENCES_MAX = 1 << 28  # 32 MiB of bits for each signal: two weeks at this load
_POINT_TIMES_MAX = 1024
_POINTS_PER_TIME_MAX = 10_000
_LEVEL_LISTS_MAX = 100
_GAPS_MAX = 5
_KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
_WORKERS = 4


class Sequences:
    """Which sequence numbers have come: one bit each."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self._end = 0

    def add(self, number: int) -> bool:
        """Whether this number is new. Beyond the limit nothing is remembered, all are new."""
        if not 0 <= number < _SEQUENCES_MAX:
            return True
        place, mask = number >> 3, 1 << (number & 7)
        if place >= len(self._bits):
            self._bits.extend(bytes(max(place + 1 - len(self._bits), len(self._bits), 1024)))
        new = not self._bits[place] & mask
        self._bits[place] |= mask
        self._end = max(self._end, number + 1)
        return new

    def gaps(self, count_max: int) -> list[int]:
        """The first numbers that are missing below the highest that came."""
        found: list[int] = []
        for place in range((self._end + 7) >> 3):
            byte = self._bits[place]
            if byte != 0xFF:
                numbers = range(place << 3, min((place + 1) << 3, self._end))
                found += [number for number in numbers if not byte >> (number & 7) & 1]
                if len(found) >= count_max:
                    return found[:count_max]
        return found


class Points:
    """Which data points have come, for the latest points in time."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, set[int]] = OrderedDict()

    def add(self, time_unix_nano: int, identity: tuple[Any, ...]) -> bool:
        """Whether this point is new."""
        seen = self._seen.get(time_unix_nano)
        if seen is None:
            seen = self._seen[time_unix_nano] = set()
            if len(self._seen) > _POINT_TIMES_MAX:
                self._seen.popitem(last=False)
        key = hash(identity)
        if key in seen:
            return False
        if len(seen) < _POINTS_PER_TIME_MAX:
            seen.add(key)
        return True


class Tally:
    """Counts requests of all signals; several threads may do so at once.

    ``lose`` items are thrown away uncounted on purpose, the first that come of the signal
    ``lose_signal`` (of any, if ``None``): this is how the comparison itself is tested.
    """

    def __init__(self, lose: int = 0, lose_signal: str | None = None) -> None:
        self._lose = lose
        self._lose_signal = lose_signal
        self._lock = Lock()
        self._counts = {signal: ArrivedCounts() for signal in SIGNALS}
        self._sequences = {signal: Sequences() for signal in ("logs", "traces")}
        self._points = Points()
        self._levels: Counter[tuple[str, ...]] = Counter()

    def metrics(self, request: Any) -> None:
        """Count an `ExportMetricsServiceRequest`."""
        with self._lock:
            for group in request.resource_metrics:
                levels = _levels(group.resource)
                for name, point in _points(group.scope_metrics):
                    if self._loses("metrics"):
                        continue
                    attributes = sorted(entry.SerializeToString() for entry in point.attributes)
                    new = self._points.add(point.time_unix_nano, (name, *attributes))
                    self._count("metrics", levels, new=new)

    def logs(self, request: Any) -> None:
        """Count an `ExportLogsServiceRequest`."""
        with self._lock:
            for group in request.resource_logs:
                levels = _levels(group.resource)
                for scope in group.scope_logs:
                    self._numbered("logs", levels, scope.log_records)

    def traces(self, request: Any) -> None:
        """Count an `ExportTraceServiceRequest`."""
        with self._lock:
            for group in request.resource_spans:
                levels = _levels(group.resource)
                for scope in group.scope_spans:
                    self._numbered("traces", levels, scope.spans)

    def report(self, *, final: bool = False) -> SinkReport:
        """What has come until now; the search for gaps is left to the final report."""
        with self._lock:
            if final:
                for signal, sequences in self._sequences.items():
                    self._counts[signal].gaps = sequences.gaps(_GAPS_MAX)
            counts = {
                name: ArrivedCounts(count.items, count.duplicates, list(count.gaps))
                for name, count in self._counts.items()
            }
            levels = [(list(path), items) for path, items in self._levels.most_common()]
            return SinkReport(final, counts, levels)

    def _numbered(self, signal: str, levels: tuple[str, ...], items: Iterable[Any]) -> None:
        for item in items:
            if self._loses(signal):
                continue
            number = _sequence_number(item)
            new = number is None or self._sequences[signal].add(number)
            self._count(signal, levels, new=new)

    def _loses(self, signal: str) -> bool:
        if self._lose > 0 and self._lose_signal in {None, signal}:
            self._lose -= 1
            return True
        return False

    def _count(self, signal: str, levels: tuple[str, ...], *, new: bool) -> None:
        count = self._counts[signal]
        count.items += 1
        count.duplicates += not new
        if levels in self._levels or len(self._levels) < _LEVEL_LISTS_MAX:
            self._levels[levels] += 1


def _points(scopes: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for scope in scopes:
        for metric in scope.metrics:
            kind = metric.WhichOneof("data")
            if kind in _KINDS:
                for point in getattr(metric, kind).data_points:
                    yield metric.name, point


def _levels(resource: Any) -> tuple[str, ...]:
    for entry in resource.attributes:
        if entry.key == LEVELS_ATTRIBUTE:
            if entry.value.WhichOneof("value") == "array_value":
                return tuple(value.string_value for value in entry.value.array_value.values)
            return (entry.value.string_value,)
    return ()


def _sequence_number(item: Any) -> int | None:
    for entry in item.attributes:
        if entry.key == SEQUENCE_ATTRIBUTE:
            return int(entry.value.int_value)
    return None


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002  the stub's name
        self._tally.metrics(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


class _Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        self._tally.logs(request)
        return logs_service_pb2.ExportLogsServiceResponse()


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        self._tally.traces(request)
        return trace_service_pb2.ExportTraceServiceResponse()


def serve(tally: Tally, port: int) -> Any:
    """Start the server on the loopback. Raises `OSError` when the port is taken."""
    server = grpc.server(
        futures.ThreadPoolExecutor(_WORKERS),
        options=[
            ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
            ("grpc.so_reuseport", 0),
        ],
    )
    # The generated functions have no types.
    adding: list[tuple[Any, object]] = [
        (metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server, _Metrics(tally)),
        (logs_service_pb2_grpc.add_LogsServiceServicer_to_server, _Logs(tally)),
        (trace_service_pb2_grpc.add_TraceServiceServicer_to_server, _Traces(tally)),
    ]
    for add, servicer in adding:
        add(servicer, server)
    try:
        server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError as error:
        raise OSError(f"cannot listen on 127.0.0.1:{port}: {error}") from error
    server.start()
    return server


def main(argv: Sequence[str] | None = None) -> int:
    """Count until the input says stop or ends, then report for the last time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--lose", type=int, default=0)
    parser.add_argument("--lose-signal", choices=SIGNALS)
    options = parser.parse_args(argv)
    tally = Tally(options.lose, options.lose_signal)
    try:
        server = serve(tally, options.port)
    except OSError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    inbox = Inbox()
    try:
        while True:
            send(tally.report())
            if inbox.wait(_REPORT_INTERVAL_S) == STOP:
                break
        server.stop(_STOP_GRACE_S).wait()
        send(tally.report(final=True))
    except (BrokenPipeError, KeyboardInterrupt):
        return 1  # nobody is left to report to
    return 0


if __name__ == "__main__":
    sys.exit(main())
