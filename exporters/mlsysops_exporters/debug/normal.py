"""The layout of ``verbosity: normal``: a line for each resource, scope and item."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlsysops_exporters.debug.values import fixed, identifier, pairs, shortest, text, value
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator


def render(signal: Signal, request: Any) -> str:
    """The text of a request, opened with the full view."""
    lines = {Signal.METRICS: _metrics, Signal.LOGS: _logs, Signal.TRACES: _traces}[signal](request)
    return "".join(f"{line}\n" for line in lines)


def _traces(request: Any) -> Iterator[str]:
    for index, group in enumerate(request.resource_spans):
        yield f"ResourceTraces #{index}{_resource(group)}"
        for number, scoped in enumerate(group.scope_spans):
            yield f"ScopeTraces #{number}{_scope(scoped)}"
            for span in scoped.spans:
                ids = f"{identifier(span.trace_id)} {identifier(span.span_id)}"
                yield f"{text(span.name)} {ids}{_listed(span.attributes)}"


def _logs(request: Any) -> Iterator[str]:
    for index, group in enumerate(request.resource_logs):
        yield f"ResourceLog #{index}{_resource(group)}"
        for number, scoped in enumerate(group.scope_logs):
            yield f"ScopeLog #{number}{_scope(scoped)}"
            for record in scoped.log_records:
                yield f"{value(record.body)} {' '.join(pairs(record.attributes))}"


def _metrics(request: Any) -> Iterator[str]:
    for index, group in enumerate(request.resource_metrics):
        yield f"ResourceMetrics #{index}{_resource(group)}"
        for number, scoped in enumerate(group.scope_metrics):
            yield f"ScopeMetrics #{number}{_scope(scoped)}"
            for metric in scoped.metrics:
                kind = metric.WhichOneof("data")
                if kind is None:
                    continue
                name = text(metric.name)
                for point in getattr(metric, kind).data_points:
                    labels = ",".join(pairs(point.attributes))
                    yield f"{name}{{{labels}}} {_POINTS[kind](point)}"


def _resource(group: Any) -> str:
    schema = f" [{text(group.schema_url)}]" if group.schema_url else ""
    return schema + _listed(group.resource.attributes)


def _scope(scoped: Any) -> str:
    scope = scoped.scope
    name = text(scope.name) + (f"@{text(scope.version)}" if scope.version else "")
    schema = f"[{text(scoped.schema_url)}]" if scoped.schema_url else ""
    return "".join(f" {part}" for part in (name, schema) if part) + _listed(scope.attributes)


def _listed(attributes: Any) -> str:
    return "".join(f" {pair}" for pair in pairs(attributes))


def _number(point: Any) -> str:
    kind = point.WhichOneof("value")
    if kind == "as_int":
        return str(point.as_int)
    return shortest(point.as_double) if kind else ""


def _totals(point: Any) -> list[str]:
    parts = [f"count={point.count}"]
    parts += [
        f"{name}={shortest(getattr(point, name))}"
        for name in ("sum", "min", "max")
        if point.HasField(name)
    ]
    return parts


def _histogram(point: Any) -> str:
    parts = _totals(point)
    bounds = list(point.explicit_bounds)
    for index, count in enumerate(point.bucket_counts):
        bound = f"le{shortest(bounds[index])}=" if index < len(bounds) else ""
        parts.append(f"{bound}{count}")
    return " ".join(parts)


def _exponential_histogram(point: Any) -> str:
    parts = _totals(point)
    negative, positive = point.negative, point.positive
    counts = list(negative.bucket_counts)
    parts += [
        f"le{shortest(-bucket_bound(negative.offset + index, point.scale))}={counts[index]}"
        for index in reversed(range(len(counts)))
    ]
    if point.zero_count:
        parts.append(f"zero={point.zero_count}")
    parts += [
        f"le{shortest(bucket_bound(positive.offset + index + 1, point.scale))}={count}"
        for index, count in enumerate(positive.bucket_counts)
    ]
    return " ".join(parts)


def _summary(point: Any) -> str:
    parts = [f"count={point.count}", f"sum={fixed(point.sum)}"]
    parts += [f"q{shortest(q.quantile)}={shortest(q.value)}" for q in point.quantile_values]
    return " ".join(parts)


def bucket_bound(index: int, scale: int) -> float:
    """The lower bound of a bucket of an exponential histogram: ``2 ** (index / 2 ** scale)``.

    Infinity beyond what a double can hold.
    """
    try:
        return math.exp(index * math.ldexp(math.log(2), -scale))
    except OverflowError:
        return math.inf


_POINTS = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential_histogram,
    "summary": _summary,
}
