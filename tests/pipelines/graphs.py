"""Random configurations of pipelines, and random telemetry for them, by a seed.

Pipelines stand in a row and connectors lead from one to later ones. Every processor and connector
that keeps a ledger even has its turn; each draws keys of its own. Exporters are `flaky`, whose
destination refuses as a script of the seed says, with and without a queue in front.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_wire
from tests.core.pdata.wires import OFFICIAL, WireMaker
from tests.processors.streams import request

if TYPE_CHECKING:
    from collections.abc import Callable

Rolls = random.Random
KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
NAMES = ("app.requests", "http.size", "m")
_ODD = (float("nan"), float("inf"), -1.0, 0.0, 1e300)


def graph(rolls: Rolls) -> dict[str, Any]:
    """A configuration with the source `app`."""
    made = _Graph(rolls)
    made.build()
    return made.config()


class _Graph:
    def __init__(self, rolls: Rolls) -> None:
        self.rolls = rolls
        self.processors: dict[str, Any] = {}
        self.connectors: dict[str, Any] = {}
        self.exporters: dict[str, Any] = {}
        self.pipelines: dict[str, dict[str, list[str]]] = {}

    def build(self) -> None:
        rolls = self.rolls
        for index in range(rolls.randint(1, 4)):
            signal = rolls.choice(("metrics", "metrics", "logs", "traces"))
            self.pipelines[f"{signal}/{index}"] = {
                "receivers": [],
                "processors": [],
                "exporters": [self.exporter() for _ in range(rolls.randint(1, 2))],
            }
        names = list(self.pipelines)
        for index, name in enumerate(names):
            self.connect(name, names[index + 1 :])
        for name, pipeline in self.pipelines.items():
            if not pipeline["receivers"] or rolls.random() < 0.3:
                pipeline["receivers"].append("app")
            self.process(name, pipeline)

    def exporter(self) -> str:
        rolls = self.rolls
        name = f"flaky/{len(self.exporters)}"
        queue: dict[str, Any] = {"enabled": rolls.random() < 0.5}
        if rolls.random() < 0.3:
            queue |= {"queue_size": 2, "on_full": rolls.choice(("refuse", "drop_newest"))}
        if rolls.random() < 0.3:
            queue["batch"] = {"min_size": 20, "max_size": 30}
        retry = {
            "enabled": rolls.random() < 0.7,
            "max_elapsed_time": "20s",
            "max_interval": "5s",
            "initial_interval": "1s",
        }
        self.exporters[name] = {"sending_queue": queue, "retry_on_failure": retry}
        return name

    def connect(self, name: str, later: list[str]) -> None:
        rolls = self.rolls
        signal = name.partition("/")[0]
        same = [other for other in later if other.partition("/")[0] == signal]
        metrics = [other for other in later if other.startswith("metrics")]
        if same and rolls.random() < 0.5:
            self.add(name, f"forward/{name.replace('/', '')}", None, rolls.sample(same, 1))
        if same and rolls.random() < 0.5:
            targets = rolls.sample(same, rolls.randint(1, len(same)))
            self.add(name, f"routing/{name.replace('/', '')}", _table(rolls, targets), targets)
        if metrics and rolls.random() < 0.5:
            type_ = rolls.choice(("count", "sum"))
            keys = None if type_ == "count" else {_OF_SUM[signal]: _SUMMED}
            self.add(name, f"{type_}/{name.replace('/', '')}", keys, rolls.sample(metrics, 1))

    def add(self, source: str, id_: str, keys: Any, targets: list[str]) -> None:
        self.connectors[id_] = keys
        self.pipelines[source]["exporters"].append(id_)
        for target in targets:
            self.pipelines[target]["receivers"].append(id_)

    def process(self, name: str, pipeline: dict[str, list[str]]) -> None:
        rolls = self.rolls
        known = PROCESSORS if name.startswith("metrics") else {**FOR_ALL, **FOR_OTHERS}
        for type_ in rolls.sample(sorted(known), rolls.randint(0, 4)):
            id_ = f"{type_}/{len(self.processors)}"
            self.processors[id_] = known[type_](rolls)
            pipeline["processors"].append(id_)
        if rolls.random() < 0.15:
            id_ = f"routing/{len(self.processors)}"
            table = [{"value": "a", "exporters": [pipeline["exporters"][0]]}]
            keys: dict[str, Any] = {"from_attribute": "tenant", "attribute_source": "resource"}
            self.processors[id_] = {**keys, "table": table}
            pipeline["processors"].append(id_)

    def config(self) -> dict[str, Any]:
        return {
            "processors": self.processors,
            "connectors": self.connectors,
            "exporters": self.exporters,
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": self.pipelines,
            },
        }


_OF_SUM = {"metrics": "datapoints", "logs": "logs", "traces": "spans"}
_SUMMED = {"total": {"source_attribute": "size", "attributes": [{"key": "tenant"}]}}
_TENANT = 'resource.attributes["tenant"] == "a"'


def _table(rolls: Rolls, targets: list[str]) -> dict[str, Any]:
    finer = {
        "metrics": 'metric.name == "m"',
        "logs": 'log.attributes["tenant"] == "b"',
        "traces": 'span.attributes["tenant"] == "b"',
    }[targets[0].partition("/")[0]]
    table = [
        {
            "condition": rolls.choice((_TENANT, finer)),
            "pipelines": [target],
            "action": rolls.choice(("move", "copy")),
        }
        for target in targets
    ]
    keys: dict[str, Any] = {"table": table}
    if rolls.random() < 0.5:
        keys["default_pipelines"] = targets[:1]
    return keys


def _transform(rolls: Rolls) -> dict[str, Any]:
    operation = rolls.choice(
        (
            {"action": "add_label", "new_label": "x", "new_value": "y"},
            {"action": "delete_label_value", "label": "tenant", "label_value": "a"},
            {"action": "toggle_scalar_data_type"},
            {"action": "experimental_scale_value", "experimental_scale": 2.5},
            {"action": "aggregate_labels", "label_set": [], "aggregation_type": "sum"},
            {
                "action": "aggregate_label_values",
                "label": "tenant",
                "aggregated_values": ["a", "b"],
                "new_value": "c",
                "aggregation_type": "mean",
            },
        )
    )
    verb = rolls.choice(("update", "insert", "combine", "group"))
    keys: dict[str, Any] = {"include": "a|m", "match_type": "regexp", "action": verb}
    if verb in {"insert", "combine"}:
        keys["new_name"] = "new"
    if verb == "group":
        keys["group_resource_labels"] = {"group": "g"}
    if verb == "combine":
        keys["aggregation_type"] = "sum"
    return {"transforms": [{**keys, "operations": [operation]}]}


def _aggregation(rolls: Rolls) -> dict[str, Any]:
    functions = rolls.sample(("sum", "max", "count", "last", "p50", "rate", "mean"), 2)
    rule = {"metrics": ["app.*", "m"], "by": ["tenant"], "functions": functions}
    keys: dict[str, Any] = {"interval": "5s", "allowed_lateness": "2s", "rules": [rule]}
    keys["late"] = rolls.choice(("drop", "forward"))
    keys["keep_original"] = rolls.random() < 0.3
    keys["max_series"] = rolls.choice((2, 1000))
    return keys


FOR_ALL: dict[str, Callable[[Rolls], Any]] = {
    "attributes": lambda rolls: {
        "actions": [
            {"key": rolls.choice(("tenant", "x")), "action": "upsert", "value": "a"},
            {"key": "size", "action": rolls.choice(("delete", "hash"))},
        ]
    },
    "resource": lambda _: {"attributes": [{"key": "r", "action": "insert", "value": 1}]},
    "resource_detection": lambda _: {
        "detectors": ["system"],
        "system": {"hostname_sources": ["os"]},
    },
    "batch": lambda rolls: {
        "send_batch_size": rolls.choice((1, 10, 100)),
        "send_batch_max_size": rolls.choice((0, 100)),
        "timeout": rolls.choice(("0s", "1s")),
    },
    "groupbyattrs": lambda rolls: {"keys": rolls.choice(([], ["tenant"]))},
    "memory_limiter": lambda _: {"check_interval": "1s", "limit_mib": 100_000},
    "mine": lambda rolls: {"error_mode": rolls.choice(("ignore", "propagate"))},
}
"""Processors of every signal."""
FOR_OTHERS: dict[str, Callable[[Rolls], Any]] = {
    "probabilistic_sampler": lambda rolls: {
        "sampling_percentage": rolls.choice((0, 50, 100)),
        "mode": rolls.choice(("hash_seed", "proportional", "equalizing")),
    },
    "filter": lambda _: {
        "logs": {"exclude": {"match_type": "strict", "bodies": ["message 0/1"]}},
        "spans": {
            "exclude": {"match_type": "regexp", "span_names": ["1$"]},
        },
    },
}
"""Those of logs and traces."""
PROCESSORS: dict[str, Callable[[Rolls], Any]] = {
    **FOR_ALL,
    "filter": lambda rolls: {
        "metrics": {
            rolls.choice(("include", "exclude")): {
                "match_type": "regexp",
                "metric_names": ["^app", "metric.1"],
            }
        }
    },
    "cumulative_to_delta": lambda rolls: {
        "initial_value": rolls.choice(("auto", "keep", "drop")),
        "max_staleness": rolls.choice(("0s", "3s")),
    },
    "delta_to_cumulative": lambda rolls: {"max_streams": rolls.choice((3, 1000))},
    "delta_to_rate": lambda _: {"metrics": ["app.requests"]},
    "interval": lambda rolls: {
        "interval": rolls.choice(("1s", "7s")),
        "pass_through": {"gauge": rolls.random() < 0.5, "summary": rolls.random() < 0.5},
    },
    "metrics_transform": _transform,
    "aggregation": _aggregation,
}
"""Those of metrics."""


def payload(rolls: Rolls, signal: Signal, now_s: float) -> Payload:
    """Telemetry: sound streams, whatever the wire format allows, members, broken bytes.

    ``now_s``: seconds after the beginning of the clock, of which points of streams are.
    """
    members = [_wire(rolls, signal, now_s) for _ in range(rolls.choice((1, 1, 1, 2, 3)))]
    whole = Payload(signal, members[0])
    if len(members) > 1:
        whole = Payload.merge([Payload(signal, wire) for wire in members], whole.metadata)
    return whole


def _wire(rolls: Rolls, signal: Signal, now_s: float) -> bytes:
    roll = rolls.random()
    if roll < 0.05:
        return b""
    if roll < 0.15:
        return WireMaker(rolls.randrange(1 << 32), one_kind=True).request(signal)
    if roll < 0.2:  # framing is sound, what is inside a leaf is not
        return _broken(rolls, signal)
    if signal is Signal.METRICS and roll < 0.9:
        return _streams(rolls, now_s)
    return _labelled(rolls, signal)


def _broken(rolls: Rolls, signal: Signal) -> bytes:
    made = OFFICIAL[signal].FromString(_labelled(rolls, signal))
    wire = bytearray(made.SerializeToString())
    at = wire.rfind(b"tenant")
    if at > 1:
        wire[at - 1] = 0x7F  # a length beyond the end
    return bytes(wire)


def _labelled(rolls: Rolls, signal: Signal) -> bytes:
    made = OFFICIAL[signal].FromString(
        make_wire(signal, rolls.randint(1, 12), seed=rolls.randrange(3))
    )
    group = made.ListFields()[0][1][0]
    group.resource.attributes.add(key="tenant").value.string_value = rolls.choice("ab")
    for item in group.ListFields()[-1][1][0].ListFields()[-1][1]:
        targets = item.gauge.data_points if signal is Signal.METRICS else [item]
        for target in targets:
            _set_odd(rolls, target.attributes.add(key="tenant").value)
            _set_odd(rolls, target.attributes.add(key="size").value)
    return bytes(made.SerializeToString())


def _set_odd(rolls: Rolls, value: Any) -> None:
    """A value of any type."""
    kind = rolls.randrange(6)
    if kind == 0:
        value.int_value = rolls.randrange(-5, 5)
    elif kind == 1:
        value.double_value = rolls.choice(_ODD)
    elif kind == 2:
        value.array_value.values.add().string_value = "a"
    elif kind == 3:
        value.kvlist_value.values.add(key="k").value.bool_value = True
    elif kind == 4:
        value.bytes_value = b"\xff"
    else:
        value.string_value = rolls.choice("ab")


def _streams(rolls: Rolls, now_s: float) -> bytes:
    metrics = []
    for _ in range(rolls.randint(1, 3)):
        kind = rolls.choice(KINDS)
        points = [_point(rolls, kind, now_s) for _ in range(rolls.randint(0, 3))]
        metrics.append(
            {
                "name": rolls.choice(NAMES),
                "kind": kind,
                "temporality": rolls.choice((0, 1, 1, 2, 2)),
                "monotonic": rolls.random() < 0.8,
                "points": points,
            }
        )
    return request(*metrics, resource={"tenant": rolls.choice("ab")})


def _point(rolls: Rolls, kind: str, now_s: float) -> dict[str, Any]:
    time_s = now_s + rolls.choice((0, 0, 0.5, -20, 3))
    made: dict[str, Any] = {
        "time": time_s,
        "start": time_s - rolls.choice((0, 1, 10, -1)),
        "attributes": {"tenant": rolls.choice("ab")},
        "flags": int(rolls.random() < 0.1),
    }
    if kind in {"gauge", "sum"}:
        return made | {"value": rolls.choice((1, 2.5, 7, *_ODD))}
    made |= {"count": rolls.randrange(9), "sum": rolls.choice((4.0, *_ODD))}
    if kind == "histogram":
        counts = [rolls.randrange(3) for _ in range(rolls.choice((0, 1, 3, 3)))]
        return made | {"bucket_counts": counts, "explicit_bounds": [1.0, 2.0][: len(counts)]}
    if kind == "exponential_histogram":
        scale = rolls.choice((0, 1, 20, -11, 2**31 - 1))
        return made | {"scale": scale, "positive": (rolls.randrange(-3, 3), [1, 0, 2])}
    return made
