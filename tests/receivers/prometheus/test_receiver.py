"""Scrapes from end to end: a server, the receiver, a sink (conformance SC-1 to SC-7)."""

from __future__ import annotations

import asyncio
import gzip
import logging
import math
from typing import TYPE_CHECKING, Any

import prometheus_client
import pytest

from mlsysops_pipeline.component import Status
from mlsysops_pipeline.errors import RetryableError
from mlsysops_pipeline.testing import advance_until, settle, wait_until
from tests.receivers.prometheus.peers import Peer, answer
from tests.receivers.prometheus.running import INTERVAL_S, Running, read

if TYPE_CHECKING:
    from pathlib import Path

PAGE = '# TYPE a counter\na 1\n# TYPE b gauge\nb{x="1"} 2\n'


async def test_each_scrape_adds_its_reports() -> None:
    """SC-1."""
    async with Peer(answer(PAGE)) as peer, Running(peer) as running:
        first, second = await running.scrape_one(), await running.scrape_one()

    assert {"a": 1.0, 'b{x="1"}': 2.0} == first.page == second.page
    reports = {name: value for name, value in first.values.items() if name not in first.page}
    duration = reports.pop("scrape_duration_seconds")
    assert 0 <= duration < 1
    assert {
        "up": 1.0,
        "scrape_samples_scraped": 2.0,
        "scrape_samples_post_metric_relabeling": 2.0,
        "scrape_series_added": 2.0,
    } == reports
    assert second.values["scrape_series_added"] == 0.0
    (resource,) = first.resources
    assert ("j", peer.address) == (resource["service.name"], resource["service.instance.id"])
    assert second.times["a"] - first.times["a"] == INTERVAL_S * 1e9


async def test_extra_metrics_are_reported_where_they_are_asked_for() -> None:
    async with (
        Peer(answer(PAGE)) as peer,
        Running(peer, extra_scrape_metrics=True, sample_limit=7) as running,
    ):
        points = await running.scrape_one()

    assert (10.0, 7.0, float(len(PAGE))) == (
        points.values["scrape_timeout_seconds"],
        points.values["scrape_sample_limit"],
        points.values["scrape_body_size_bytes"],
    )


# What a target answers, what its job limits, and what is said about it.
BAD: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("HTML", answer("<html><body>", content_type="text/html"), {}, "(the page is 'text/html')"),
    ("status 500", answer(PAGE, "500 Internal Server Error"), {}, "HTTP status 500 Internal"),
    ("status 404", answer(PAGE, "404 Not Found"), {}, "HTTP status 404 Not Found"),
    ("nothing", b"", {}, "EOF"),
    ("no HTTP", b"SSH-2.0-OpenSSH_9.6\r\n", {}, "malformed HTTP response"),
    ("cut off", answer(PAGE)[:-10], {}, "unexpected EOF"),
    ("a syntax error in the last line", answer(PAGE + "c{ 1\n"), {}, "line 5"),
    ("invalid UTF-8", answer(PAGE.encode() + b'c{x="\xff\xfe"} 1\n'), {}, "line 5"),
    (
        "OpenMetrics without its end",
        answer("a 1\n", content_type="application/openmetrics-text; version=1.0.0"),
        {},
        "# EOF",
    ),
    ("protobuf", answer(PAGE, content_type="application/vnd.google.protobuf"), {}, "protobuf"),
    ("samples", answer(PAGE), {"sample_limit": 1}, "sample_limit"),
    ("labels", answer(PAGE), {"label_limit": 3}, "label"),
    ("a name", answer('a{too_long_a_name="1"} 1\n'), {"label_name_length_limit": 8}, "label"),
    ("a value", answer('a{x="1234567890123456"} 1\n'), {"label_value_length_limit": 15}, "label"),
    ("a body", answer(PAGE), {"body_size_limit": "20"}, "body size limit exceeded"),
    (
        "a body that is compressed",
        answer(gzip.compress(PAGE.encode() * 10_000), Content_Encoding="gzip"),
        {"body_size_limit": "100KB"},
        "body size limit exceeded",
    ),
    ("no gzip", answer(PAGE, Content_Encoding="gzip"), {}, "gzip"),
    ("another encoding", answer(PAGE, Content_Encoding="br"), {}, "unsupported Content-Encoding"),
]


@pytest.mark.parametrize(
    ("reply", "keys", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)
async def test_a_scrape_that_fails_keeps_nothing(
    reply: bytes, keys: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SC-2, SC-6: up 0, stale markers for all that was there, the next target undisturbed."""
    async with (
        Peer(answer("k 1\n")) as peer,
        Peer(answer("well 1\n")) as other,
        Running(peer, other, **keys) as running,
    ):
        await running.scrape()
        peer.reply, peer.closes_after_answer = reply, True
        peer.hang_up()
        first, second = await running.scrape(), await running.scrape()
        peer.reply, peer.closes_after_answer = answer("k 2\n"), False
        again = await running.scrape()
        state = running.host.reports

    for results in (first, second):
        by_up = {points.values["up"]: points for points in results}
        assert {"well": 1.0} == by_up[1.0].page
        assert {} == by_up[0.0].page
        assert ({"k"} if results is first else set()) == by_up[0.0].stale
    assert {"k", "well"} == {name for points in again for name in points.page}
    warnings = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1  # once a change of state, not once a scrape
    assert warnings[0].startswith("Failed to scrape Prometheus endpoint: ")
    assert message in warnings[0]
    assert f'{{instance="{peer.address}", job="j"}}' in warnings[0]
    assert (2.0, 6.0) == (
        running.value("mlsysops_receiver_scrapes", outcome="failure"),
        running.value("mlsysops_receiver_scrapes", outcome="success"),
    )
    assert [Status.OK, Status.OK] == [status for status, _ in state]
    assert state[0][1].startswith("1 of 2 targets fail, such as {instance=")
    assert state[1][1] == ""


async def test_a_receiver_whose_every_target_fails_is_not_well() -> None:
    async with Peer() as peer, Running(peer) as running:
        await running.scrape()
        peer.reply = answer(PAGE)
        await running.scrape()

    assert [Status.RECOVERABLE_ERROR, Status.OK] == [s for s, _ in running.host.reports]


async def test_a_target_that_is_absent_at_the_start_is_scraped_when_it_is_there() -> None:
    async with Peer(answer(PAGE)) as peer:
        port = peer.port
    async with Running(static_configs=[{"targets": [f"127.0.0.1:{port}"]}]) as running:
        down = await running.scrape_one()
        async with Peer(answer(PAGE), port=port):
            up = await running.scrape_one()

    assert (0.0, {}) == (down.values["up"], down.page)
    assert (1.0, 2) == (up.values["up"], len(up.page))


async def test_a_series_that_is_missing_ends_with_one_marker() -> None:
    """SC-3."""
    async with Peer(answer("a 1\nb 2\n")) as peer, Running(peer) as running:
        await running.scrape()
        peer.reply = answer("a 1\n")
        second, third = await running.scrape_one(), await running.scrape_one()

    assert ({"a": 1.0}, {"b"}) == (second.page, second.stale)
    assert ({"a": 1.0}, set()) == (third.page, third.stale)


@pytest.mark.parametrize("tracks", [False, True])
async def test_series_with_times_of_their_own_end_as_configured(*, tracks: bool) -> None:
    """SC-3: none by default."""
    keys: dict[str, Any] = {"track_timestamps_staleness": tracks}
    async with Peer(answer("a 1 1700000001000\nb 2\n")) as peer, Running(peer, **keys) as running:
        first = await running.scrape_one()
        peer.reply = answer("b 2\n")
        second = await running.scrape_one()

    assert 1_700_000_001_000_000_000 == first.times["a"]
    assert ({"a"} if tracks else set()) == second.stale


@pytest.mark.parametrize(
    ("honors", "expected"),
    [
        (False, {'a{exported_exported_job="y",exported_job="x"}': 1.0}),
        (True, {'a{exported_job="x"}': 1.0}),
    ],
)
async def test_labels_that_clash(*, honors: bool, expected: dict[str, float]) -> None:
    """SC-4."""
    page = 'a{job="y",exported_job="x",empty=""} 1\n'
    async with Peer(answer(page)) as peer, Running(peer, honor_labels=honors) as running:
        points = await running.scrape_one()

    assert expected == points.page
    names = {resource["service.name"] for resource in points.resources}
    assert ({"y", "j"} if honors else {"j"}) == names


async def test_what_is_asked_of_a_target() -> None:
    """SC-5."""
    async with (
        Peer(answer(PAGE)) as peer,
        Running(peer, metrics_path="/m", params={"a": ["b"]}, scrape_timeout="2s500ms") as running,
    ):
        await running.scrape()

    assert peer.requests[0].startswith("GET /m?a=b HTTP/1.1\r\n")
    fields = peer.fields()
    assert ("2.5", "gzip") == (
        fields["x-prometheus-scrape-timeout-seconds"],
        fields["accept-encoding"],
    )
    assert fields["accept"].startswith("application/openmetrics-text;version=1.0.0;escaping=")
    assert fields["host"] == peer.address


async def test_numbers_that_are_none() -> None:
    """SC-7: a NaN on the page is a NaN, and no stale marker."""
    async with Peer(answer("a NaN\nb +Inf\nc -Inf\n")) as peer, Running(peer) as running:
        points = await running.scrape_one()

    assert math.isnan(points.page["a"])
    assert (math.inf, -math.inf) == (points.page["b"], points.page["c"])
    assert set() == points.stale


async def test_samples_that_are_left_out_are_counted_and_the_others_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Duplicates, and times that go back or are far in the future."""
    now_ms = 1_700_000_000_000
    async with Peer() as peer, Running(peer) as running:
        peer.reply = answer(f"a 1\na 2\nold 1 {now_ms}\nnew 1 {now_ms + 86_400_000}\nok 1\n")
        first = await running.scrape_one()
        peer.reply = answer(f"old 2 {now_ms - 5_000}\nok 2\n")
        second = await running.scrape_one()

    assert {"a": 1.0, "old": 1.0, "ok": 1.0} == first.page
    assert {"ok": 2.0} == second.page
    assert [1.0, 1.0] == [first.values["up"], second.values["up"]]
    name = "mlsysops_receiver_left_out_samples"
    counts = {
        r: running.value(name, reason=r) for r in ("duplicates", "out_of_order", "out_of_bounds")
    }
    assert {"duplicates": 1.0, "out_of_order": 1.0, "out_of_bounds": 1.0} == counts
    assert sum("were left out" in message for message in caplog.messages) == 3


async def test_metric_relabelling_changes_and_drops_series() -> None:
    rules = [
        {"action": "drop", "source_labels": ["__name__"], "regex": "b.*"},
        {
            "source_labels": ["__name__"],
            "regex": "(a)",
            "target_label": "kind",
            "replacement": "x$1",
        },
    ]
    async with Peer(answer(PAGE)) as peer, Running(peer, metric_relabel_configs=rules) as running:
        points = await running.scrape_one()

    assert {'a{kind="xa"}': 1.0} == points.page
    assert (2.0, 1.0, 1.0) == (
        points.values["scrape_samples_scraped"],
        points.values["scrape_samples_post_metric_relabeling"],
        points.values["up"],
    )


async def test_external_labels_are_on_every_point() -> None:
    defaults = {"external_labels": {"cluster": "c1", "x": "over"}}
    async with Peer(answer('b{x="1"} 2\n')) as peer, Running(peer, defaults=defaults) as running:
        points = await running.scrape_one()

    assert {'b{cluster="c1",x="over"}': 2.0} == points.page
    assert 'up{cluster="c1",x="over"}' in points.values


async def test_one_byte_a_second_ends_at_the_timeout(caplog: pytest.LogCaptureFixture) -> None:
    gate = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for byte in b"a 1\nb 2\n":
            writer.write(bytes((byte,)))
            await writer.drain()
            gate.set()
            await settle()
        await asyncio.Event().wait()

    async with (
        Peer(drip) as peer,
        Peer(answer(PAGE)) as other,
        Running(peer, other, scrape_timeout="3s") as running,
    ):
        await advance_until(running.clock, gate.is_set, step_s=0.1)
        began_s = running.clock.monotonic()
        await advance_until(
            running.clock,
            lambda: running.value("mlsysops_receiver_scrapes", outcome="failure"),
            step_s=0.1,
        )
        ended_s = running.clock.monotonic()
        await running.clock.advance(INTERVAL_S)
        await wait_until(lambda: other.requests)  # the other one is not held up
        points = next(p for p in map(read, running.sink.payloads) if not p.values["up"])

    assert 2.8 <= ended_s - began_s <= 3.3
    assert {} == points.page
    assert points.values["scrape_duration_seconds"] == pytest.approx(3.0, abs=0.2)
    assert "no complete answer within 3s, " in caplog.text


async def test_a_page_without_end_is_capped(caplog: pytest.LogCaptureFixture) -> None:
    """A page of 200 MB costs no more than the limit, and its reason is seen."""
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        piece = (b"# " + b"x" * 1_021 + b"\n") * 64
        while True:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    async with Peer(flood) as peer, Running(peer, body_size_limit="2MB") as running:
        points = await running.scrape_one()

    assert (0.0, {}) == (points.values["up"], points.page)
    assert "body size limit exceeded: a page above 2097152 bytes" in caplog.text
    assert sent < 16 << 20
    assert running.settings.memory.peak < 4 << 20


async def test_a_page_that_says_that_it_is_too_large_is_not_read() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 209715200\r\n\r\n"
    async with Peer(head) as peer, Running(peer) as running:
        points = await running.scrape_one()

    assert 0.0 == points.values["up"]
    assert running.host.reports[0][1].endswith("a page above 67108864 bytes")


async def test_pipelines_that_refuse_lose_one_scrape_and_not_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Peer(answer(PAGE)) as peer, Running(peer) as running:
        await running.scrape()
        running.sink.error = RetryableError("no memory")
        await running.clock.advance(INTERVAL_S)
        await wait_until(lambda: running.value("otelcol_receiver_refused_metric_points"))
        running.sink.error = None
        points = await running.scrape_one()

    assert (7.0, 14.0) == (
        running.value("otelcol_receiver_refused_metric_points", transport="http"),
        running.value("otelcol_receiver_accepted_metric_points", receiver="prometheus"),
    )
    assert 2 == len(points.page)
    assert "Scrape commit failed: no memory" in caplog.text
    assert [] == running.host.reports  # nothing is wrong with the target


async def test_where_there_is_no_memory_the_page_is_not_even_read() -> None:
    async with Peer(answer(PAGE)) as peer, Running(peer) as running:
        await running.scrape()
        running.sink.admit_error = RetryableError("no memory")
        await running.clock.advance(INTERVAL_S)
        await wait_until(lambda: running.value("otelcol_receiver_refused_metric_points"))
        running.sink.admit_error = None
        points = await running.scrape_one()

    assert 7.0 == running.value("otelcol_receiver_refused_metric_points")
    assert (2, set()) == (len(points.page), points.stale)


async def test_pipelines_that_take_their_time_are_not_asked_twice() -> None:
    async with Peer(answer(PAGE)) as peer, Running(peer) as running:
        running.sink.gate = asyncio.Event()
        await running.clock.advance(INTERVAL_S)
        await wait_until(lambda: running.value("mlsysops_receiver_scrapes", outcome="success"))
        await running.clock.advance(2 * INTERVAL_S)
        running.sink.gate.set()
        await running.settled()

    assert 2.0 == running.value("mlsysops_receiver_scrapes", outcome="missed")
    assert 1 == len(running.sink.payloads)


async def test_a_target_limit_fails_every_scrape_of_the_job() -> None:
    async with (
        Peer(answer(PAGE)) as one,
        Peer(answer(PAGE)) as two,
        Running(one, two, target_limit=1) as running,
    ):
        results = await running.scrape()

    assert [0.0, 0.0] == [points.values["up"] for points in results]
    assert "target_limit exceeded (number of targets: 2, limit: 1)" in running.host.reports[0][1]


async def test_targets_come_and_go_with_their_file(tmp_path: Path) -> None:
    """A target that is gone ends with stale markers for all, its reports too."""
    file = tmp_path / "targets.json"
    async with Peer(answer("one 1\n")) as one, Peer(answer("two 2\n")) as two:
        file.write_text(f'[{{"targets": ["{one.address}"], "labels": {{"rack": "7"}}}}]')
        sources = [{"files": [str(file)]}]
        async with Running(file_sd_configs=sources) as running:
            await wait_until(lambda: running.loops)
            first = await running.scrape_one()
            file.write_text(f'[{{"targets": ["{two.address}"]}}]')
            before = len(running.sink.payloads)
            await advance_until(
                running.clock,
                lambda: [loop.target.url.port for loop in running.loops] == [two.port],
            )
            await wait_until(lambda: any(read(p).stale for p in running.sink.payloads[before:]))
            last = [read(p) for p in running.sink.payloads[before:]]
            second = await running.scrape_one()

    assert {'one{rack="7"}': 1.0} == first.page
    (markers,) = (points for points in last if points.stale)
    assert {'one{rack="7"}', 'up{rack="7"}'} <= markers.stale
    assert {} == markers.values
    assert {"two": 2.0} == second.page


async def test_the_last_scrape_comes_at_the_end_where_it_is_asked_for() -> None:
    async with (
        Peer(answer(PAGE)) as peer,
        Running(peer, top={"scrape_on_shutdown": True}) as running,
    ):
        pass

    (payload,) = running.sink.payloads
    assert {"a": 1.0, 'b{x="1"}': 2.0} == read(payload).page


async def test_stopping_marks_nothing_as_stale() -> None:
    """It is we who go; whoever takes over scrapes on."""
    async with Peer(answer(PAGE)) as peer, Running(peer) as running:
        await running.scrape()

    assert 1 == len(running.sink.payloads)


async def test_stopping_gives_up_what_is_under_way() -> None:
    asked = asyncio.Event()

    async def never(_: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with Peer(never) as peer, Running(peer) as running:
        await running.clock.advance(INTERVAL_S)
        await asked.wait()
        async with asyncio.timeout(2):
            await running.receiver.shutdown()

    assert [] == running.sink.payloads


async def test_an_initial_offset_is_the_same_for_all() -> None:
    async with (
        Peer(answer(PAGE)) as one,
        Peer(answer(PAGE)) as two,
        Running(one, two, top={"initial_scrape_offset": "1s"}) as running,
    ):
        await running.clock.advance(0.9)
        assert (one.requests, two.requests) == ([], [])
        await running.clock.advance(0.2)
        await wait_until(lambda: one.requests and two.requests)


async def test_jobs_in_files_of_their_own(tmp_path: Path) -> None:
    async with Peer(answer(PAGE)) as peer:
        (tmp_path / "more.yml").write_text(
            "scrape_configs:\n- job_name: more\n  scrape_interval: 10s\n"
            f"  static_configs: [{{targets: ['{peer.address}']}}]\n"
        )
        top = {"config": {"scrape_config_files": [str(tmp_path / "*.yml")]}}
        async with Running(top=top) as running:
            points = await running.scrape_one()

    assert "more" == points.resources[0]["service.name"]


async def test_what_is_wrong_with_a_file_of_jobs_is_said_with_its_place(tmp_path: Path) -> None:
    from mlsysops_pipeline.errors import ConfigError

    (tmp_path / "more.yml").write_text("scrape_configs:\n- job_name: a\n  scrape_intervl: 1s\n")
    running = Running(top={"config": {"scrape_config_files": [str(tmp_path / "more.yml")]}})
    with pytest.raises(ConfigError, match=r'more\.yml:3:3: .*did you mean "scrape_interval"'):
        await running.receiver.start()
    missing = Running(top={"config": {"scrape_config_files": [str(tmp_path / "none.yml")]}})
    with pytest.raises(ConfigError, match="No such file"):
        await missing.receiver.start()


@pytest.mark.parametrize("place", ["Page._content_type", "TargetLoop._all_steps"])
async def test_a_fault_of_ours_fails_one_scrape_and_not_the_next(
    place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlsysops_receivers.prometheus import loops

    async with Peer(answer(PAGE)) as peer, Running(peer) as running:
        with monkeypatch.context() as patch:
            name, _, method = place.partition(".")
            patch.setattr(getattr(loops, name), method, lambda *_: 1 / 0)
            failed = await running.scrape_one()
        good = await running.scrape_one()

    assert (0.0, 1.0) == (failed.values["up"], good.values["up"])
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.slow
async def test_a_slow_or_huge_target_harms_no_other() -> None:
    """With real time: many small targets keep their rhythm beside one that is huge and new."""
    huge = "".join(f'h{{n="{number}"}} {number}\n' for number in range(10_000))
    keys: dict[str, Any] = {"scrape_interval": "1s", "is_real_time": True}

    async def slow(_: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    rules = [{"source_labels": ["path"], "target_label": "__metrics_path__"}]
    async with Peer(answer(PAGE)) as small, Peer(answer(huge)) as large, Peer(slow) as stuck:
        groups: list[dict[str, Any]] = [
            {"targets": [small.address], "labels": {"path": f"/{number}"}} for number in range(20)
        ]
        groups.append({"targets": [large.address, stuck.address], "labels": {"path": "/metrics"}})
        async with Running(static_configs=groups, relabel_configs=rules, **keys) as running:
            await wait_until(lambda: len(small.requests) >= 60, 6.0)
            results = [read(payload).values for payload in running.sink.payloads]

    ups = [value for values in results for name, value in values.items() if name.startswith("up{")]
    small_ups = ups.count(1.0)
    assert len(small.requests) >= 60
    assert small_ups >= len(small.requests) - 1


async def test_many_pages_that_are_new_are_read_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were all read at once, all would be late, and none of them ever known."""
    from mlsysops_receivers.prometheus import pages

    monkeypatch.setattr(pages, "_SLICE_S", 0.0)
    page = "".join(f'h{{n="{number}"}} {number}\n' for number in range(2_000))
    top = {"initial_scrape_offset": "10ms"}
    keys: dict[str, Any] = {"scrape_interval": "5s", "is_real_time": True, "top": top}
    async with Peer(answer(page)) as one, Peer(answer(page)) as two, Running(one, two, **keys) as r:
        await wait_until(lambda: len(r.sink.payloads) >= 2)
        results = [read(payload) for payload in r.sink.payloads[:2]]

    assert [2_000, 2_000] == [len(points.page) for points in results]


@pytest.mark.parametrize(
    ("content_type", "fallback", "page"),
    [
        ("", None, "a 1\n"),
        ("text/html", None, "a 1\n"),
        ("not a type", "PrometheusText0.0.4", "a 1\n"),
        ("", "OpenMetricsText1.0.0", "a 1\n# EOF\n"),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", None, "a 1\n# EOF\n"),
        ("TEXT/PLAIN", "OpenMetricsText1.0.0", "a 1\n"),
    ],
)
async def test_a_page_of_an_unknown_type_is_read_as_written(
    content_type: str, fallback: str | None, page: str
) -> None:
    async with (
        Peer(answer(page, content_type=content_type)) as peer,
        Running(peer, fallback_scrape_protocol=fallback) as running,
    ):
        points = await running.scrape_one()

    assert (1.0, {"a": 1.0}) == (points.values["up"], points.page)


async def test_targets_come_from_a_server() -> None:
    async with Peer(answer(PAGE)) as target, Peer() as server:
        listing = f'[{{"targets": ["{target.address}"], "labels": {{"zone": "z"}}}}]'
        server.reply = answer(listing, content_type="application/json")
        sources = [{"url": f"http://{server.address}/targets", "refresh_interval": "5s"}]
        async with Running(http_sd_configs=sources) as running:
            await wait_until(lambda: running.loops)
            first = await running.scrape_one()
            server.reply = answer("no", "500 Internal Server Error")
            asked = len(server.requests)
            second = await running.scrape_one()
            await wait_until(lambda: len(server.requests) > asked and running.host.reports)

    assert {'a{zone="z"}', 'b{x="1",zone="z"}'} == set(first.page) == set(second.page)
    status, message = running.host.reports[-1]
    assert Status.OK is status
    assert message.startswith("1 list of targets cannot be used, such as http://127.0.0.1:")
    assert 1 <= running.value("mlsysops_receiver_discovery_failures", job="j")


async def test_what_was_read_is_handed_on_before_stopping() -> None:
    async with Peer(answer(PAGE)) as peer, Running(peer) as running:
        running.sink.gate = asyncio.Event()
        await running.clock.advance(INTERVAL_S)
        await wait_until(lambda: running.value("mlsysops_receiver_scrapes", outcome="success"))
        stopping = asyncio.get_running_loop().create_task(running.receiver.shutdown())
        await running.clock.advance(1.0)
        assert not stopping.done()
        running.sink.gate.set()
        await stopping

    assert 1 == len(running.sink.payloads)


async def test_pipelines_that_never_take_it_do_not_keep_us() -> None:
    async with Peer(answer(PAGE)) as peer, Running(peer) as running:
        running.sink.gate = asyncio.Event()
        await running.clock.advance(INTERVAL_S)
        await wait_until(lambda: running.value("mlsysops_receiver_scrapes", outcome="success"))
        stopping = asyncio.get_running_loop().create_task(running.receiver.shutdown())
        await running.clock.advance(6.0)
        await stopping

    assert [] == running.sink.payloads


async def test_a_program_with_the_client_library_of_prometheus() -> None:
    """Its server speaks HTTP/1.0 in one thread a request, and answers what is asked for."""
    registry = prometheus_client.CollectorRegistry()
    counter = prometheus_client.Counter("jobs", "Jobs done.", ["kind"], registry=registry)
    counter.labels("x").inc(3, exemplar={"trace_id": "0123456789abcdef0123456789abcdef"})
    prometheus_client.Histogram("took_seconds", "How long.", registry=registry).observe(0.2)
    server, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry)
    targets = [{"targets": [f"127.0.0.1:{server.server_port}"]}]
    async with Running(static_configs=targets) as running:
        points = await running.scrape_one()
        again = await running.scrape_one()
    await asyncio.to_thread(server.shutdown)
    server.server_close()
    thread.join()

    assert (1.0, 3.0, 1.0) == (
        points.values["up"],
        points.values['jobs_total{kind="x"}'],
        points.values["took_seconds"],
    )
    assert points.page.keys() == again.page.keys()


async def test_pipelines_that_fail_lose_one_scrape_and_not_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Peer(answer(PAGE)) as peer, Running(peer) as running:
        running.sink.error = ZeroDivisionError("a fault of theirs")
        await running.clock.advance(INTERVAL_S)
        await wait_until(lambda: running.value("otelcol_receiver_refused_metric_points"))
        running.sink.error = None
        points = await running.scrape_one()

    assert 2 == len(points.page)
    assert "a fault of theirs" in caplog.text
