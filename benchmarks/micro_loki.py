"""What Loki's push costs, in microseconds of CPU a record: `python -m benchmarks.micro_loki`.

From the payload in the queue to the compressed request, at 1,000 records of four attributes.
``known``: attributes were seen before. ``ids``: they were, but each record has a trace and span id
and a request id of its own. ``labelled``: one attribute is a label. ``json``: lines as the
Collector's exporter wrote them. The best of many runs, because the machine does other things.
"""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

from benchmarks.micro_json import best_us
from mlsysops_exporters.loki.config import Config
from mlsysops_exporters.loki.requests import lanes
from mlsysops_exporters.loki.streams import Streams, Translator
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, serialize
from mlsysops_pipeline.testing.telemetry import make_wire
from mlsysops_pipeline.transport.compression import compress

if TYPE_CHECKING:
    from collections.abc import Callable

_ITEMS = 1000


def pushing(wires: itertools.cycle[bytes], **config: Any) -> Callable[[], None]:
    """What the exporter does with a payload before it is posted."""
    parsed = parse_config(Config, {"endpoint": "http://localhost:3100", **config})
    translator = Translator(parsed, lambda: 1, logging.getLogger("benchmark").error)

    def push() -> None:
        streams = Streams()
        for _ in translator.translate(next(wires), streams):
            pass
        for lane in lanes(streams, parsed.max_batch_size_bytes):
            for request in lane:
                compress("snappy", request.body)

    return push


def with_ids(wire: bytes, seed: int) -> bytes:
    """The same records with ids of their own."""
    request = parse(Signal.LOGS, Depth.FULL, wire)
    numbers = itertools.count(seed * _ITEMS + 1)
    for block in request.resource_logs:
        for scoped in block.scope_logs:
            for record in scoped.log_records:
                number = next(numbers)
                record.trace_id = number.to_bytes(16)
                record.span_id = number.to_bytes(8)
                pair = record.attributes.add(key=b"request.id")
                pair.value.string_value = b"%032x" % number
    return serialize(request)


def main() -> None:
    """Measure and print a table."""
    wire = make_wire(Signal.LOGS, _ITEMS)
    known = itertools.cycle([wire])
    ids = itertools.cycle([with_ids(wire, seed) for seed in range(40)])
    key = parse(Signal.LOGS, Depth.FULL, wire).resource_logs[0].scope_logs[0].log_records[0]
    label = key.attributes[0].key.decode()
    cases = {
        "known": pushing(known),
        "ids": pushing(ids),
        "labelled": pushing(known, labels={"attributes": {label: ""}}),
        "json": pushing(known, format="json"),
    }
    print(f"{len(wire) / _ITEMS:.0f} bytes a record; microseconds a record:")
    for name, push in cases.items():
        push()
        print(f"{name:10}{best_us(push) / _ITEMS:8.2f}")


if __name__ == "__main__":
    main()
