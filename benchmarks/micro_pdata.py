"""What counting, views and splitting cost, in ns a point: `python -m benchmarks.micro_pdata`.

``check``: refusing too many elements and counting, in one. ``round``: parsing and serializing a
view. ``split``: in two halves, and in parts of 100. The CPU time of the best of many runs.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from mlsysops_pipeline.pdata.counting import count_checked, count_items
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.splitting import split
from mlsysops_pipeline.pdata.validation import validate
from mlsysops_pipeline.pdata.views import Depth, parse, serialize
from mlsysops_pipeline.testing.telemetry import make_wire

if TYPE_CHECKING:
    from collections.abc import Callable

_BUDGET_S = 0.3
_SHAPES = ((1, 1), (100, 10), (1000, 10), (1000, 1), (8000, 10), (8000, 1))


def best_ns(run: Callable[[], object]) -> float:
    """The CPU time of the fastest run."""
    run()
    best = float("inf")
    end = time.monotonic() + _BUDGET_S
    while time.monotonic() < end:
        start = time.thread_time_ns()
        for _ in range(3):
            run()
        best = min(best, (time.thread_time_ns() - start) / 3)
    return best


def _round_trip(depth: Depth, wire: bytes) -> bytes:
    return serialize(parse(Signal.METRICS, depth, wire))


def main() -> None:
    """Measure each shape of a metrics request and print a table."""
    depths = [depth for depth in Depth if depth is not Depth.COUNTING]
    names = ["count", "check", *(f"round {depth.value}" for depth in depths), "validate"]
    names += ["split 2", "split 100"]
    print("points/metric     bytes  " + "  ".join(names))
    for points, per_metric in _SHAPES:
        wire = make_wire(Signal.METRICS, points, points_per_metric=per_metric)
        payload = Payload(Signal.METRICS, wire, items=points)
        runs: list[Callable[[], object]] = [
            partial(count_items, Signal.METRICS, wire),
            partial(count_checked, Signal.METRICS, wire),
            *(partial(_round_trip, depth, wire) for depth in depths),
            partial(validate, Signal.METRICS, wire),
            partial(split, payload, items_max=-(-points // 2)),
            partial(split, payload, items_max=100),
        ]
        figures = [best_ns(run) / points for run in runs]
        columns = "  ".join(
            f"{value:{len(name)}.0f}" for name, value in zip(names, figures, strict=True)
        )
        print(f"{points:6}/{per_metric:<6} {len(wire):9}  {columns}")


if __name__ == "__main__":
    main()
