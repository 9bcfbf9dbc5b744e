"""Odd telemetry through every component that routes, filters, converts or aggregates.

Nothing crashes, nothing is lost in silence, what goes on is sound OTLP, and good data after bad is
treated as ever.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import time
import types
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline import Collector
from mlsysops_pipeline.errors import DropReason
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.validation import validate
from mlsysops_pipeline.tasks import Tasks
from mlsysops_pipeline.testing import JumpClock, advance_until, make_payload
from tests.pipelines.bad_input import ODD
from tests.processors.streams import request

if TYPE_CHECKING:
    from mlsysops_pipeline.functions.telemetry import Telemetry

RULE = {"metrics": ["*"], "by": ["tenant"], "functions": ["sum", "p50", "stddev", "rate"]}
TENANT = 'resource.attributes["tenant"] == "a"'


def _transformed(action: str, *operations: dict[str, Any]) -> dict[str, Any]:
    keys: dict[str, Any] = {"include": ".*", "match_type": "regexp", "action": action}
    if action in {"insert", "combine"}:
        keys |= {"new_name": "new", "aggregation_type": "sum" if action == "combine" else ""}
    if action == "group":
        keys["group_resource_labels"] = {"g": "h"}
    if operations:
        keys["operations"] = list(operations)
    return {"transforms": [keys]}


_MATCHED = {"match_type": "regexp", "metric_names": ["^n$"]}
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "filter": ("filter", {"metrics": {"exclude": _MATCHED}}),
    "filter by resource": (
        "filter",
        {
            "metrics": {
                "exclude": {
                    **_MATCHED,
                    "resource_attributes": [{"key": "tenant", "value": "a"}],
                }
            },
            "logs": {
                "exclude": {
                    "match_type": "strict",
                    "record_attributes": [{"key": "tenant", "value": "a"}],
                }
            },
            "spans": {
                "exclude": {
                    "match_type": "strict",
                    "attributes": [{"key": "tenant", "value": "a"}],
                }
            },
        },
    ),
    "groupbyattrs": ("groupbyattrs", {"keys": ["tenant", "size", "le"]}),
    "compaction": ("groupbyattrs", {}),
    "cumulative_to_delta": ("cumulative_to_delta", {"initial_value": "keep"}),
    "delta_to_cumulative": ("delta_to_cumulative", {}),
    "delta_to_rate": ("delta_to_rate", {"metrics": ["m"]}),
    "interval": ("interval", {"interval": "5s"}),
    "probabilistic_sampler": (
        "probabilistic_sampler",
        {"sampling_percentage": 50, "attribute_source": "record", "from_attribute": "tenant"},
    ),
    "sampler by threshold": (
        "probabilistic_sampler",
        {"sampling_percentage": 50, "mode": "equalizing", "fail_closed": False},
    ),
    "resource_detection": (
        "resource_detection",
        {"detectors": ["system"], "system": {"hostname_sources": ["os"]}},
    ),
    "aggregation": ("aggregation", {"interval": "5s", "rules": [RULE]}),
    "aggregation of late data": (
        "aggregation",
        {"interval": "5s", "late": "forward", "keep_original": True, "rules": [RULE]},
    ),
    "routing processor": (
        "routing",
        {
            "from_attribute": "tenant",
            "attribute_source": "resource",
            "table": [{"value": "a", "exporters": ["out"]}],
            "default_exporters": ["out"],
        },
    ),
    "python": ("mine", {}),
    **{
        f"metrics_transform, {action}": ("metrics_transform", _transformed(action))
        for action in ("insert", "combine", "group")
    },
    **{
        f"metrics_transform, {operation['action']}": (
            "metrics_transform",
            _transformed("update", operation),
        )
        for operation in (
            {"action": "add_label", "new_label": "tenant", "new_value": "b"},
            {"action": "update_label", "label": "tenant", "new_label": "size"},
            {"action": "delete_label_value", "label": "tenant", "label_value": "b"},
            {"action": "toggle_scalar_data_type"},
            {"action": "experimental_scale_value", "experimental_scale": 1e300},
            {
                "action": "aggregate_labels",
                "label_set": ["tenant"],
                "aggregation_type": "mean",
            },
            {
                "action": "aggregate_label_values",
                "label": "tenant",
                "aggregated_values": ["7", ""],
                "new_value": "c",
                "aggregation_type": "median",
            },
        )
    },
}
CONNECTORS: dict[str, tuple[str, dict[str, Any]]] = {
    "routing, by resource": (
        "routing",
        {
            "table": [{"condition": TENANT, "pipelines": ["metrics/2"]}],
            "default_pipelines": ["metrics/2"],
        },
    ),
    "routing, by point": (
        "routing",
        {
            "table": [
                {
                    "context": "datapoint",
                    "condition": 'datapoint.attributes["tenant"] == "a"',
                    "pipelines": ["metrics/2"],
                }
            ],
            "default_pipelines": ["metrics/2"],
        },
    ),
    "count": ("count", {"datapoints": {"n": {"attributes": [{"key": "tenant"}]}}}),
    "sum": ("sum", {"datapoints": {"n": {"source_attribute": "size"}}}),
}


MAY_BE_SILENT = {"probabilistic_sampler", "sampler by threshold", "sum"}
"""Of what they are given they may keep nothing."""


def mine(telemetry: Telemetry) -> None:
    """Reads everything, and writes a little."""
    for resource in telemetry.resources():
        resource.attributes["seen"] = len(resource.attributes)


class World:
    """A collector with one component, and what comes out."""

    def __init__(self, signal: Signal, component: str) -> None:
        self.clock = JumpClock()
        self.came: list[Payload] = []
        self.signal = signal
        is_connector = component in CONNECTORS
        type_, keys = (CONNECTORS if is_connector else PROCESSORS)[component]

        async def take(payload: Payload) -> None:
            self.came.append(payload)

        first = {"receivers": ["app"], "processors": [type_], "exporters": ["out"]}
        config: dict[str, Any] = {"processors": {type_: keys}}
        pipelines: dict[str, Any] = {str(signal): first}
        if is_connector:
            config = {"connectors": {type_: keys}}
            pipelines[str(signal)] = {"receivers": ["app"], "exporters": [type_]}
            pipelines["metrics/2"] = {"receivers": [type_], "exporters": ["out"]}
        service = {"telemetry": {"metrics": {"level": "none"}}, "pipelines": pipelines}
        config["service"] = service
        self.collector = Collector(
            config,
            sources=["app"],
            sinks={"out": take},
            processors={"mine": mine},
            clock=self.clock,
        )
        self.tasks = Tasks(logging.getLogger("test"))

    async def feed(self, payload: Payload) -> None:
        feeding = self.tasks.spawn("feed", self.collector.feed("app", payload))
        await advance_until(self.clock, feeding.done, step_s=0.05)
        await feeding

    def check(self) -> None:
        for name, ledger in self.collector.pipeline_ledgers().items():
            assert 0 == ledger.imbalance, f"{name}: {ledger}"
            assert set(ledger.dropped) <= set(DropReason)

    async def stop(self) -> None:
        stopping = self.tasks.spawn("stop", self.collector.shutdown())
        await advance_until(self.clock, stopping.done)
        self.check()
        for ledger in self.collector.pipeline_ledgers().values():
            assert 0 == ledger.held


CASES = [
    pytest.param(signal, component, id=f"{component}, {signal}")
    for component, (type_, _) in {**PROCESSORS, **CONNECTORS}.items()
    for signal in Signal
    if (signal in {Signal.LOGS, Signal.TRACES}) <= (component not in CONNECTORS)
    and {
        "probabilistic_sampler": signal is not Signal.METRICS,
        "groupbyattrs": True,
        "filter": component == "filter by resource" or signal is Signal.METRICS,
        "resource_detection": True,
        "routing": True,
        "mine": True,
    }.get(type_, signal is Signal.METRICS)
]


@pytest.mark.slow
@pytest.mark.parametrize(("signal", "component"), CASES)
async def test_odd_telemetry_neither_stops_nor_spoils_a_component(
    signal: Signal, component: str
) -> None:
    world = World(signal, component)
    good = make_payload(signal, 5)
    await world.collector.start()
    await world.feed(good)
    for name, makers in ODD.items():
        if signal not in makers:
            continue
        wire = makers[signal]()
        validate(signal, wire)
        for _ in range(2):  # the second time with what is remembered of the first
            began = time.process_time()
            await world.feed(Payload(signal, wire))
            assert time.process_time() - began < 2.0, name  # no quadratic work on a small request
            await world.clock.advance(1.0)
            world.check()
    await world.feed(good)
    await world.clock.advance(700.0)
    world.check()
    before = len(world.came)
    await world.feed(make_payload(signal, 5, seed=1))
    await world.clock.advance(30.0)
    await world.stop()
    if component not in MAY_BE_SILENT:
        assert world.came
        is_late = component == "aggregation"  # the points of the last payload are of long ago
        assert is_late or len(world.came) > before
    for payload in world.came:
        validate(payload.signal, payload.joined())


STATEFUL = {
    "cumulative_to_delta": ("cumulative_to_delta", {}),
    "delta_to_cumulative": ("delta_to_cumulative", {"max_streams": 500}),
    "delta_to_rate": ("delta_to_rate", {"metrics": ["m"]}),
    "interval": ("interval", {"interval": "10s"}),
    "groupbyattrs": ("groupbyattrs", {"keys": ["id"]}),
    "aggregation": ("aggregation", {"interval": "5s", "max_series": 500, "rules": [RULE]}),
    "metrics_transform": ("metrics_transform", _transformed("combine")),
    "count": CONNECTORS["count"],
}


LIMITS = (
    ("mlsysops_pipeline.metrics.identity", "_GENERATION_MAX"),
    ("mlsysops_pipeline.pdata.picking", "_KNOWN_MAX"),
    ("mlsysops_processors.aggregation.inputs", "_UNMEANT_MAX"),
    ("mlsysops_processors.aggregation.rules", "_PAIRS_MAX"),
    ("mlsysops_processors.cumulative_to_delta", "STREAMS_MAX"),
    ("mlsysops_processors.groupbyattrs.regrouping", "_EXTRAS_MAX"),
    ("mlsysops_processors.groupbyattrs.regrouping", "_SERIES_MAX"),
    ("mlsysops_processors.interval", "STREAMS_MAX"),
)
"""What bounds the streams and memories of components that are not configured to."""


@pytest.mark.slow
@pytest.mark.parametrize("component", sorted(STATEFUL))
async def test_new_series_without_end_cost_bounded_memory_and_are_accounted_for(
    component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundredth of 100,000 new series a minute, for components whose limits are far lower."""
    for module, name in LIMITS:
        monkeypatch.setattr(importlib.import_module(module), name, 500)
    monkeypatch.setitem(PROCESSORS, component, STATEFUL[component])
    if component == "count":
        monkeypatch.delitem(PROCESSORS, component)
    world = World(Signal.METRICS, component)
    await world.collector.start()
    sizes = []
    temporality = 1 if component == "delta_to_cumulative" else 2
    for minute in range(6):
        for part in range(4):
            now = minute * 60 + part * 15 + 1
            points = [
                {"value": 1, "time": now, "start": 0.5, "attributes": {"id": f"{now}/{index}"}}
                for index in range(250)
            ]
            metric = {"name": "m", "temporality": temporality, "points": points}
            await world.feed(Payload(Signal.METRICS, request(metric)))
            world.came.clear()
            await world.clock.advance(15.0)
        world.check()
        sizes.append(objects_held(world))
    await world.stop()
    assert sizes[-1] <= 1.3 * sizes[1] + 200, sizes


def objects_held(world: World) -> int:
    """How many entries containers hold that can be reached from the collector's components."""
    processors = [
        one
        for pipeline in world.collector.graph.pipelines.values()
        for _, one in pipeline.processors
    ]
    roots: list[Any] = [*processors, *world.collector.graph.connectors.values()]
    skipped = (types.ModuleType, types.FunctionType, type, types.FrameType)
    seen: set[int] = {id(world), id(world.collector), id(world.clock)}
    total = 0
    while roots:
        one = roots.pop()
        if id(one) in seen or isinstance(one, skipped) or _is_shared(one):
            continue
        seen.add(id(one))
        total += 1
        if isinstance(one, dict | set | list | bytes | bytearray):
            total += len(one) if not isinstance(one, bytes | bytearray) else len(one) // 64
        roots += gc.get_referents(one)
    return total


def _is_shared(one: Any) -> bool:
    module = type(one).__module__
    return module.startswith(("asyncio", "logging", "pydantic", "google", "importlib", "uvloop"))


async def test_what_a_function_keeps_is_its_own_matter_and_nothing_else_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A function that leaks, memory and tasks: nothing of ours is held, charged or lost for it."""
    kept: list[Any] = []

    async def leaks(telemetry: Telemetry) -> None:
        kept.append(telemetry)
        leaked = asyncio.get_running_loop().create_task(asyncio.Event().wait())
        kept.append(leaked)

    monkeypatch.setattr(f"{__name__}.mine", leaks)
    world = World(Signal.LOGS, "python")
    await world.collector.start()
    for seed in range(20):
        await world.feed(make_payload(Signal.LOGS, 50, seed=seed))
    world.check()
    assert 1_000 == sum(payload.items for payload in world.came)
    assert 0 == world.collector._around.memory.in_flight
    world.came.clear()
    assert 20 == sum(type(one).__name__ == "Telemetry" for one in gc.get_objects())
    for one in kept:
        if isinstance(one, asyncio.Task):
            one.cancel()
    del one
    kept.clear()
    gc.collect()
    assert 0 == sum(type(one).__name__ == "Telemetry" for one in gc.get_objects())
    await world.stop()
