"""What the connectors count and sum cost: CPU for an item, by signal and rules.

"by one attribute" has a value of its own for each item, "by method" three values in all.

python -m benchmarks.micro_tallies
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.workload import Workload
from mlsysops_pipeline.component import Kind, PipelineID
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.connectors import count
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import Sink, make_payload, make_settings

ITEMS = 1_000
ROUNDS = 20
BY_METHOD = {"n": {"attributes": [{"key": "http.method"}]}}
BY_ONE = {"n": {"attributes": [{"key": "key.1", "default_value": "-"}]}}


async def measure(keys: dict[str, Any], payload: Payload) -> float:
    """Nanoseconds of CPU for an item."""
    config = parse_config(count.Config, keys)
    settings = make_settings("count", kind=Kind.CONNECTOR)
    connector = count.FACTORY.create(config, settings, {PipelineID(Signal.METRICS): Sink()})
    await connector.consume(payload)
    begun = time.process_time_ns()
    for _ in range(ROUNDS):
        await connector.consume(payload)
    return (time.process_time_ns() - begun) / (ROUNDS * ITEMS)


def main() -> None:
    """Print one row for each signal and set of rules."""
    by_one = dict.fromkeys(("logs", "spans", "datapoints"), BY_ONE)
    by_method = dict.fromkeys(("logs", "spans", "datapoints"), BY_METHOD)
    for signal in Signal:
        payload = make_payload(signal, ITEMS)
        plain = asyncio.run(measure({}, payload))
        grouped = asyncio.run(measure(by_one, payload))
        steady = Payload(signal, Workload(signal, ITEMS).request(1), items=ITEMS)
        few = asyncio.run(measure(by_method, steady))
        print(
            f"{signal!s:8} all {plain:6.0f} ns an item, by one attribute {grouped:6.0f}, "
            f"by method {few:6.0f}"
        )


if __name__ == "__main__":
    main()
