"""What the connectors count and sum cost: CPU for an item, by signal and rules.

python -m benchmarks.micro_tallies
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from mlsysops_pipeline.component import Kind, PipelineID
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.connectors import count
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import Sink, make_payload, make_settings

ITEMS = 1_000
ROUNDS = 20
BY_ONE = {"n": {"attributes": [{"key": "key.1", "default_value": "-"}]}}


async def measure(signal: Signal, keys: dict[str, Any]) -> float:
    """Nanoseconds of CPU for an item."""
    config = parse_config(count.Config, keys)
    settings = make_settings("count", kind=Kind.CONNECTOR)
    connector = count.FACTORY.create(config, settings, {PipelineID(Signal.METRICS): Sink()})
    payload = make_payload(signal, ITEMS)
    await connector.consume(payload)
    begun = time.process_time_ns()
    for _ in range(ROUNDS):
        await connector.consume(payload)
    return (time.process_time_ns() - begun) / (ROUNDS * ITEMS)


def main() -> None:
    """Print one row for each signal and set of rules."""
    by_one = dict.fromkeys(("logs", "spans", "datapoints"), BY_ONE)
    for signal in Signal:
        plain = asyncio.run(measure(signal, {}))
        grouped = asyncio.run(measure(signal, by_one))
        print(f"{signal!s:8} all {plain:6.0f} ns an item, by one attribute {grouped:6.0f}")


if __name__ == "__main__":
    main()
