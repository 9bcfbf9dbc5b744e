"""What differs between two results, as lines of text, and which of it is meant to."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from mlsysops_pipeline import Signal
from tests.differential import pages
from tests.interop.items import REQUESTS, items

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.differential.pages import Page, Sample

EXPECTED: tuple[tuple[str, str], ...] = (
    (
        r"label[._](private|name|job|instance|collision)",
        "the Go collector drops points with such attributes; here the label gets another name",
    ),
    (r"^series only in Go: \S*no[._]sum_(sum|count)", "without a sum there is none (OM-4)"),
    (
        r"^series only in ours: \S*exponential_bucket",
        "the text formats know no native histograms: here they become classic ones, as whole",
    ),
    (
        r"^type of \S+: Go 'gauge', ours '(untyped|unknown|stateset|info)'",
        "a scraped type stays what it was (PO-5)",
    ),
    (r"zoo_build", "an info keeps the name of its sample, suffix and all"),
    (r"zoo_queue", "gauge histograms are dropped, not torn into gauges (PI-3)"),
    (r"^unit of \S+: Go None", "OpenMetrics has a line for the unit"),
    (r"^(type|help) of target(_info)?: Go (None|'gauge'|'Target)", "OpenMetrics has the type info"),
    (
        r"(my_ns_)?target_info",
        "joins look for the plain name (PO-14); it has constant labels and a time like all others",
    ),
    (r"^exemplar of .* ours .*who=", "what an SDK filtered out of a point stays with its exemplar"),
)
"""Patterns of differences that are meant, each with its reason."""


def expected(difference: str) -> str:
    """The reason of a difference that is meant; empty for one that is not."""
    return next((why for what, why in EXPECTED if re.search(what, difference)), "")


def of_pages(go: Page, ours: Page, changing: re.Pattern[str]) -> Iterator[str]:
    """How two pages differ. ``changing``: series whose values are not compared."""
    for what, one, other in (
        ("type", go.types, ours.types),
        ("help", go.helps, ours.helps),
        ("unit", go.units, ours.units),
    ):
        for name in sorted(one.keys() | other.keys()):
            # An empty help says as much as none.
            if (one.get(name) or None) != (other.get(name) or None):
                yield f"{what} of {name}: Go {one.get(name)!r}, ours {other.get(name)!r}"
    for key in sorted(go.samples.keys() - ours.samples.keys()):
        yield f"series only in Go: {key} {go.samples[key].value!r}"
    for key in sorted(ours.samples.keys() - go.samples.keys()):
        yield f"series only in ours: {key} {ours.samples[key].value!r}"
    for key in sorted(go.samples.keys() & ours.samples.keys()):
        yield from _of_samples(key, go.samples[key], ours.samples[key], changing)
    for who, page in (("Go", go), ("ours", ours)):
        for line in page.odd:
            yield f"{who}: {line}"


def _of_samples(key: str, go: Sample, ours: Sample, changing: re.Pattern[str]) -> Iterator[str]:
    same = go.value == ours.value or (math.isnan(go.value) and math.isnan(ours.value))
    if not same and not changing.search(key):
        yield f"value of {key}: Go {go.value!r}, ours {ours.value!r}"
    if bool(go.timestamp) != bool(ours.timestamp):
        yield f"timestamp of {key}: Go {go.timestamp!r}, ours {ours.timestamp!r}"
    if _untimed(go.exemplar) != _untimed(ours.exemplar):
        yield f"exemplar of {key}: Go {go.exemplar!r}, ours {ours.exemplar!r}"


def _untimed(exemplar: str) -> str:
    """An exemplar without its time, its labels in order, its value however it is written."""
    labels, _, rest = exemplar.partition("} ")
    value = repr(float(rest.partition(" ")[0])) if rest else ""
    return ",".join(sorted(labels.strip("{").split(","))) + " " + value


def of_otlp(go: list[Any], ours: list[Any], changing: re.Pattern[str]) -> Iterator[str]:
    """How the data points of requests differ, times apart, wherever they were batched."""
    left, right = _points(go, changing), _points(ours, changing)
    for who, one, other in (("Go", left, right), ("ours", right, left)):
        for item in sorted((one - other).elements()):
            yield f"OTLP only in {who}: {item}"


def _points(requests: list[Any], changing: re.Pattern[str]) -> Counter[str]:
    found: set[str] = set()
    for request in requests:
        for item in items(Signal.METRICS, request):
            single = REQUESTS[Signal.METRICS].FromString(item)
            scope = single.resource_metrics[0].scope_metrics[0]
            metric = scope.metrics[0]
            point = getattr(metric, metric.WhichOneof("data")).data_points[0]
            point.ClearField("time_unix_nano")
            for side in ("positive", "negative"):
                # Buckets without content, or none: the same.
                if hasattr(point, side) and not getattr(point, side).ByteSize():
                    point.ClearField(side)
            for one in getattr(point, "exemplars", ()):
                one.ClearField("time_unix_nano")
            if changing.search(metric.name):
                _keep_only_attributes(point)
            _sort(single.resource_metrics[0].resource.attributes)
            _sort(point.attributes)
            _sort(metric.metadata)
            if pages.is_scraper(scope.scope.name):
                scope.scope.name = "(who scraped)"
                scope.scope.ClearField("version")
            found.add(text_format.MessageToString(single, as_one_line=True))
    return Counter(found)


def _keep_only_attributes(point: Any) -> None:
    bare = type(point)(attributes=point.attributes)
    point.CopyFrom(bare)


def _sort(attributes: Any) -> None:
    ordered = sorted(attributes, key=lambda one: one.key)
    copies = [type(one).FromString(one.SerializeToString()) for one in ordered]
    del attributes[:]
    attributes.extend(copies)
