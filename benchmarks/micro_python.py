"""What a user's function costs beside what it does: CPU for a data point, by view and kind.

    python -m benchmarks.micro_python

Payloads of 1,000 points with four attributes, ten points a metric. `nothing` looks at nothing, so
it is opening and closing; `values` reads every value; `attributes` reads one attribute of each.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.functions.options import Options
from mlsysops_pipeline.functions.processor import FunctionProcessor
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import Sink, make_payload, make_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.functions.telemetry import Telemetry

POINTS = 1_000
ROUNDS = 100


def nothing(telemetry: Telemetry) -> None:
    """Look at nothing."""


async def nothing_async(telemetry: Telemetry) -> None:
    """The same, in the event loop."""


def values(telemetry: Telemetry) -> None:
    """Read every value."""
    for point in telemetry.points():
        _ = point.value


def attributes(telemetry: Telemetry) -> None:
    """Read one attribute of every point."""
    for point in telemetry.points():
        _ = point.attributes.get("key.1")


async def measure(function: Callable[[Telemetry], Any], view: Any) -> float:
    """Nanoseconds of CPU of the process for a point."""
    sink = Sink()
    processor = FunctionProcessor(lambda: (function, Options(view)), make_settings("python"), sink)
    await processor.start()
    payload = make_payload(Signal.METRICS, POINTS)
    await processor.consume(payload)
    begun = time.process_time_ns()
    for _ in range(ROUNDS):
        await processor.consume(payload)
    spent = time.process_time_ns() - begun
    await processor.shutdown()
    return spent / (ROUNDS * POINTS)


def main() -> None:
    """Print one row for each function and view."""
    for function in (nothing, nothing_async, values, attributes):
        for view in ("resource", "record", "point", "full"):
            if function in (values, attributes) and view in ("resource", "record"):
                continue
            cost = asyncio.run(measure(function, view))
            print(f"{function.__name__:14} {view:9} {cost:8.1f} ns a point")


if __name__ == "__main__":
    main()
