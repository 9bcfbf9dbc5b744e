"""Component types: the factory of one, or why there is none and what to use instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.config.wording import did_you_mean
from mlsysops_pipeline.registry import Registry, RegistryError

if TYPE_CHECKING:
    from collections.abc import Mapping

_REMOVED: Mapping[tuple[Kind, str], str] = {
    (Kind.EXPORTER, "logging"): (
        "the logging exporter has been deprecated, use the debug exporter instead"
    ),
    (Kind.EXPORTER, "jaeger"): "the jaeger exporter was removed; use otlp_grpc, Jaeger takes OTLP",
    (Kind.EXPORTER, "opencensus"): "the opencensus exporter was removed; use otlp_grpc",
}
"""What users still paste (components, section 0)."""
_ELSEWHERE: Mapping[Kind, str] = {
    Kind.RECEIVER: (
        "docker_stats file_log filelog host_metrics hostmetrics jaeger journald k8s_objects "
        "k8sobjects kafka kubelet_stats kubeletstats opencensus redis snmp sql_query sqlquery "
        "statsd syslog zipkin"
    ),
    Kind.PROCESSOR: (
        "cumulative_to_delta cumulativetodelta delta_to_cumulative delta_to_rate "
        "deltatocumulative deltatorate filter groupbyattrs groupbytrace interval "
        "k8s_attributes k8sattributes metric_start_time metricstarttime metrics_transform "
        "metricsgeneration metricstransform probabilistic_sampler redaction remotetap "
        "resource_detection resourcedetection span tail_sampling transform"
    ),
    Kind.EXPORTER: "elasticsearch influxdb kafka load_balancing loadbalancing splunk_hec zipkin",
    Kind.CONNECTOR: (
        "count exceptions failover round_robin routing service_graph servicegraph span_metrics "
        "spanmetrics sum"
    ),
    Kind.EXTENSION: (
        "file_storage health_check memory_ballast memory_limiter oauth2client opamp pprof zpages"
    ),
}
"""Types that the Collector has, or had, and that may be missing here: nobody misspelt them."""


def find_factory(registry: Registry, kind: Kind, type_name: str) -> Factory | tuple[str, str]:
    """The factory of a type, or what is wrong with it and a suggestion."""
    try:
        factory = registry.lookup(kind, type_name)
    except RegistryError as failure:
        return str(failure), ""
    if factory is not None:
        return factory
    removed = _REMOVED.get((kind, type_name))
    if removed is not None:
        return removed, ""
    if type_name in _ELSEWHERE[kind].split():
        message = f'unknown type "{type_name}": the Collector\'s {kind.value} is not supported here'
        return message, ""
    message = f'unknown type "{type_name}": there is no such {kind.value} here'
    others = [other for other in Kind if type_name in registry.types(other)]
    if others:
        return message, f"it is {_article(others[0].value)}"
    return message, did_you_mean(type_name, registry.types(kind))


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
