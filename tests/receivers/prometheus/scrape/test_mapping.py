"""Pages become OTLP (conformance PI-1 to PI-7, SC-1, SC-4, SC-7)."""

from __future__ import annotations

import math
import struct

import pytest

from mlsysops_receivers.prometheus.scrape import Report, Target
from mlsysops_receivers.prometheus.scrape.making import CALM_PAGES
from tests.receivers.prometheus.scrape.scraping import (
    AT_NS,
    LABELS,
    OPEN_METRICS,
    Bench,
    attributes_of,
    metrics_of,
    points_of,
    values_of,
)

_CUMULATIVE = 2


def test_a_counter_is_a_monotonic_cumulative_sum() -> None:
    """PI-1, PI-2, PI-3: its name unaltered, no start, the time of the scrape."""
    page = '# HELP a_total What it counts.\n# TYPE a_total counter\na_total{b="c"} 5\n'
    metric = Bench().scrape(page)["a_total"]
    [point] = metric.sum.data_points
    assert ("What it counts.", "") == (metric.description, metric.unit)
    assert metric.sum.is_monotonic
    assert _CUMULATIVE == metric.sum.aggregation_temporality
    assert (5.0, {"b": "c"}) == (point.as_double, attributes_of(point))
    assert (0, AT_NS + 10**9) == (point.start_time_unix_nano, point.time_unix_nano)
    [pair] = metric.metadata
    assert ("prometheus.type", "counter") == (pair.key, pair.value.string_value)


@pytest.mark.parametrize(
    ("type_", "sample", "data"),
    [
        ("gauge", "a", "gauge"),
        ("unknown", "a", "gauge"),
        ("info", "a_info", "sum"),
        ("stateset", "a", "sum"),
        ("counter", "a_total", "sum"),
    ],
)
def test_types_of_numbers(type_: str, sample: str, data: str) -> None:
    """PI-3."""
    page = f'# TYPE a {type_}\n{sample}{{a="b"}} 1\n# EOF\n'
    metric = Bench().scrape(page, OPEN_METRICS)[sample]
    assert data == metric.WhichOneof("data")
    assert (type_ == "counter") == metric.sum.is_monotonic
    assert type_ == metric.metadata[0].value.string_value


def test_untyped_and_undeclared_samples_are_unknown_gauges() -> None:
    """PI-3."""
    metrics = Bench().scrape("# TYPE a untyped\na 1\nb_total 2\n")
    assert ["gauge", "gauge"] == [metrics[name].WhichOneof("data") for name in ("a", "b_total")]
    assert ["unknown", "unknown"] == [
        metrics[name].metadata[0].value.string_value for name in ("a", "b_total")
    ]


def test_gauge_histograms_are_dropped() -> None:
    """PI-3."""
    page = '# TYPE a gaugehistogram\na_bucket{le="+Inf"} 3\na_gcount 3\na_gsum -5\n# EOF\n'
    bench = Bench()
    assert {} == bench.scrape(page, OPEN_METRICS)
    assert bench.scraped is not None
    assert (3, 3) == (bench.scraped.samples_post_relabel, bench.scraped.unmapped)


@pytest.mark.parametrize(
    ("word", "unit"),
    [("seconds", "s"), ("bytes_per_second", "By/s"), ("ratio", "1"), ("boxes", "boxes")],
)
def test_units_become_ucum(word: str, unit: str) -> None:
    """PI-1."""
    page = f"# TYPE a_{word} gauge\n# UNIT a_{word} {word}\na_{word} 1\n# EOF\n"
    assert unit == Bench().scrape(page, OPEN_METRICS)[f"a_{word}"].unit


def test_a_histogram_is_one_point() -> None:
    """PI-4: counts differenced, the last bound dropped."""
    page = """# TYPE a histogram
a_bucket{b="c",le="0.5"} 1
a_bucket{b="c",le="2"} 4
a_bucket{b="c",le="+Inf"} 9
a_sum{b="c"} 17.5
a_count{b="c"} 9
"""
    metric = Bench().scrape(page)["a"]
    [point] = metric.histogram.data_points
    assert _CUMULATIVE == metric.histogram.aggregation_temporality
    assert ([0.5, 2.0], [1, 3, 5]) == (list(point.explicit_bounds), list(point.bucket_counts))
    assert (9, 17.5, {"b": "c"}) == (point.count, point.sum, attributes_of(point))


def test_a_histogram_without_a_sum_has_none_and_without_a_count_is_dropped() -> None:
    """PI-4."""
    bench = Bench()
    page = '# TYPE a histogram\na_bucket{le="1"} 1\na_bucket{le="+Inf"} 2\na_count 2\n'
    [point] = points_of(bench.scrape(page)["a"])
    assert not point.HasField("sum")
    assert {} == Bench().scrape(page.replace("a_count 2\n", ""))


@pytest.mark.parametrize(
    ("buckets", "bounds", "counts", "count"),
    [
        ("1:1 2:NaN 3:4 +Inf:5", [1.0, 3.0], [1, 3, 1], 5),
        ("1:3 2:2 3:4 +Inf:5", [1.0, 3.0], [3, 1, 1], 5),
        ("3:4 1:1 2:2 +Inf:5", [1.0, 2.0, 3.0], [1, 1, 2, 1], 5),
        ("x:1 1:2 +Inf:5", [1.0], [2, 3], 5),
        ("1:7 +Inf:5", [1.0], [7, 0], 7),
        ("1:0.5 2:1.5 +Inf:2.5", [1.0, 2.0], [0, 1, 1], 2),
        ("+Inf:5", [], [5], 5),
        ("", [], [5], 5),
        ("1:-1 +Inf:5", [], [5], 5),
    ],
)
def test_odd_buckets(buckets: str, bounds: list[float], counts: list[int], count: int) -> None:
    """PI-4: buckets that are no counts are left out; a point always adds up."""
    lines = ["# TYPE a histogram"]
    last = "5"
    for pair in buckets.split():
        bound, _, last = pair.partition(":")
        lines.append(f'a_bucket{{le="{bound}"}} {last}')
    page = "\n".join([*lines, f"a_count {last}", "a_sum 1", ""])
    bench = Bench()
    for _ in range(2):
        [point] = points_of(bench.scrape(page)["a"])
        assert (bounds, counts) == (list(point.explicit_bounds), list(point.bucket_counts))
        assert count == point.count == sum(point.bucket_counts)
    # From sound to odd and back again.
    sound = '# TYPE a histogram\na_bucket{le="1"} 1\na_count 3\na_sum 1\n'
    bench = Bench()
    bench.scrape(sound)
    bench.scrape(sound.replace(" 3", " 0"))
    [point] = points_of(bench.scrape(sound)["a"])
    assert [1, 2] == list(point.bucket_counts)


def test_what_was_odd_once_is_not_odd_for_ever() -> None:
    """PI-4, PI-5: a metric without times and exemplars has a template again after a while."""
    sound = '# TYPE a histogram\na_bucket{le="1"} 1\na_count 3\nb 1\n# EOF\n'
    odd = sound.replace("a_count 3", "a_count 0").replace("b 1", 'b 1 # {x="y"} 1')
    bench = Bench()
    bench.scrape(odd, OPEN_METRICS)
    for _ in range(2 * CALM_PAGES):
        metrics = bench.scrape(sound, OPEN_METRICS)
        assert [1, 2] == list(points_of(metrics["a"])[0].bucket_counts)
        assert 1.0 == points_of(metrics["b"])[0].as_double
    assert [] == bench.series._layout.dynamic
    [point] = points_of(bench.scrape(odd, OPEN_METRICS)["b"])
    assert 1 == len(point.exemplars)


def test_a_summary_is_one_point() -> None:
    """PI-4: a summary without a sum has 0."""
    page = '# TYPE a summary\na{quantile="0.9"} 3\na{quantile="0.5"} NaN\na_count 4\n'
    metric = Bench().scrape(page)["a"]
    [point] = metric.summary.data_points
    assert (4, 0.0) == (point.count, point.sum)
    [median, ninth] = point.quantile_values
    assert (0.5, 0.9, 3.0) == (median.quantile, ninth.quantile, ninth.value)
    assert math.isnan(median.value)
    assert {} == Bench().scrape(page.replace("a_count 4\n", ""))


def test_created_times_are_starts() -> None:
    """PI-2: of counters, histograms and summaries."""
    page = """# TYPE a counter
a_total{b="1"} 5
a_created{b="1"} 1600000000.125
a_total{b="2"} 6
# TYPE h histogram
h_bucket{le="+Inf"} 2
h_count 2
h_sum 2
h_created 1600000001
# TYPE s summary
s_count 2
s_sum 2
s_created 1600000002
# EOF
"""
    bench = Bench()
    metrics = bench.scrape(page, OPEN_METRICS)
    assert {"a_total", "h", "s"} == metrics.keys()
    assert [1_600_000_000_125_000_000, 0] == [
        point.start_time_unix_nano for point in points_of(metrics["a_total"])
    ]
    assert [1_600_000_001 * 10**9, 1_600_000_002 * 10**9] == [
        points_of(metrics[name])[0].start_time_unix_nano for name in ("h", "s")
    ]
    # The target began anew.
    metrics = bench.scrape(page.replace("16000", "16500"), OPEN_METRICS)
    assert [1_650_000_000_125_000_000, 0] == [
        point.start_time_unix_nano for point in points_of(metrics["a_total"])
    ]
    assert 1_650_000_001 * 10**9 == points_of(metrics["h"])[0].start_time_unix_nano


def test_exemplars_keep_ids_that_are_valid() -> None:
    """PI-5."""
    trace, span = "0123456789abcdef" * 2, "0123456789abcdef"
    page = f"""# TYPE a counter
a_total 5 # {{trace_id="{trace}",span_id="{span}",x="y"}} 2 1600000000.5
a_total{{b="c"}} 6 # {{trace_id="{"0" * 32}",span_id="zz"}} 3
# TYPE h histogram
h_bucket{{le="1"}} 1 # {{trace_id="{trace}"}} 0.5
h_bucket{{le="+Inf"}} 1
h_count 1
# EOF
"""
    bench = Bench()
    for _ in range(2):
        metrics = bench.scrape(page, OPEN_METRICS)
        first, second = points_of(metrics["a_total"])
        [exemplar] = first.exemplars
        assert (trace, span) == (exemplar.trace_id.hex(), exemplar.span_id.hex())
        assert (2.0, 1_600_000_000_500_000_000) == (exemplar.as_double, exemplar.time_unix_nano)
        assert ["x"] == [pair.key for pair in exemplar.filtered_attributes]
        [exemplar] = second.exemplars
        assert (b"", b"", bench.at_ns) == (
            exemplar.trace_id,
            exemplar.span_id,
            exemplar.time_unix_nano,
        )
        assert ["trace_id", "span_id"] == [pair.key for pair in exemplar.filtered_attributes]
        [exemplar] = points_of(metrics["h"])[0].exemplars
        assert (trace, 0.5) == (exemplar.trace_id.hex(), exemplar.as_double)
    # Exemplars come and go.
    plain = "\n".join(line.partition(" # {")[0] for line in page.splitlines()) + "\n"
    assert [[], []] == [
        list(point.exemplars) for point in points_of(bench.scrape(plain, OPEN_METRICS)["a_total"])
    ]


def test_the_scope_comes_from_labels() -> None:
    """PI-6: or else names the receiver; the metric that repeats it is left out."""
    scope = 'otel_scope_name="s",otel_scope_version="1",otel_scope_schema_url="u"'
    page = f"""a{{{scope},otel_scope_x="y",b="c"}} 1
a{{b="c"}} 2
otel_scope_info{{otel_scope_name="s"}} 1
"""
    request = Bench(scope_name="ours", scope_version="3").scrape_all(page)
    [resource] = request.resource_metrics
    first, second = resource.scope_metrics
    assert ("u", "s", "1", {"x": "y"}) == (
        first.schema_url,
        first.scope.name,
        first.scope.version,
        attributes_of(first.scope),
    )
    assert ("ours", "3") == (second.scope.name, second.scope.version)
    assert ["a"] == [metric.name for metric in first.metrics]
    assert [{"b": "c"}] == [attributes_of(point) for point in points_of(first.metrics[0])]


def test_the_resource_comes_from_the_target_and_target_info() -> None:
    """PI-7: keys of ``target_info`` unaltered, and nothing of it on the points."""
    target = Target({**LABELS, "zone": "z"}, scheme="https", resource={"k8s.pod.name": "p"})
    bench = Bench(target=target)
    page = 'a 1\ntarget_info{os_type="linux",service_version="2"} 1\n'
    for _ in range(2):
        request = bench.scrape_all(page)
        [resource] = request.resource_metrics
        assert {
            "service.name": "node",
            "service.instance.id": "10.0.0.1:9100",
            "server.address": "10.0.0.1",
            "server.port": "9100",
            "url.scheme": "https",
            "k8s.pod.name": "p",
            "os_type": "linux",
            "service_version": "2",
            "zone": "z",
        } == attributes_of(resource.resource)
        metrics = metrics_of(request)
        assert "target_info" not in metrics
        assert [{"zone": "z"}] == [attributes_of(point) for point in points_of(metrics["a"])]


@pytest.mark.parametrize(
    ("instance", "address", "port"),
    [
        ("localhost:1", None, "1"),
        ("127.0.0.1:1", None, "1"),
        ("[::1]:1", None, "1"),
        ("0.0.0.0:1", None, "1"),
        ("[2001:db8::1]:1", "2001:db8::1", "1"),
        ("node-7:1", "node-7", "1"),
        ("a name", "a name", None),
    ],
)
def test_the_address_of_a_server(instance: str, address: str | None, port: str | None) -> None:
    """PI-7."""
    request = Bench({"job": "j", "instance": instance}).scrape_all("a 1\n")
    found = attributes_of(request.resource_metrics[0].resource)
    assert (address, port) == (found.get("server.address"), found.get("server.port"))


def test_labels_of_the_target_win_unless_honoured() -> None:
    """SC-4."""
    page = 'a{job="x",exported_job="y",zone="",b=""} 1\n'
    labels = {**LABELS, "zone": "z"}
    [point] = points_of(Bench(labels).scrape(page)["a"])
    assert {"exported_job": "y", "exported_exported_job": "x", "zone": "z"} == attributes_of(point)
    request = Bench(labels, honor_labels=True).scrape_all(page)
    first, second = request.resource_metrics
    assert ["x", "node"] == [
        attributes_of(resource.resource)["service.name"] for resource in (first, second)
    ]
    [point] = points_of(first.scope_metrics[0].metrics[0])
    assert {"exported_job": "y"} == attributes_of(point)


def test_external_labels_override() -> None:
    bench = Bench(external_labels={"region": "r", "b": "ours"})
    request = bench.scrape_all('a{b="c"} 1\n')
    for metric in metrics_of(request).values():
        [point] = points_of(metric)
        assert {"region": "r", "b": "ours"} == attributes_of(point)


def test_special_numbers_are_numbers() -> None:
    """SC-7: an ordinary NaN is no marker."""
    for pages in (["a NaN\nb +Inf\nc -Inf\n"], ["a 1\nb 1\nc 1\n", "a NaN\nb +Inf\nc -Inf\n"]):
        bench = Bench()
        for page in pages:
            metrics = bench.scrape(page)
        [point] = points_of(metrics["a"])
        assert 0 == point.flags
        assert 0x7FF8_0000_0000_0000 == struct.unpack("<Q", struct.pack("<d", point.as_double))[0]
        assert [math.inf, -math.inf] == [points_of(metrics[name])[0].as_double for name in "bc"]


def test_utf8_names_stay_as_they_are() -> None:
    """TX-2, PI-1."""
    metric = Bench().scrape('# TYPE "my.metric" counter\n{"my.metric","a.b"="c"} 1\n')["my.metric"]
    assert {"a.b=c": 1.0} == values_of(metric)
    assert metric.sum.is_monotonic


def test_relabelling_is_asked_once_for_each_series() -> None:
    asked = []

    def relabel(labels: dict[str, str]) -> dict[str, str] | None:
        asked.append(dict(labels))
        if labels["__name__"] == "b":
            return None
        if labels["__name__"] == "a":
            labels["__name__"] = "renamed"
        return labels

    bench = Bench(relabel=relabel)
    page = "# TYPE a counter\na 1\nb 2\n# TYPE c counter\nc 3\n"
    for number in range(3):
        metrics = bench.scrape(page.replace("a 1", f"a {number}"))
        assert {"renamed", "c"} == metrics.keys()
        assert ("gauge", "sum") == (
            metrics["renamed"].WhichOneof("data"),
            metrics["c"].WhichOneof("data"),
        )
        assert {"": number} == values_of(metrics["renamed"])
        assert bench.scraped is not None
        assert (3, 2) == (bench.scraped.samples_scraped, bench.scraped.samples_post_relabel)
    assert ["a", "b", "c"] == [labels["__name__"] for labels in asked]
    assert LABELS.items() <= asked[0].items()


def test_report_series() -> None:
    """SC-1: of the same resource, not relabelled, with the extra ones where they are asked for."""
    bench = Bench(relabel=lambda _: None)
    metrics = metrics_of(bench.scrape_all("a 1\nb 2\n"))
    assert {
        "up": 1.0,
        "scrape_duration_seconds": 0.25,
        "scrape_samples_scraped": 2.0,
        "scrape_samples_post_metric_relabeling": 0.0,
        "scrape_series_added": 0.0,
    } == {name: metric.gauge.data_points[0].as_double for name, metric in metrics.items()}
    bench = Bench()
    added = []
    for page in ("a 1\n", "a 1\nb 2\n", "a 1\nb 2\n", "a 1\n", "a 1\nb 2\n"):
        metrics = metrics_of(bench.scrape_all(page))
        added.append(metrics["scrape_series_added"].gauge.data_points[0].as_double)
    assert [1.0, 1.0, 0.0, 0.0, 1.0] == added
    scrape = bench.series.begin("text/plain", bench.at_ns + 1)
    wire = scrape.finish(Report(0.5, timeout_s=10, sample_limit=7, body_bytes=0)).wire
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )

    metrics = metrics_of(ExportMetricsServiceRequest.FromString(wire))
    assert [10.0, 7.0, 0.0] == [
        metrics[name].gauge.data_points[0].as_double
        for name in ("scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes")
    ]


def test_suffixes_are_trimmed_where_asked() -> None:
    page = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1\n# EOF\n"
    metrics = Bench(trim_metric_suffixes=True).scrape(page, OPEN_METRICS)
    assert {"a"} == metrics.keys()
