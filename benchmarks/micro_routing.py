"""What choosing data costs: `python -m benchmarks.micro_routing`.

Microseconds a request and nanoseconds an item, the CPU time of the best of many runs. "one way":
all of a request goes to the same pipeline; "shared out": ten resources fall into two pipelines.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.micro_pdata import best_ns
from benchmarks.workload import Workload
from mlsysops_pipeline.component import Kind, PipelineID
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.connectors.routing import RoutingConnector
from mlsysops_pipeline.connectors.routing.config import Config
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import Sink, make_settings, make_wire
from mlsysops_processors.filter import FilterProcessor
from mlsysops_processors.filter.config import Config as FilterConfig
from mlsysops_processors.groupbyattrs import Config as GroupByAttrsConfig
from mlsysops_processors.groupbyattrs import GroupByAttrsProcessor

_ITEMS = 1_000
_CONDITIONS = {
    "resource": 'resource.attributes["service.name"] == "service-0"',
    "metric": 'IsMatch(metric.name, "^test.metric.[0-4]")',
    "datapoint": 'datapoint.attributes["key.0"] == "value-1-0"',
}


def _payload(groups: int, points_per_metric: int) -> Payload:
    wire = b"".join(
        make_wire(
            Signal.METRICS,
            _ITEMS // groups,
            points_per_metric=points_per_metric,
            seed=number % 2,
        )
        for number in range(groups)
    )
    return Payload(Signal.METRICS, wire, items=_ITEMS)


def _routing(condition: str) -> RoutingConnector:
    rows = [{"condition": condition, "pipelines": ["metrics/a"]}]
    config = parse_config(Config, {"table": rows, "default_pipelines": ["metrics/b"]})
    entries = {PipelineID(Signal.METRICS, name): Sink() for name in "ab"}
    return RoutingConnector(config, make_settings("routing", kind=Kind.CONNECTOR), entries)


def _report(name: str, took_ns: float) -> None:
    print(f"{name:44} {took_ns / 1_000:9.1f} us {took_ns / _ITEMS:9.1f} ns an item")


def _filter(config: dict[str, Any]) -> FilterProcessor:
    settings = make_settings("filter", signals=list(Signal))
    return FilterProcessor(parse_config(FilterConfig, config), settings)


def measure_filter() -> None:
    """Print what the filter processor takes where half of the metrics go."""
    names = {"match_type": "regexp", "metric_names": ["[02468]$"]}
    processor = _filter({"metrics": {"exclude": names}})
    for points in (10, 1):
        payload = _payload(1, points)
        took_ns = best_ns(partial(processor.process, payload))
        _report(f"filter by metric name, {points} a metric, half stays", took_ns)
    severe = {"match_type": "strict", "severity_number": {"min": 13}}
    logs = Payload(Signal.LOGS, make_wire(Signal.LOGS, _ITEMS), items=_ITEMS)
    processor = _filter({"logs": {"include": severe}})
    _report("filter by severity, none stays", best_ns(partial(processor.process, logs)))
    status = [{"key": "status", "value": "404"}]
    for signal, section, key in (
        (Signal.LOGS, "logs", "record_attributes"),
        (Signal.TRACES, "spans", "attributes"),
    ):
        processor = _filter({section: {"exclude": {"match_type": "strict", key: status}}})
        items = Payload(signal, Workload(signal, _ITEMS).request(1), items=_ITEMS)
        name = f"filter {section} by an attribute of three values"
        _report(name, best_ns(partial(processor.process, items)))


def measure_grouping() -> None:
    """Print what groupbyattrs takes: by an attribute of ten values, and to compact ten resources.

    Points come again, as those of series do, so that what is remembered of them is found.
    """
    series = Payload(
        Signal.METRICS,
        b"".join(make_wire(Signal.METRICS, 10, attributes=4, seed=0) for _ in range(100)),
        items=_ITEMS,
    )
    logs = Payload(Signal.LOGS, make_wire(Signal.LOGS, _ITEMS), items=_ITEMS)
    for name, keys, payload in (
        ("groupbyattrs, points", ("key.0",), series),
        ("groupbyattrs, logs, each its own group", ("key.0",), logs),
        ("groupbyattrs, compaction of points", (), series),
    ):
        processor = GroupByAttrsProcessor(GroupByAttrsConfig(keys=keys), make_settings("group"))
        _report(name, best_ns(partial(processor.process, payload)))


def main() -> None:
    """Print the table."""
    measure_grouping()
    measure_filter()
    for condition, text in _CONDITIONS.items():
        connector = _routing(text)
        for points in (10, 1):
            for groups, way in ((1, "one way"), (10, "shared out")):
                payload = _payload(groups, points)
                name = f"routing by {condition}, {points} a metric, {way}"
                _report(name, best_ns(partial(connector._parts, payload, [])))  # noqa: SLF001


if __name__ == "__main__":
    main()
