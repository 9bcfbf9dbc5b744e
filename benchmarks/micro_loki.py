"""What Loki's push costs, in microseconds of CPU a record: `python -m benchmarks.micro_loki`.

From the payload in the queue to the compressed request, at 1,000 records of four attributes, which
come from 50 places of a program. ``known``: as that. ``varied``: no two records have an attribute
in common, but all were seen before. ``ids``: each record has trace and span id and one attribute of
its own. ``labelled``: one attribute is a label of ten values. ``json``: lines as the Collector's
exporter wrote them. The best of many runs, because the machine does other things.
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
_RUNS = 40


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


def made(seed: int, *, places: int, has_ids: bool = False) -> bytes:
    """A request; ``places``: how many different sets of attributes there are."""
    request = parse(Signal.LOGS, Depth.FULL, make_wire(Signal.LOGS, _ITEMS))
    numbers = itertools.count(seed * _ITEMS + 1)
    records = request.resource_logs[0].scope_logs[0].log_records
    for index, record in enumerate(records):
        record.time_unix_nano += index * 9_876_543  # ten seconds in all
        for pair in record.attributes:
            pair.value.string_value = b"value-%d-%b" % (index % places, pair.key)
        record.attributes.add(key=b"zone").value.string_value = b"z%d" % (index % 10)
        del record.attributes[0]
        if has_ids:
            number = next(numbers)
            record.trace_id, record.span_id = number.to_bytes(16), number.to_bytes(8)
            record.attributes.add(key=b"request.id").value.string_value = b"%032x" % number
    return serialize(request)


def main() -> None:
    """Measure and print a table."""
    known = itertools.cycle([made(0, places=50)])
    cases = {
        "known": pushing(known),
        "varied": pushing(itertools.cycle([made(0, places=_ITEMS)])),
        "ids": pushing(
            itertools.cycle([made(seed, places=50, has_ids=True) for seed in range(_RUNS)])
        ),
        "labelled": pushing(known, labels={"attributes": {"zone": ""}}),
        "json": pushing(known, format="json"),
    }
    print(f"{len(next(known)) / _ITEMS:.0f} bytes a record; microseconds a record:")
    for name, push in cases.items():
        push()
        print(f"{name:10}{best_us(push, _RUNS) / _ITEMS:8.2f}")


if __name__ == "__main__":
    main()
