"""What the probabilistic sampler costs: CPU for a span or log record, by mode and share.

python -m benchmarks.micro_sampler
"""

from __future__ import annotations

import time

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_payload, make_settings
from mlsysops_processors.probabilistic_sampler import FACTORY, Config

ITEMS = 1_000
ROUNDS = 20


def measure(signal: Signal, mode: str, percentage: float) -> float:
    """Nanoseconds of CPU for an item."""
    config = parse_config(Config, {"mode": mode, "sampling_percentage": percentage})
    processor = FACTORY.create(config, make_settings("sampler", signals=[signal]), None)
    payload = make_payload(signal, ITEMS)
    processor.process(payload)
    begun = time.process_time_ns()
    for _ in range(ROUNDS):
        processor.process(payload)
    return (time.process_time_ns() - begun) / (ROUNDS * ITEMS)


def main() -> None:
    """Print one row for each signal, mode and share."""
    for signal in (Signal.TRACES, Signal.LOGS):
        for mode in ("hash_seed", "proportional", "equalizing"):
            for percentage in (10.0, 100.0):
                cost = measure(signal, mode, percentage)
                print(f"{signal!s:7} {mode:13} {percentage:5.0f} % {cost:8.0f} ns an item")


if __name__ == "__main__":
    main()
