"""The layout of ``verbosity: detailed``: a line for every field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mlsysops_exporters.debug.normal import bucket_bound
from mlsysops_exporters.debug.values import fixed, identifier, text, timestamp, typed_value
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator

_TEMPORALITIES: Final = ("Unspecified", "Delta", "Cumulative")
_SPAN_KINDS: Final = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
_STATUS_CODES: Final = ("Unset", "Ok", "Error")
_SEVERITIES: Final = (
    "Unspecified",
    *(
        f"{word}{step}"
        for word in ("Trace", "Debug", "Info", "Warn", "Error", "Fatal")
        for step in ("", "2", "3", "4")
    ),
)
_DATA_TYPES: Final = {
    None: "Empty",
    "gauge": "Gauge",
    "sum": "Sum",
    "histogram": "Histogram",
    "exponential_histogram": "ExponentialHistogram",
    "summary": "Summary",
}


def render(signal: Signal, request: Any) -> str:
    """The text of a request, opened with the full view."""
    lines = {Signal.METRICS: _metrics, Signal.LOGS: _logs, Signal.TRACES: _traces}[signal](request)
    return "".join(f"{line}\n" for line in lines)


def _traces(request: Any) -> Iterator[str]:
    for index, group in enumerate(request.resource_spans):
        yield f"ResourceSpans #{index}"
        yield from _resource(group)
        for number, scoped in enumerate(group.scope_spans):
            yield f"ScopeSpans #{number}"
            yield f"ScopeSpans SchemaURL: {text(scoped.schema_url)}"
            yield from _scope(scoped.scope)
            for position, span in enumerate(scoped.spans):
                yield f"Span #{position}"
                yield from _span(span)


def _logs(request: Any) -> Iterator[str]:
    for index, group in enumerate(request.resource_logs):
        yield f"ResourceLog #{index}"
        yield from _resource(group)
        for number, scoped in enumerate(group.scope_logs):
            yield f"ScopeLogs #{number}"
            yield f"ScopeLogs SchemaURL: {text(scoped.schema_url)}"
            yield from _scope(scoped.scope)
            for position, record in enumerate(scoped.log_records):
                yield f"LogRecord #{position}"
                yield from _log_record(record)


def _metrics(request: Any) -> Iterator[str]:
    for index, group in enumerate(request.resource_metrics):
        yield f"ResourceMetrics #{index}"
        yield from _resource(group)
        for number, scoped in enumerate(group.scope_metrics):
            yield f"ScopeMetrics #{number}"
            yield f"ScopeMetrics SchemaURL: {text(scoped.schema_url)}"
            yield from _scope(scoped.scope)
            for position, metric in enumerate(scoped.metrics):
                yield f"Metric #{position}"
                yield from _metric(metric)


def _resource(group: Any) -> Iterator[str]:
    yield f"Resource SchemaURL: {text(group.schema_url)}"
    yield from _attributes("Resource attributes", group.resource.attributes)
    references = group.resource.entity_refs
    if not references:
        return
    yield "Resource entity refs:"
    for index, reference in enumerate(references):
        yield f"     -> Entity ref #{index}:"
        yield f"          -> Type: {text(reference.type)}"
        if reference.schema_url:
            yield f"          -> Schema URL: {text(reference.schema_url)}"
        for title, keys in (
            ("ID keys", reference.id_keys),
            ("Description keys", reference.description_keys),
        ):
            if keys:
                yield f"          -> {title}:"
                for key in keys:
                    yield f"               -> {text(key)}"


def _scope(scope: Any) -> Iterator[str]:
    yield f"InstrumentationScope {text(scope.name)} {text(scope.version)}"
    yield from _attributes("InstrumentationScope attributes", scope.attributes)


def _attributes(title: str, attributes: Any) -> Iterator[str]:
    """A block of attributes, indented below a title that is itself indented; none if empty."""
    if not attributes:
        return
    yield f"{title}:"
    indent = title.partition("->")[0] if "->" in title else ""
    for attribute in attributes:
        yield f"{indent}     -> {text(attribute.key)}: {typed_value(attribute.value)}"


def _word(words: tuple[str, ...], number: int) -> str:
    return words[number] if 0 <= number < len(words) else ""


def _column(title: str, content: object) -> str:
    return f"    {title:<15}: {content}"


def _span(span: Any) -> Iterator[str]:
    yield _column("Trace ID", identifier(span.trace_id))
    yield _column("Parent ID", identifier(span.parent_span_id))
    yield _column("ID", identifier(span.span_id))
    yield _column("Name", text(span.name))
    yield _column("Kind", _word(_SPAN_KINDS, span.kind))
    if span.trace_state:
        yield _column("TraceState", text(span.trace_state))
    yield _column("Start time", timestamp(span.start_time_unix_nano))
    yield _column("End time", timestamp(span.end_time_unix_nano))
    yield _column("Status code", _word(_STATUS_CODES, span.status.code))
    yield _column("Status message", text(span.status.message))
    yield _column("DroppedAttributesCount", span.dropped_attributes_count)
    yield _column("DroppedEventsCount", span.dropped_events_count)
    yield _column("DroppedLinksCount", span.dropped_links_count)
    yield from _attributes("Attributes", span.attributes)
    if span.events:
        yield "Events:"
    for index, event in enumerate(span.events):
        yield f"SpanEvent #{index}"
        yield f"     -> Name: {text(event.name)}"
        yield f"     -> Timestamp: {timestamp(event.time_unix_nano)}"
        yield f"     -> DroppedAttributesCount: {event.dropped_attributes_count}"
        yield from _attributes("     -> Attributes:", event.attributes)
    if span.links:
        yield "Links:"
    for index, link in enumerate(span.links):
        yield f"SpanLink #{index}"
        yield f"     -> Trace ID: {identifier(link.trace_id)}"
        yield f"     -> ID: {identifier(link.span_id)}"
        yield f"     -> TraceState: {text(link.trace_state)}"
        yield f"     -> DroppedAttributesCount: {link.dropped_attributes_count}"
        yield from _attributes("     -> Attributes:", link.attributes)


def _log_record(record: Any) -> Iterator[str]:
    yield f"ObservedTimestamp: {timestamp(record.observed_time_unix_nano)}"
    yield f"Timestamp: {timestamp(record.time_unix_nano)}"
    yield f"SeverityText: {text(record.severity_text)}"
    number = record.severity_number
    yield f"SeverityNumber: {_word(_SEVERITIES, number)}({number})"
    if record.event_name:
        yield f"EventName: {text(record.event_name)}"
    yield f"Body: {typed_value(record.body)}"
    yield from _attributes("Attributes", record.attributes)
    yield f"Trace ID: {identifier(record.trace_id)}"
    yield f"Span ID: {identifier(record.span_id)}"
    yield f"Flags: {record.flags}"


def _metric(metric: Any) -> Iterator[str]:
    kind = metric.WhichOneof("data")
    yield "Descriptor:"
    yield f"     -> Name: {text(metric.name)}"
    yield f"     -> Description: {text(metric.description)}"
    yield f"     -> Unit: {text(metric.unit)}"
    yield f"     -> DataType: {_DATA_TYPES[kind]}"
    yield from _attributes("     -> Metadata", metric.metadata)
    if kind is None:
        return
    data = getattr(metric, kind)
    if kind == "sum":
        yield f"     -> IsMonotonic: {'true' if data.is_monotonic else 'false'}"
    if kind in {"sum", "histogram", "exponential_histogram"}:
        words = _word(_TEMPORALITIES, data.aggregation_temporality)
        yield f"     -> AggregationTemporality: {words}"
    title, describe = _POINTS[kind]
    for index, point in enumerate(data.data_points):
        yield f"{title} #{index}"
        yield from _attributes("Data point attributes", point.attributes)
        yield f"StartTimestamp: {timestamp(point.start_time_unix_nano)}"
        yield f"Timestamp: {timestamp(point.time_unix_nano)}"
        yield from describe(point)
        if kind != "summary":
            yield from _exemplars(point.exemplars)


def _number(point: Any) -> Iterator[str]:
    match point.WhichOneof("value"):
        case "as_int":
            yield f"Value: {point.as_int}"
        case "as_double":
            yield f"Value: {fixed(point.as_double)}"


def _totals(point: Any) -> Iterator[str]:
    yield f"Count: {point.count}"
    for title, name in (("Sum", "sum"), ("Min", "min"), ("Max", "max")):
        if point.HasField(name):
            yield f"{title}: {fixed(getattr(point, name))}"


def _histogram(point: Any) -> Iterator[str]:
    yield from _totals(point)
    for index, bound in enumerate(point.explicit_bounds):
        yield f"ExplicitBounds #{index}: {fixed(bound)}"
    for index, count in enumerate(point.bucket_counts):
        yield f"Buckets #{index}, Count: {count}"


def _exponential_histogram(point: Any) -> Iterator[str]:
    yield from _totals(point)
    scale = point.scale
    counts = list(point.negative.bucket_counts)
    for position in reversed(range(len(counts))):
        index = point.negative.offset + position
        low, high = -bucket_bound(index + 1, scale), -bucket_bound(index, scale)
        yield f"Bucket [{fixed(low)}, {fixed(high)}), Count: {counts[position]}"
    if point.zero_count:
        yield f"Bucket [0, 0], Count: {point.zero_count}"
    for position, count in enumerate(point.positive.bucket_counts):
        index = point.positive.offset + position
        low, high = bucket_bound(index, scale), bucket_bound(index + 1, scale)
        yield f"Bucket ({fixed(low)}, {fixed(high)}], Count: {count}"


def _summary(point: Any) -> Iterator[str]:
    yield f"Count: {point.count}"
    yield f"Sum: {fixed(point.sum)}"
    for index, value in enumerate(point.quantile_values):
        quantile = f"Quantile {fixed(value.quantile)}, Value {fixed(value.value)}"
        yield f"QuantileValue #{index}: {quantile}"


def _exemplars(exemplars: Any) -> Iterator[str]:
    if exemplars:
        yield "Exemplars:"
    for index, exemplar in enumerate(exemplars):
        yield f"Exemplar #{index}"
        yield f"     -> Trace ID: {identifier(exemplar.trace_id)}"
        yield f"     -> Span ID: {identifier(exemplar.span_id)}"
        yield f"     -> Timestamp: {timestamp(exemplar.time_unix_nano)}"
        for line in _number(exemplar):
            yield f"     -> {line}"
        yield from _attributes("     -> FilteredAttributes", exemplar.filtered_attributes)


_POINTS: Final = {
    "gauge": ("NumberDataPoints", _number),
    "sum": ("NumberDataPoints", _number),
    "histogram": ("HistogramDataPoints", _histogram),
    "exponential_histogram": ("ExponentialHistogramDataPoints", _exponential_histogram),
    "summary": ("SummaryDataPoints", _summary),
}
