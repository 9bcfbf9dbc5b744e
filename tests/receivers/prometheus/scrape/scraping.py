"""A target whose pages are given as text, and what became of them as plain data."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from mlsysops_receivers.prometheus.scrape import (
    Report,
    Scraped,
    ScrapeOptions,
    Target,
    TargetSeries,
)

TEXT = "text/plain; version=0.0.4"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
AT_NS = 1_700_000_000 * 10**9
REPORTS = frozenset(
    {
        "up",
        "scrape_duration_seconds",
        "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling",
        "scrape_series_added",
        "scrape_timeout_seconds",
        "scrape_sample_limit",
        "scrape_body_size_bytes",
    }
)
REPORT = Report(duration_s=0.25)
LABELS = {"job": "node", "instance": "10.0.0.1:9100"}


class Bench:
    """One target, scraped once a second."""

    def __init__(
        self,
        labels: dict[str, str] | None = None,
        target: Target | None = None,
        **options: Any,
    ) -> None:
        self.series = TargetSeries(
            target or Target(LABELS if labels is None else labels), ScrapeOptions(**options)
        )
        self.at_ns = AT_NS
        self.scraped: Scraped | None = None

    def scrape(
        self, page: str | bytes, content_type: str = TEXT, piece_bytes: int = 1 << 20
    ) -> dict[str, Any]:
        """The metrics of a page by name; without the report series."""
        return {
            name: metric
            for name, metric in metrics_of(self.scrape_all(page, content_type, piece_bytes)).items()
            if name not in REPORTS
        }

    def scrape_all(
        self, page: str | bytes, content_type: str = TEXT, piece_bytes: int = 1 << 20
    ) -> ExportMetricsServiceRequest:
        """The request of a page."""
        wire = page.encode() if isinstance(page, str) else page
        self.at_ns += 10**9
        scrape = self.series.begin(content_type, self.at_ns)
        for at in range(0, len(wire), piece_bytes):
            scrape.feed(wire[at : at + piece_bytes])
        self.scraped = scrape.finish(REPORT)
        request = parse(self.scraped.wire)
        if self.scraped.points is not None:
            assert sum(len(points_of(m)) for m in each_metric(request)) == self.scraped.points
        return request

    def fail(self) -> ExportMetricsServiceRequest:
        self.at_ns += 10**9
        return parse(self.series.fail(self.at_ns, REPORT))

    def end(self) -> ExportMetricsServiceRequest:
        self.at_ns += 10**9
        return parse(self.series.end(self.at_ns))


def parse(wire: bytes) -> ExportMetricsServiceRequest:
    """A request, by the official classes; it has to be in one piece."""
    found: ExportMetricsServiceRequest = ExportMetricsServiceRequest.FromString(wire)
    return found


def metrics_of(request: ExportMetricsServiceRequest) -> dict[str, Any]:
    """The metrics by name, each of which has to be there once."""
    metrics = each_metric(request)
    found = {metric.name: metric for metric in metrics}
    assert len(found) == len(metrics)
    return found


def each_metric(request: ExportMetricsServiceRequest) -> list[Any]:
    """All metrics of a request."""
    return [
        metric
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]


def points_of(metric: Any) -> list[Any]:
    """The points of a metric of any kind."""
    return list(getattr(metric, metric.WhichOneof("data")).data_points)


def attributes_of(point: Any) -> dict[str, str]:
    """Attributes, each of which has to be there once and be text."""
    found = {pair.key: pair.value.string_value for pair in point.attributes}
    assert len(found) == len(point.attributes)
    return found


def values_of(metric: Any) -> dict[str, float | None]:
    """Values of number points by their attributes; ``None`` for stale ones."""
    return {
        ",".join(f"{key}={value}" for key, value in sorted(attributes_of(point).items())): (
            None if point.flags & 1 else point.as_double
        )
        for point in points_of(metric)
    }
