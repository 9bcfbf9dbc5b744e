"""What both collectors are given: a page with every type, and OTLP with every type.

Names, units and attributes are chosen for what translators do to them: suffixes that are there
already, characters that are not allowed, two attributes that become one label.
"""

from __future__ import annotations

import time
from typing import Any

from mlsysops_pipeline import Signal
from tests.interop.items import REQUESTS

TEXT = r"""# HELP zoo_requests_total Requests with a \\ and a \n in help.
# TYPE zoo_requests_total counter
zoo_requests_total{code="200",path="/a\\b\"c\nd"} 1027
zoo_requests_total{code="500",path=""} 3
# HELP zoo_counter A counter without its suffix.
# TYPE zoo_counter counter
zoo_counter 7
# HELP zoo_temperature_celsius Gauge.
# TYPE zoo_temperature_celsius gauge
zoo_temperature_celsius{room="kitchen"} 21.5
zoo_temperature_celsius{room="attic"} -3e-07
zoo_nan NaN
# TYPE zoo_infinite gauge
zoo_infinite{sign="+"} +Inf
zoo_infinite{sign="-"} -Inf
# TYPE zoo_untyped untyped
zoo_untyped{a="b"} 42
# HELP zoo_latency_seconds Histogram.
# TYPE zoo_latency_seconds histogram
zoo_latency_seconds_bucket{le="0.1"} 5
zoo_latency_seconds_bucket{le="0.5"} 8
zoo_latency_seconds_bucket{le="1"} 8
zoo_latency_seconds_bucket{le="+Inf"} 10
zoo_latency_seconds_sum 4.25
zoo_latency_seconds_count 10
# TYPE zoo_rpc_duration_seconds summary
zoo_rpc_duration_seconds{quantile="0.5"} 0.05
zoo_rpc_duration_seconds{quantile="0.99"} 0.3
zoo_rpc_duration_seconds_sum 17.5
zoo_rpc_duration_seconds_count 200
# TYPE zoo_sizes_bytes gauge
zoo_sizes_bytes{instance="mine",job="own"} 12
# TYPE zoo_big gauge
zoo_big 1.7976931348623157e+308
zoo_big{n="1"} 9007199254740993
# TYPE target_info gauge
target_info{region="eu",version="7"} 1
"""

OPEN_METRICS = r"""# TYPE zoo_requests counter
# HELP zoo_requests Requests.
zoo_requests_total{code="200"} 1027 # {trace_id="TRACE",span_id="b7ad6b7169203331"} 1.0
zoo_requests_created{code="200"} 1600000000.5
# TYPE zoo_latency_seconds histogram
# UNIT zoo_latency_seconds seconds
zoo_latency_seconds_bucket{le="0.1"} 5 # {trace_id="TRACE"} 0.05
zoo_latency_seconds_bucket{le="+Inf"} 10
zoo_latency_seconds_sum 4.25
zoo_latency_seconds_count 10
# TYPE zoo_build info
zoo_build_info{version="1.2"} 1
# TYPE zoo_state stateset
zoo_state{zoo_state="on"} 1
zoo_state{zoo_state="off"} 0
# TYPE zoo_queue gaugehistogram
zoo_queue_bucket{le="10"} 3
zoo_queue_bucket{le="+Inf"} 4
zoo_queue_gsum 12
zoo_queue_gcount 4
# TYPE zoo_unknown unknown
zoo_unknown 3
# TYPE zoo_memory_bytes gauge
# UNIT zoo_memory_bytes bytes
# HELP zoo_memory_bytes Memory.
zoo_memory_bytes 12345
# EOF
""".replace("TRACE", "0af7651916cd43dd8448eb211c80319c")

UTF8 = """# TYPE "zoo.requests" gauge
# HELP "zoo.requests" A name that is not a word.
{"zoo.requests","http.method"="GET"} 5
zoo_plain{"a.b"="c"} 6
"""

_UNITS = (
    "s", "ms", "By", "KiBy", "1", "%", "{request}", "By/s", "1/s", "{request}/s", "m/s", "Hz",
    "d", "C", "Cel", "odd unit", "/s", "By/{x}", "V", "$", "kg/m",
)  # fmt: skip
_NAMES = (
    "plain", "dotted.name", "with-dash", "9starts.with.digit", "ends_total", "ends.seconds",
    "a.bytes.total", "a..b", "_under", "ünï", "ratio.thing", "x.per.second", "UPPER", "a:colon",
)  # fmt: skip


def otlp() -> Any:
    """One request of metrics: several resources, every type, with the time that it is."""
    now = time.time_ns()
    request = REQUESTS[Signal.METRICS]()
    full = request.resource_metrics.add(schema_url="https://example.test/r")
    for key, value in (
        ("service.name", "shop"), ("service.namespace", "eu"), ("service.instance.id", "i-1"),
        ("host.name", "node-1"), ("k8s.pod/name", "p"), ("empty", ""),
    ):  # fmt: skip
        full.resource.attributes.add(key=key).value.string_value = value
    _all_types(full.scope_metrics.add(), now)
    bare = request.resource_metrics.add()
    scope = bare.scope_metrics.add()
    scope.scope.name, scope.scope.version = "library", "1.0"
    scope.scope.attributes.add(key="scope.key").value.string_value = "x"
    _gauge(scope, "bare.gauge", now)
    named = request.resource_metrics.add()
    named.resource.attributes.add(key="service.name").value.string_value = "only-name"
    _gauge(named.scope_metrics.add(), "named.gauge", now)
    return request


def _all_types(scope: Any, now: int) -> None:
    for index, unit in enumerate(_UNITS):
        _gauge(scope, f"unit{index}.gauge", now, unit)
        _sum(scope, f"unit{index}.sum", now, unit)
    for name in _NAMES:
        _gauge(scope, f"{name}.g" if name == "plain" else name, now)
        _sum(scope, f"{name}_sum" if name == "plain" else f"s.{name}", now)
    _sum(scope, "not.monotonic", now, monotonic=False)
    _sum(scope, "delta.sum", now, temporality=1)
    _sum(scope, "delta.not.monotonic", now, monotonic=False, temporality=1)
    _values(scope, now)
    _labels(scope, now)
    _histograms(scope, now)


def _gauge(scope: Any, name: str, now: int, unit: str = "") -> None:
    metric = scope.metrics.add(name=name, unit=unit, description=f"about {name}")
    metric.gauge.data_points.add(time_unix_nano=now, as_double=1.5)


def _sum(
    scope: Any, name: str, now: int, unit: str = "", *, monotonic: bool = True, temporality: int = 2
) -> None:
    metric = scope.metrics.add(name=name, unit=unit)
    metric.sum.is_monotonic, metric.sum.aggregation_temporality = monotonic, temporality
    metric.sum.data_points.add(time_unix_nano=now, start_time_unix_nano=now - 10**9, as_int=7)


def _values(scope: Any, now: int) -> None:
    values = (0.0, -0.0, 1e21, 1e-7, 123456789.0, 1e6, float("inf"), float("nan"), 0.1, 1 / 3)
    gauge = scope.metrics.add(name="doubles").gauge
    for index, value in enumerate(values):
        point = gauge.data_points.add(time_unix_nano=now, as_double=value)
        point.attributes.add(key="n").value.string_value = str(index)
    gauge = scope.metrics.add(name="integers").gauge
    for index, integer in enumerate((0, -1, 2**53 + 1, 2**63 - 1)):
        point = gauge.data_points.add(time_unix_nano=now, as_int=integer)
        point.attributes.add(key="n").value.int_value = index
    gauge = scope.metrics.add(name="not.recorded").gauge
    gauge.data_points.add(time_unix_nano=now, flags=1)


def _labels(scope: Any, now: int) -> None:
    point = scope.metrics.add(name="labels").gauge.data_points.add(time_unix_nano=now, as_int=1)
    attributes = point.attributes
    for key in ("a.b", "9digit", "_one", "with space", "ünï", "le"):
        attributes.add(key=key).value.string_value = f"v {key}"
    for name, keys in {
        "private": ("__private",),
        "name": ("__name__",),
        "job": ("job",),
        "instance": ("instance",),
        "quantile": ("quantile",),
        "collision": ("a.b", "a_b"),
    }.items():
        gauge = scope.metrics.add(name=f"label.{name}").gauge
        one = gauge.data_points.add(time_unix_nano=now, as_int=1)
        for key in keys:
            one.attributes.add(key=key).value.string_value = "of the point"
    attributes.add(key="empty").value.string_value = ""
    attributes.add(key="escaped").value.string_value = 'a "b" \\ c\nd'
    attributes.add(key="int").value.int_value = -5
    attributes.add(key="double").value.double_value = 1e21
    attributes.add(key="whole").value.double_value = 3.0
    attributes.add(key="bool").value.bool_value = True
    attributes.add(key="bytes").value.bytes_value = b"\x00\xff"
    array = attributes.add(key="array").value.array_value
    array.values.add(string_value="x")
    array.values.add(double_value=1.5)
    pairs = attributes.add(key="map").value.kvlist_value
    pairs.values.add(key="z").value.int_value = 1
    pairs.values.add(key="a").value.bool_value = False


def _histograms(scope: Any, now: int) -> None:
    for name, temporality in (("histogram", 2), ("delta.histogram", 1)):
        histogram = scope.metrics.add(name=name, unit="s").histogram
        histogram.aggregation_temporality = temporality
        point = histogram.data_points.add(
            time_unix_nano=now, start_time_unix_nano=now - 10**9,
            count=6, sum=1.5, min=0.1, max=9.0,
            explicit_bounds=[0.5, 1, 1e6], bucket_counts=[1, 2, 3, 0],
        )  # fmt: skip
        exemplar = point.exemplars.add(as_double=0.4, time_unix_nano=now)
        exemplar.trace_id, exemplar.span_id = b"\x01" * 16, b"\x02" * 8
        exemplar.filtered_attributes.add(key="who").value.string_value = "me"
    histogram = scope.metrics.add(name="no.buckets").histogram
    histogram.aggregation_temporality = 2
    histogram.data_points.add(time_unix_nano=now, count=6, sum=1.5)
    histogram = scope.metrics.add(name="no.sum").histogram
    histogram.aggregation_temporality = 2
    histogram.data_points.add(
        time_unix_nano=now, count=3, explicit_bounds=[1.0], bucket_counts=[1, 2]
    )
    exponential = scope.metrics.add(name="exponential").exponential_histogram
    exponential.aggregation_temporality = 2
    point = exponential.data_points.add(time_unix_nano=now, count=7, sum=9.5, scale=1, zero_count=1)
    point.positive.offset = -2
    point.positive.bucket_counts.extend([2, 0, 4])
    summary = scope.metrics.add(name="summary", unit="ms").summary
    point = summary.data_points.add(time_unix_nano=now, count=2, sum=3.0)
    for quantile, value in ((0.5, 1.0), (0.99, 2.0)):
        point.quantile_values.add(quantile=quantile, value=value)
