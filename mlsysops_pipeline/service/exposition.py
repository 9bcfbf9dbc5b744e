"""The collector's own metrics as Prometheus text 0.0.4.

Names come out as from the Go collector's default reader: dots to underscores, no unit and no
`_total` suffix (service behaviour, section 8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mlsysops_pipeline.meter import Attributes, Distribution, Instrument, Meter

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_DETAILED_ONLY = (
    "otelcol_processor_internal_duration",
    "otelcol_exporter_queue_batch_send_size",
    "otelcol_exporter_enqueue_size",
    "otelcol_processor_batch_batch_send_size_bytes",
    "http_",
    "rpc_",
)
_NORMAL_ONLY = ("otelcol_processor_batch_",)
_LEVELS = ("none", "basic", "normal", "detailed")


def visible(name: str, level: str) -> bool:
    """Whether a metric is shown at a telemetry level (`service.telemetry.metrics.level`)."""
    rank = _LEVELS.index(level)
    if rank < _LEVELS.index("detailed") and name.startswith(_DETAILED_ONLY):
        return False
    return rank >= _LEVELS.index("normal") or not name.startswith(_NORMAL_ONLY)


def render(meter: Meter, resource: Mapping[str, str], level: str = "normal") -> str:
    """The whole page. ``resource`` becomes the labels of `target_info`."""
    lines = [
        "# HELP target_info Target metadata",
        "# TYPE target_info gauge",
        f"target_info{_labels(tuple(sorted(resource.items())))} 1",
    ]
    for name in sorted(meter.instruments):
        instrument = meter.instruments[name]
        if visible(name, level):
            body = list(_rows(instrument))
            if body:
                label = _name(name)
                if instrument.description:
                    lines.append(f"# HELP {label} {_help(instrument.description)}")
                lines.append(f"# TYPE {label} {instrument.kind}")
                lines += body
    return "\n".join(lines) + "\n"


def _rows(instrument: Instrument) -> Iterator[str]:
    if instrument.kind == "histogram":
        for key, distribution in sorted(instrument.distributions.items()):
            if distribution.count:
                yield from _histogram_rows(_name(instrument.name), key, distribution)
        return
    for sample in sorted(instrument.samples(), key=lambda sample: sample.attributes):
        yield f"{_name(sample.name)}{_labels(sample.attributes)} {_number(sample.value)}"


def _histogram_rows(name: str, key: Attributes, distribution: Distribution) -> Iterator[str]:
    total = 0
    for bound, count in zip(distribution.bounds, distribution.buckets, strict=False):
        total += count
        yield f"{name}_bucket{_labels((*key, ('le', _number(bound))))} {total}"
    yield f"{name}_bucket{_labels((*key, ('le', '+Inf')))} {distribution.count}"
    yield f"{name}_sum{_labels(key)} {_number(distribution.total)}"
    yield f"{name}_count{_labels(key)} {distribution.count}"


def _labels(attributes: Iterable[tuple[str, str]]) -> str:
    parts = [f'{_name(key)}="{_escape(value)}"' for key, value in attributes]
    return "{" + ",".join(parts) + "}" if parts else ""


def _name(name: str) -> str:
    return name.replace(".", "_").replace("-", "_")


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    if isinstance(value, int) or value.is_integer():
        return str(int(value))
    return repr(value)
