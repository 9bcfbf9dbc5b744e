"""What OTLP/JSON costs, in microseconds of CPU for 1,000 items: `python -m benchmarks.micro_json`.

``known``: the attributes have been seen before, as in telemetry that repeats itself. ``new``: every
attribute of every request is new. The best of many runs, because the machine does other things.
"""

from __future__ import annotations

import itertools
import json
import time
from functools import partial
from typing import TYPE_CHECKING

from mlsysops_pipeline.pdata.otlp_json import decode, encode
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing.telemetry import make_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ITEMS = 1000
_RUNS = 40


def best_us(run: Callable[[], object], runs: int = _RUNS) -> float:
    """The CPU time of the fastest run."""
    times = []
    for _ in range(runs):
        start = time.thread_time_ns()
        run()
        times.append(time.thread_time_ns() - start)
    return min(times) / 1e3


def _renewed(
    translate: Callable[[Signal, bytes], bytes], signal: Signal, data: bytes, seeds: Iterator[int]
) -> bytes:
    return translate(signal, data.replace(b"value-", b"%06d" % next(seeds)))


def main() -> None:
    """Measure every signal and print a table."""
    print(f"microseconds for {_ITEMS} items of four attributes")
    titles = ("KiB", "json.loads", "decode", "decode new", "encode", "encode new")
    print(f"{'':10}" + "".join(f"{title:>12}" for title in titles))
    for signal in Signal:
        wire = make_wire(signal, _ITEMS)
        text = encode(signal, wire)
        seeds = itertools.count()
        figures = (
            len(text) / 1024,
            best_us(partial(json.loads, text)),
            best_us(partial(decode, signal, text)),
            best_us(partial(_renewed, decode, signal, text, seeds)),
            best_us(partial(encode, signal, wire)),
            best_us(partial(_renewed, encode, signal, wire, seeds)),
        )
        print(f"{signal.value:10}" + "".join(f"{figure:12.0f}" for figure in figures))


if __name__ == "__main__":
    main()
