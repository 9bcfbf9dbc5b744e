"""The comparison itself: it must see a difference and not see one where there is none."""

from __future__ import annotations

import re

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from mlsysops_pipeline import Signal
from tests.differential import differences, inputs, pages
from tests.interop.items import REQUESTS

NEVER = re.compile(r"(?!)")
PAGE = """# HELP a_total Of a \\\\ kind.
# TYPE a_total counter
a_total{b="1",a="x,\\"y\\"}"} 1e+06 1700000000000
{"u.v","k.l"="m"} NaN
"""


def test_a_page_equals_itself_in_another_order_and_writing() -> None:
    one = pages.read(PAGE)
    other = pages.read(
        PAGE.replace('b="1",a="x,\\"y\\"}"', 'a="x,\\"y\\"}",b="1"').replace("e+06", "e6")
    )
    assert [] == list(differences.of_pages(one, other, NEVER))
    assert 2 == len(one.samples)


def test_every_kind_of_difference_between_pages_is_seen() -> None:
    one = pages.read(PAGE)
    changed = PAGE.replace("counter", "gauge").replace("kind", "sort").replace(" 1700000000000", "")
    other = pages.read(changed.replace("1e+06", "5").replace("k.l", "n") + "odd line here {\n")
    found = [line.partition(" ")[0] for line in differences.of_pages(one, other, NEVER)]
    assert ["type", "help", "series", "series", "value", "timestamp", "ours:"] == found
    assert not [
        line for line in differences.of_pages(one, other, re.compile("^a_")) if "value" in line
    ]


def test_a_series_that_is_there_twice_is_said() -> None:
    page = pages.read("a 1\na 2\n")
    assert ["twice: a{}"] == page.odd


def test_exemplars_are_compared_without_their_time() -> None:
    one = pages.read('a 1 # {x="1",y="2"} 3 17.5\n')
    other = pages.read('a 1 # {y="2",x="1"} 3 18.5\n')
    assert [] == list(differences.of_pages(one, other, NEVER))
    third = pages.read('a 1 # {y="2",x="1"} 4 18.5\n')
    assert 1 == len(list(differences.of_pages(one, third, NEVER)))


def test_data_points_are_compared_without_time_order_and_batches() -> None:
    whole, again = inputs.otlp(), inputs.otlp()
    parts = []
    for group in reversed(again.resource_metrics):
        single = REQUESTS[Signal.METRICS]()
        single.resource_metrics.add().CopyFrom(group)
        attributes = single.resource_metrics[0].resource.attributes
        attributes.reverse()
        parts.append(single)
    for request in parts:
        for metric in request.resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.gauge.data_points:
                point.time_unix_nano += 5
    # Starts of sums are a second before the time of the request.
    for request in (whole, *parts):
        for group in request.resource_metrics:
            for metric in group.scope_metrics[0].metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points:
                    point.ClearField("start_time_unix_nano")
    assert [] == list(differences.of_otlp([whole], parts, NEVER))
    parts[0].resource_metrics[0].resource.attributes.add(key="more")
    assert list(differences.of_otlp([whole], parts, NEVER))


def test_the_pages_that_are_scraped_are_valid() -> None:
    assert list(text_string_to_metric_families(inputs.TEXT))
    assert list(open_metrics_families(inputs.OPEN_METRICS))  # type: ignore[no-untyped-call]  # theirs
