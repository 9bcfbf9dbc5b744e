"""What a reader of the page sees of what was exported, through HTTP."""

from __future__ import annotations

import asyncio
import gzip
import logging
import math
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from mlsysops_exporters import prometheus
from mlsysops_exporters.prometheus import FACTORY
from mlsysops_exporters.prometheus.config import Config
from mlsysops_pipeline.component import ComponentID, ExportResult, Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.delivery.sender import Sender
from mlsysops_pipeline.errors import DropReason, PeerError
from mlsysops_pipeline.ledger import ExporterLedger
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import FakeHost, JumpClock, make_settings, wait_until
from tests.exporters.prometheus.building import (
    CUMULATIVE,
    DELTA,
    NOW_NS,
    OPEN_METRICS,
    UTF8,
    Request,
    families,
    label,
    samples,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BOTH = pytest.mark.parametrize("accept", ["text/plain", OPEN_METRICS], ids=["text", "open"])


@BOTH
async def test_every_type_reads_back(accept: str) -> None:
    # TX-1, OM-1, OM-2, PO-5, PO-7, PO-10
    request = Request()
    request.gauge("room.temperature", 21.5, where="lab")
    request.sum("requests", 7).sum("queue", -4, is_monotonic=False)
    request.histogram("wait", [0.5, 5.0], [1, 2, 3], total=9.5)
    summary = request.metric("size").summary.data_points.add(count=4, sum=8, time_unix_nano=NOW_NS)
    summary.quantile_values.add(quantile=0.5, value=2)
    untyped = request.metric("odd")
    label(untyped.metadata, "prometheus.type", "unknown")
    untyped.gauge.data_points.add(as_int=1, time_unix_nano=NOW_NS)
    async with serving(enable_open_metrics=True) as served:
        assert await served.export(request) is None
        page = await served.scrape(accept)
    found = {family.name: family.type for family in families(page)}
    assert {
        "room_temperature": "gauge",
        "requests": "counter",
        "queue": "gauge",
        "wait": "histogram",
        "size": "summary",
        "odd": "unknown",
    } == found
    assert {
        'room_temperature{where="lab"}': 21.5,
        "requests_total": 7,
        "queue": -4,
        'wait_bucket{le="0.5"}': 1,
        'wait_bucket{le="5.0"}': 3,
        'wait_bucket{le="+Inf"}': 6,
        "wait_sum": 9.5,
        "wait_count": 6,
        'size{quantile="0.5"}': 2,
        "size_sum": 8,
        "size_count": 4,
        "odd": 1,
    } == samples(page.replace('le="5"', 'le="5.0"'))


async def test_text_is_the_default_and_says_its_version() -> None:
    # TX-3, NG-1, NG-2
    async with serving(enable_open_metrics=True) as served, aiohttp.ClientSession() as session:
        await served.export(Request().gauge("a", 1))
        for accept, expected in (
            ("", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"),
            ("image/png", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"),
            (
                "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.4",
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
            ),
        ):
            async with session.get(served.url, headers={"Accept": accept}) as response:
                assert expected == response.headers["Content-Type"]
    async with serving() as served:
        assert not (await served.scrape(OPEN_METRICS)).endswith("# EOF\n")


async def test_names_units_and_help_are_metadata() -> None:
    # OM-2: the unit is the end of the family's name.
    request = Request()
    counter = request.metric("net.io", "By", 'Sent \\ "bytes"\nand\r\nlost').sum
    counter.is_monotonic, counter.aggregation_temporality = True, CUMULATIVE
    counter.data_points.add(as_int=1, time_unix_nano=NOW_NS)
    async with serving(enable_open_metrics=True, namespace="app") as served:
        await served.export(request)
        text, opened = await served.scrape(), await served.scrape(OPEN_METRICS)
    assert '# HELP app_net_io_bytes_total Sent \\\\ "bytes"\\nand\\nlost\n' in text
    assert (
        "# TYPE app_net_io_bytes counter\n# UNIT app_net_io_bytes bytes\n# HELP app_net_io_bytes "
        in opened
    )
    (family,) = families(opened)
    assert ("bytes", 'Sent \\ "bytes"\nand\nlost') == (family.unit, family.documentation)
    assert "\r" not in text + opened


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "wait_time_seconds_total"),
        ({"add_metric_suffixes": True}, "wait_time_seconds_total"),
        ({"add_metric_suffixes": False}, "wait_time"),
        ({"translation_strategy": "UnderscoreEscapingWithoutSuffixes"}, "wait_time"),
        (
            {
                "add_metric_suffixes": False,
                "translation_strategy": "UnderscoreEscapingWithSuffixes",
            },
            "wait_time_seconds_total",
        ),
    ],
)
async def test_suffixes(keys: dict[str, Any], expected: str) -> None:
    request = Request()
    counter = request.metric("wait.time", "s").sum
    counter.is_monotonic, counter.aggregation_temporality = True, CUMULATIVE
    counter.data_points.add(as_int=1, time_unix_nano=NOW_NS)
    async with serving(**keys, enable_open_metrics=True) as served:
        await served.export(request)
        assert f"\n{expected}{{" in await served.scrape()
        opened = await served.scrape(OPEN_METRICS)
    (sample,) = families(opened)[0].samples
    assert sample.name.endswith("_total")  # OpenMetrics has no counter without it


async def test_names_of_any_alphabet() -> None:
    # TX-2, ES-1, PO-17: escaping from the Accept header is applied after the strategy.
    request = Request().gauge("my.metric", 1, **{"a.b": "c"}).sum("größe", 2)
    request.histogram("my.wait", [1.0], [1, 1])
    async with serving(translation_strategy="NoTranslation", enable_open_metrics=True) as served:
        await served.export(request)
        page = await served.scrape("text/plain;version=1.0.0;escaping=allow-utf-8")
        assert '{"my.metric","a.b"="c",job="app"} 1\n' in page
        assert '{"my.wait_bucket",job="app",le="1"} 1\n' in page
        assert '# TYPE "größe" counter\n{"größe",job="app"} 2\n' in page
        assert 'my_metric{a_b="c",job="app"} 1\n' in await served.scrape()
        dots = await served.scrape("text/plain;escaping=dots")
        assert 'my_dot_metric{a_dot_b="c",job="app"} 1\n' in dots
        assert "# TYPE U__gr_F6__DF_e counter" in await served.scrape("text/plain;escaping=values")
        opened = await served.scrape(f"{OPEN_METRICS};escaping=underscores")
        assert {"my_metric", "gr__e", "my_wait"} == {each.name for each in families(opened)}


async def test_names_that_become_one_are_one_family() -> None:
    # PO-15: no second TYPE for a name; conflicts of type drop whole metrics.
    request = Request().gauge("a.b", 1, x="1").gauge("a/b", 2, x="2").gauge("a_b", 3, x="1")
    request.sum("a:b", 4).sum("a.c", 5).gauge("a_c", 6)
    async with serving(translation_strategy="NoTranslation") as served:
        await served.export(request)
        assert {
            'a_b{x="1"}': 1,
            'a_b{x="2"}': 2,
            "a:b_total": 4,
            "a_c_total": 5,
        } == await served.values()
    async with serving(add_metric_suffixes=False) as served:
        result = await served.export(request)
        assert result is not None
        assert 1 == result.unsendable_items
        page = await served.scrape()
        assert 1 == page.count("# TYPE a_b gauge") == page.count('a_b{job="app",x="1"}')


async def test_a_metric_that_changes_its_type_is_dropped_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as served:
        await served.export(Request().gauge("a_total", 1))
        result = await served.export(Request().sum("a", 2, 1).gauge("b", 1))
        assert result is not None
        assert 1 == result.unsendable_items
        assert {"a_total": 1, "b": 1} == await served.values()
    assert "instrument type conflict: a_total is a gauge" in caplog.text


@BOTH
async def test_samples_that_another_metric_has_are_left_out(
    accept: str, caplog: pytest.LogCaptureFixture
) -> None:
    request = Request().gauge("a_count", 1)
    request.histogram("a", [1.0], [1, 1])
    request.gauge("c", 1).sum("c", 2)
    async with serving(enable_open_metrics=True) as served:
        await served.export(request)
        found = await served.values(accept)
    assert {"a_count": 1, "c": 1} | ({"c_total": 2} if accept == "text/plain" else {}) == found
    assert "a is left out of a page" in caplog.text


async def test_attributes_of_every_kind_are_labels() -> None:
    # PO-11, PO-12, PO-13
    request = Request(scope="sc")
    request.gauge("a", 1, **{"b.c": True, "b/c": 42, "1st": "x", "quote": 'a"b\\c\nd', "none": ""})
    async with serving(without_scope_info=False) as served:
        await served.export(request)
        (family,) = families(await served.scrape())
    assert {
        "job": "app",
        "b_c": "true;42",
        "key_1st": "x",
        "quote": 'a"b\\c\nd',
        "otel_scope_name": "sc",
    } == family.samples[0].labels
    async with serving(without_scope_info=True) as served:
        await served.export(request)
        assert "otel_scope" not in await served.scrape()


async def test_constant_labels_are_on_everything_and_overwrite_nothing() -> None:
    resource = {"service.name": "app", "host.name": "h"}
    request = Request(resource).gauge("a", 1, zone="mine").gauge("b", 2)
    async with serving(const_labels={"zone": "z", "node.name": "n", "empty": ""}) as served:
        await served.export(request)
        found = await served.values()
    assert {
        'a{node_name="n",zone="mine"}': 1,
        'b{node_name="n",zone="z"}': 2,
        'target_info{host_name="h",node_name="n",zone="z"}': 1,
    } == found


RESOURCE = {"service.name": "app", "service.instance.id": "1", "host.name": "h", "k8s.pod": "p"}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, set()),
        (
            {"resource_to_telemetry_conversion": {"enabled": True}},
            {"service_name", "service_instance_id", "host_name", "k8s_pod"},
        ),
        (
            {
                "resource_to_telemetry_conversion": {
                    "enabled": True,
                    "exclude_service_attributes": True,
                }
            },
            {"host_name", "k8s_pod"},
        ),
        ({"resource_constant_labels": {"included": ["host.*"]}}, {"host_name"}),
        (
            {"resource_constant_labels": {"excluded": ["service.*", "k8s.po?"]}},
            {"host_name"},
        ),
    ],
)
async def test_resource_attributes_as_labels(keys: dict[str, Any], expected: set[str]) -> None:
    async with serving(**keys) as served:
        await served.export(Request(RESOURCE).gauge("a", 1))
        found = {
            family.name: family.samples[0].labels for family in families(await served.scrape())
        }
    assert expected == set(found["a"]) - {"job", "instance"}
    assert {"host_name": "h", "k8s_pod": "p", "job": "app", "instance": "1"} == found["target_info"]


async def test_target_info_comes_first_and_goes_with_its_target() -> None:
    # PO-14
    async with serving(metric_expiration="60s", enable_open_metrics=True) as served:
        await served.export(Request(RESOURCE).gauge("a", 1))
        await served.export(Request({**RESOURCE, "host.name": "new"}).gauge("a", 1, 1))
        page = await served.scrape(OPEN_METRICS)
        assert page.startswith("# TYPE target info\n# HELP target Target metadata\ntarget_info{")
        assert 1 == page.count("target_info{") == page.count('host_name="new"')
        await served.clock.advance(61)
        assert "# EOF\n" == await served.scrape(OPEN_METRICS)


async def test_time_stamps_only_if_wanted() -> None:
    # PO-17, OM-3
    async with serving(send_timestamps=True, enable_open_metrics=True) as served:
        await served.export(Request().gauge("a", 1, 0.25))
        assert 'a{job="app"} 1 1700000000250\n' in await served.scrape()
        assert 'a{job="app"} 1 1700000000.250\n' in await served.scrape(OPEN_METRICS)
    async with serving() as served:
        await served.export(Request().gauge("a", 1, 0.25))
        assert 'a{job="app"} 1\n' in await served.scrape()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.5, 1e300, 9.0e15, 1e-7])
@BOTH
async def test_every_number_is_read_back(value: float, accept: str) -> None:
    async with serving(enable_open_metrics=True) as served:
        await served.export(Request().gauge("a", value).sum("b", value))
        found = await served.values(accept)
    assert repr(value) == repr(found["a"])
    if accept == OPEN_METRICS and not value >= 0:  # OM-4: counters have no NaN, nothing below zero
        assert "b_total" not in found
    else:
        assert repr(value) == repr(found["b_total"])


async def test_histograms_keep_the_rules_of_open_metrics() -> None:
    # OM-4: `_count` if and only if `_sum`; no sum with negative bounds. PO-7: none if unset.
    request = Request()
    request.histogram("a", [1.0], [1, 1], total=None)
    request.histogram("b", [-1.0, 1.0], [1, 1, 1], total=-4.0)
    request.histogram("c", [], [], total=0.0).count = 5
    async with serving(enable_open_metrics=True) as served:
        await served.export(request)
        text, opened = await served.values(), await served.values(OPEN_METRICS)
    assert {"a_count", "b_count", "b_sum", "c_count", "c_sum"} == {
        name for name in text if "{" not in name
    }
    assert {"c_count", "c_sum"} == {name for name in opened if "{" not in name}
    assert 5 == text['c_bucket{le="+Inf"}'] == text["c_count"]


async def test_examples_are_in_open_metrics_only() -> None:
    # PO-7, PO-16, OM-4
    request = Request()
    point = request.histogram("a", [1.0, 2.0], [1, 1, 1])
    for value, at, trace in (
        (0.5, 1, b"\1"),
        (0.7, 2, b"\2"),
        (9.0, 3, b"\3"),
        (math.nan, 4, b"\4"),
    ):
        exemplar = point.exemplars.add(as_double=value, time_unix_nano=NOW_NS + at * 10**9)
        exemplar.trace_id, exemplar.span_id = trace * 16, trace * 8
    request.sum("b", 3)
    request.message.resource_metrics[0].scope_metrics[0].metrics[1].sum.data_points[
        0
    ].exemplars.add(as_double=2.5, time_unix_nano=NOW_NS, trace_id=b"\5" * 16)
    async with serving(enable_open_metrics=True) as served:
        await served.export(request)
        assert "trace_id" not in await served.scrape()
        opened = families(await served.scrape(OPEN_METRICS))
    found = {
        (sample.name, sample.labels.get("le")): (
            sample.exemplar.value,
            sample.exemplar.labels["trace_id"][:2],
        )
        for family in opened
        for sample in family.samples
        if sample.exemplar
    }
    assert {
        ("a_bucket", "1.0"): (0.7, "02"),
        ("a_bucket", "+Inf"): (9.0, "03"),
        ("b_total", None): (2.5, "05"),
    } == found


async def test_changes_are_added_up_and_what_cannot_be_is_dropped() -> None:
    # PO-6, DM-6, DM-7
    async with serving() as served:
        for number in range(3):
            request = Request()
            times: dict[str, Any] = {"start": number, "temporality": DELTA}
            request.sum("a", 5, number + 1, **times)
            request.histogram("h", [1.0], [1, 2], number + 1, total=2.5, **times)
            request.sum("lost", 5, number + 1, is_monotonic=False, **times)
            request.sum("unspecified", 5, number + 1, temporality=0)
            result = await served.export(request)
            assert result is not None
            assert (0, 2) == (result.rejected_items, result.unsendable_items)
        assert {
            "a_total": 15,
            'h_bucket{le="1.0"}': 3,
            'h_bucket{le="+Inf"}': 9,
            "h_sum": 7.5,
            "h_count": 9,
        } == samples((await served.scrape()).replace('le="1"', 'le="1.0"'))
        result = await served.export(Request().sum("a", 5, 2.5, start=2, temporality=DELTA))
        assert result is not None
        assert 1 == result.unsendable_items


async def test_exponential_histograms_become_fixed_ones() -> None:
    # PO-8: without a sum they are dropped; formats without native histograms get fixed buckets.
    request = Request()
    for name, has_sum in (("a", True), ("b", False)):
        data = request.metric(name).exponential_histogram
        data.aggregation_temporality = CUMULATIVE
        point = data.data_points.add(scale=1, zero_count=1, count=4, time_unix_nano=NOW_NS)
        point.positive.offset = 0
        point.positive.bucket_counts.extend([1, 1, 1])
        if has_sum:
            point.sum = 5.0
    async with serving(enable_open_metrics=True) as served:
        result = await served.export(request)
        assert result is not None
        assert 1 == result.unsendable_items
        assert {
            'a_bucket{le="0.0"}': 1,
            'a_bucket{le="1.0"}': 1,
            'a_bucket{le="2.0"}': 3,
            'a_bucket{le="4.0"}': 4,
            'a_bucket{le="+Inf"}': 4,
            "a_sum": 5,
            "a_count": 4,
        } == await served.values(OPEN_METRICS)


async def test_exponential_histograms_do_not_lose_the_label_of_their_buckets() -> None:
    # PO-12: `le` belongs to the buckets, of which there are none before the page.
    request = Request()
    data = request.metric("a").exponential_histogram
    data.aggregation_temporality = CUMULATIVE
    point = data.data_points.add(zero_count=1, count=1, sum=0, time_unix_nano=NOW_NS)
    label(point.attributes, "le", "mine")
    label(point.attributes, "exported_le", "mine too")
    async with serving() as served:
        await served.export(request)
        found = await served.values()
    own = 'exported_exported_le="mine",exported_le="mine too"'
    assert 1 == found[f'a_bucket{{{own},le="+Inf"}}'] == found[f"a_count{{{own}}}"]


async def test_start_times_are_no_series() -> None:
    # OM-2: `_created` may be there. Prometheus would store it beside each counter.
    request = Request().sum("a", 1, 1, start=0)
    async with serving(enable_open_metrics=True) as served:
        await served.export(request)
        assert {"a_total": 1} == await served.values(OPEN_METRICS)


async def test_what_open_metrics_has_no_place_for_is_left_out() -> None:
    # OM-2, OM-4: units are words; values of quantiles are not negative.
    request = Request()
    request.metric("a", "\u00e9\nx").gauge.data_points.add(as_int=1, time_unix_nano=NOW_NS)
    point = request.metric("b").summary.data_points.add(count=2, sum=1, time_unix_nano=NOW_NS)
    point.quantile_values.add(quantile=0, value=-1)
    point.quantile_values.add(quantile=1, value=2)
    keys = {"translation_strategy": "NoUTF8EscapingWithSuffixes", "enable_open_metrics": True}
    async with serving(**keys) as served:
        await served.export(request)
        opened, text = await served.scrape(OPEN_METRICS), await served.scrape()
        whole = await served.scrape(OPEN_METRICS + UTF8)
    assert '# TYPE "a_\u00e9\\nx" gauge\n' in whole
    assert "# UNIT" not in whole
    assert ["a___x", "b"] == [family.name for family in families(opened)]
    assert 'b{quantile="1.0"}' in samples(opened)
    assert 'b{quantile="0.0"}' not in samples(opened)
    assert 'b{quantile="0"}' in samples(text)


@BOTH
async def test_no_page_ends_in_its_middle(accept: str) -> None:
    # OM-5: to Prometheus a zero byte is the end of the page, wherever it stands.
    request = Request({"service.name": "a\0b"}, scope="\0")
    request.metric("a\0", "\0", "\0 help").gauge.data_points.add(as_int=1, time_unix_nano=NOW_NS)
    request.gauge("b", 1, 0, **{"k\0": "\0"})
    keys = {"translation_strategy": "NoTranslation", "enable_open_metrics": True}
    async with serving(**keys) as served:
        await served.export(request)
        page = await served.scrape(accept + UTF8)
    assert "\0" not in page
    assert 'job="a\ufffdb"' in page


async def test_a_series_ends_when_its_sender_says_so() -> None:
    # PO-9: on a pull endpoint the series is simply absent.
    async with serving() as served:
        request = Request()
        for number in range(5):
            request.gauge("a", number, 0, n=str(number))
        request.histogram("h", [1.0], [1, 1])
        await served.export(request)
        end = Request().gauge("a", None, 1, n="0").gauge("a", None, 1, n="3")
        end.histogram("h", [], [], 1, total=None).flags = 1
        assert await served.export(end) is None
        assert {f'a{{n="{number}"}}': number for number in (1, 2, 4)} == await served.values()


async def test_series_expire_although_nobody_reads() -> None:
    # #46423: expiration was evaluated while collecting only.
    async with serving(metric_expiration="60s") as served:
        await served.export(Request().gauge("a", 1))
        await served.clock.advance(59)
        await served.export(Request().gauge("b", 1, 59))
        assert {"a": 1, "b": 1} == await served.values()
        await served.clock.advance(1)
        assert {"b": 1} == await served.values()
        await served.clock.advance(500)
        assert not served.exporter.store.groups
        assert 0 == served.settings.meter.value("mlsysops_exporter_prometheus_series")


async def test_a_flood_of_series_is_bounded_and_its_label_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(max_series=100) as served:
        for turn in range(5):
            request = Request()
            for number in range(60):
                request.gauge("a", 1, turn, traceparent=f"{turn}-{number}", path=str(number % 3))
            result = await served.export(request)
            expected = (None, 20, 60, 60, 60)[turn]
            assert expected == (result.rejected_items if result else None)
            assert result is None or DropReason.CARDINALITY is result.reason
        assert 100 == len(await served.values())
    (line,) = [record.getMessage() for record in caplog.records if "max_series" in record.message]
    assert "the label traceparent of a has 100 values" in line


async def test_a_target_without_room_is_no_lost_point() -> None:
    async with serving(max_series=1) as served:
        assert await served.export(Request(RESOURCE).gauge("a", 1)) is None
        assert 1 == len(await served.values())
    async with serving() as served:
        assert await served.export(Request(RESOURCE).gauge("target_info", 1)) is None
        assert 1 == len(await served.values())


async def test_ten_thousand_attributes_are_one_series() -> None:
    async with serving() as served:
        await served.export(Request().gauge("a", 1, **{f"k{n}": str(n) for n in range(10_000)}))
        (family,) = families(await served.scrape())
        assert 10_001 == len(family.samples[0].labels)


async def test_bad_payloads_are_counted_and_refused_to_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = Request().gauge("a", 1).payload().wires[0]
    point = Request().gauge("b", 1)
    metric = point.message.resource_metrics[0].scope_metrics[0].metrics[0]
    metric.gauge.data_points[0].ClearField("value")
    async with serving() as served:
        wires = [good, point.message.SerializeToString(), Request().gauge("", 1).payload().wires[0]]
        result = await served.exporter.export(Payload(Signal.METRICS, wires))
        assert result is not None
        assert 2 == result.unsendable_items
        assert {"a": 1} == await served.values()
        # Well-formed down to the points, and not inside one.
        result = await served.exporter.export(
            Payload(Signal.METRICS, good.replace(b"\x49", b"\x0f", 1), items=1)
        )
        assert result is None or result.unsendable_items <= 1
    assert "for example of 'b'" in caplog.text


async def test_a_bug_of_ours_refuses_nothing_either(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as served:

        def fail(*_: object) -> None:
            raise RuntimeError("boom")

        monkeypatch.setattr(served.exporter.store, "numbers", fail)
        result = await served.export(Request().gauge("a", 1).gauge("b", 1))
        assert ExportResult(2, reason=DropReason.EXPORT_ERROR) == result
    assert "boom" in caplog.text


@pytest.mark.parametrize("queue", [{}, {"sending_queue": {"enabled": True}}], ids=["", "queue"])
async def test_the_ledger_balances(queue: dict[str, Any]) -> None:
    async with serving(max_series=2, **queue) as served:
        ledger = ExporterLedger()
        sender = Sender(
            served.exporter, served.exporter._config, served.settings, Signal.METRICS, ledger
        )
        await sender.start()
        request = Request().gauge("a", 1, n="1").gauge("a", 1, n="2").gauge("a", 1, n="3")
        request.gauge("", 1)
        await sender.consume(request.payload())
        await sender.shutdown(1.0)
        assert (4, 2, 0) == (ledger.enqueued, ledger.sent, ledger.imbalance)
        assert {DropReason.CARDINALITY: 1, DropReason.UNSENDABLE: 1} == dict(ledger.dropped)


async def test_only_metrics_are_served_and_only_by_get() -> None:
    async with serving() as served, aiohttp.ClientSession() as session:
        async with session.get(served.url.replace("/metrics", "/")) as response:
            assert 404 == response.status
        async with session.post(served.url) as response:
            assert (405, "GET, HEAD") == (response.status, response.headers["Allow"])
        async with session.head(served.url) as response:
            assert 200 == response.status


async def test_pages_are_compressed_for_those_who_can_read_it() -> None:
    # NG-2
    async with serving() as served, aiohttp.ClientSession(auto_decompress=False) as session:
        await served.export(Request().gauge("a", 1))
        async with session.get(served.url, headers={"Accept-Encoding": "gzip"}) as response:
            assert "gzip" == response.headers["Content-Encoding"]
            assert b'a{job="app"} 1\n' in gzip.decompress(await response.read())
        async with session.get(served.url, headers={"Accept-Encoding": "gzip;q=0"}) as response:
            assert "Content-Encoding" not in response.headers
            assert b'a{job="app"} 1\n' in await response.read()


class Bearer:
    """An authentication extension."""

    async def start(self) -> None: ...

    async def shutdown(self) -> None: ...

    async def authenticate(self, headers: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
        if ("Bearer t",) != headers.get("authorization"):
            from mlsysops_pipeline.errors import Code

            raise PeerError("who are you?", Code.UNAUTHENTICATED)
        return {}


async def test_nobody_reads_without_authentication() -> None:
    id_ = ComponentID("bearertokenauth")
    host = FakeHost({id_: Bearer()})
    settings = make_settings("prometheus", kind=Kind.EXPORTER, host=host)
    keys = {"endpoint": "127.0.0.1:0", "auth": {"authenticator": "bearertokenauth"}}
    exporter = FACTORY.create(parse_config(Config, keys), settings, None)
    await exporter.start()
    url = f"http://127.0.0.1:{exporter.port}/metrics"
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as response:
            assert 401 == response.status
        async with session.get(url, headers={"Authorization": "Bearer t"}) as response:
            assert 200 == response.status
    assert isinstance(settings.clock, JumpClock)
    stop = asyncio.get_running_loop().create_task(exporter.shutdown())
    while not stop.done():
        await settings.clock.advance(1.0)
        await asyncio.sleep(0.001)


@pytest.mark.slow
async def test_pages_over_tls(tmp_path: Path) -> None:
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    for name, blobs in (
        ("cert.pem", certificate.cert_chain_pems),
        ("key.pem", [certificate.private_key_pem]),
    ):
        (tmp_path / name).write_bytes(b"".join(blob.bytes() for blob in blobs))
    tls = {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    import ssl

    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with serving(tls=tls) as served, aiohttp.ClientSession() as session:
        request = Request()
        for number in range(5_000):
            request.gauge("a", number, number=str(number))
        await served.export(request)
        url = served.url.replace("http:", "https:")
        async with session.get(url, ssl=context, headers={"Accept-Encoding": ""}) as response:
            assert 5_000 == len(samples(await response.text()))


@pytest.mark.slow
async def test_many_readers_and_writers_at_once_see_whole_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # OM-5: concurrent scrapes are supported; a partial exposition is wrong as a whole.
    monkeypatch.setattr(prometheus, "PAGES_MAX", 3)
    monkeypatch.setattr("mlsysops_exporters.prometheus.page.PIECE_LINES", 10)
    monkeypatch.setattr("mlsysops_exporters.prometheus.page._SLICE", 5)
    async with serving(enable_open_metrics=True, max_series=2_000) as served:

        async def write() -> None:
            for turn in range(20):
                request = Request()
                for number in range(50):
                    request.gauge("a", turn, turn, number=str(number))
                    request.gauge(f"g{(turn + number) % 70}", 1, turn)
                if turn % 5 == 4:
                    for number in range(50):
                        request.gauge("a", None, turn + 0.5, number=str(number))
                request.histogram("h", [1.0, 2.0], [turn, turn, turn], turn)
                await served.export(request)
                await asyncio.sleep(0)

        async def read(number: int) -> None:
            for _ in range(3):
                accept = OPEN_METRICS if number % 2 else "text/plain"
                page = await served.scrape(accept)
                found = samples(page)
                if 'h_bucket{le="1.0"}' in found:
                    assert 3 * found['h_bucket{le="1.0"}'] == found["h_count"]

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            for number in range(10):
                group.create_task(read(number))


@pytest.mark.slow
async def test_a_slow_reader_keeps_its_page_and_holds_up_nobody() -> None:
    async with serving() as served:
        request = Request()
        for number in range(5_000):
            request.gauge("a", 1, 0, number=str(number), text="x" * 2_000)
        await served.export(request)
        reader, writer = await asyncio.open_connection("127.0.0.1", served.exporter.port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        connections = served.exporter._server._connections
        await wait_until(lambda: any(each._is_streaming for each in connections))
        await served.export(Request().gauge("a", 2, 1, number="4999", text="x" * 2_000))
        await served.clock.advance(10)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        got = (await reader.read()).partition(b"\r\n\r\n")[2].decode()
        assert 5_000 == got.count("a{") == got.count("} 1\n")
        writer.close()
        await writer.wait_closed()
        await wait_until(lambda: not served.settings.memory.in_flight)


@pytest.mark.slow
async def test_a_reader_that_goes_away_gives_its_place_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prometheus, "PAGES_MAX", 1)
    async with serving() as served:
        request = Request()
        for number in range(5_000):
            request.gauge("a", 1, 0, number=str(number), text="x" * 2_000)
        await served.export(request)
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", served.exporter.port)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            await wait_until(lambda: served.settings.memory.in_flight > 9_000_000)
            writer.transport.abort()
            await wait_until(lambda: not served.settings.memory.in_flight)
        assert 5_000 == (await served.scrape()).count("a{")


async def test_a_port_in_use_fails_the_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with serving() as served:
        keys = {"endpoint": f"127.0.0.1:{served.exporter.port}"}
        second = FACTORY.create(parse_config(Config, keys), make_settings("prometheus"), None)
        with pytest.raises(OSError, match="already in use"):
            await second.start()
        await second.shutdown()
