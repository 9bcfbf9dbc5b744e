"""Metrics that come the same way again and again are taken unopened, and give the same results."""

from __future__ import annotations

import random
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from mlsysops_pipeline.errors import RetryableError
from mlsysops_pipeline.metrics.closed import head
from mlsysops_pipeline.testing import wait_until
from mlsysops_processors.aggregation import FACTORY, intake, layouts
from tests.processors.streams import CUMULATIVE, DELTA, Running, number, request

METRICS, SERIES = 6, 180
"""More series than a shard has, so that the points of one metric lie in two."""
ROUNDS = 9
TYPES: dict[str, dict[str, Any]] = {
    "gauge": {"kind": "gauge"},
    "delta": {"temporality": DELTA},
    "cumulative": {"temporality": CUMULATIVE},
}


def opened(wire: bytes) -> bytes:
    """The same request, in a form that has to be opened."""
    made = ExportMetricsServiceRequest.FromString(wire)
    for metric in made.resource_metrics[0].scope_metrics[0].metrics:
        metric.metadata.add(key="k").value.bool_value = True
        assert head(metric.SerializeToString()) is None
    return bytes(made.SerializeToString())


def rounds(kind: str, trouble: str) -> list[bytes]:
    """Requests of the same series; ``trouble``: what is otherwise with a few of them."""
    source = random.Random(trouble)  # noqa: S311  reproducible
    made = []
    for at in range(ROUNDS):
        metrics = []
        for name in range(METRICS):
            points = []
            for series in range(SERIES):
                value: float = (at + 1) * 10 + source.randrange(10) + series / 7
                start, time = 0.5, at * 4 + 1 + source.randrange(2)
                is_odd = source.random() < 0.05
                if trouble == "reset" and is_odd:
                    value, start = 3.0, time - 0.25
                elif trouble == "fall" and is_odd:
                    value = 1.5
                elif trouble == "integer" and at % 4 == 3:
                    value = int(value)
                elif trouble == "not finite" and is_odd:
                    value = source.choice([float("nan"), float("inf"), -1.0])
                labels = {"zone": f"{series % 3}", "host": f"{name}-{series}"}
                points.append(number(value, time, start, attributes=labels))
            if trouble == "other order" and at % 4 == 2:
                source.shuffle(points)
            metrics.append({**TYPES[kind], "name": f"m{name}", "points": points})
        made.append(request(*metrics))
    if trouble == "late":
        made[7], made[8] = made[8], made[7]
    elif trouble == "twice":
        made.insert(8, made[7])
    return made


async def results(wires: list[bytes], *, refusing: bool) -> list[str]:
    run = Running(
        FACTORY,
        {
            "interval": "20s",
            "allowed_lateness": "10s",
            "rules": [
                {"metrics": ["m*"], "by": ["zone"], "functions": ["sum", "count", "max", "p90"]}
            ],
        },
    )
    await run.processor.start()
    for number_, wire in enumerate(wires):
        if refusing and number_ % 3 == 2:
            run.sink.error = RetryableError("not now")
            with pytest.raises(RetryableError):
                await run.give_wire(wire + request({"name": "other", "points": [number(1, 1)]}))
            run.sink.error = None
        await run.give_wire(wire)
        await run.clock.advance(4)
    await run.clock.advance(40)
    await wait_until(lambda: not run.processor.is_busy)
    found = sorted(
        f"{metric.name} {point}"
        for metric in run.metrics()
        for point in getattr(metric, metric.WhichOneof("data")).data_points
    )
    assert run.ledger.imbalance == 0
    await run.processor.shutdown()
    return found


@pytest.mark.parametrize(
    "trouble",
    ["none", "reset", "fall", "integer", "not finite", "other order", "late", "twice", "refused"],
)
@pytest.mark.parametrize("kind", list(TYPES))
@pytest.mark.parametrize("together", [0, METRICS * SERIES])
@pytest.mark.slow  # a thousand series, as fewer lie in one shard
async def test_what_comes_as_before_counts_as_what_is_opened(
    kind: str, trouble: str, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DM-2, DM-6: bit for bit."""
    wires = rounds(kind, trouble)
    expected = await results([opened(wire) for wire in wires], refusing=trouble == "refused")
    known = []
    add = intake.Intake._add

    def counted(self: Any, parts: Any, layout: Any, runs: Any) -> bool:
        known.append((len(parts) // 2, add(self, parts, layout, runs)))
        return known[-1][1]

    monkeypatch.setattr(intake.Intake, "_add", counted)
    monkeypatch.setattr(layouts, "WHOLE_MAX", together)
    found = await results(wires, refusing=trouble == "refused")

    assert expected == found
    assert len(found) >= METRICS * 12
    assert sum(points for points, was_added in known if was_added) >= METRICS * SERIES * 2
    if trouble != "integer":
        assert together in {0, max(known)[0]}
