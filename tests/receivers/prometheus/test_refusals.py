"""What is done about scrapes that pipelines refuse, and about pages that are too large for us."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.errors import RetryableError
from mlsysops_pipeline.testing import advance_until, wait_until
from mlsysops_receivers.prometheus import jobs
from mlsysops_receivers.prometheus.scrape.target import OWED_BYTES_MAX
from tests.receivers.prometheus.peers import Peer, answer
from tests.receivers.prometheus.running import INTERVAL_S, Points, Running, read
from tests.receivers.prometheus.scrape.scraping import AT_NS, REPORT, Bench, metrics_of, values_of

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def refused(running: Running) -> None:
    """A scrape that the pipelines do not take."""
    running.sink.error = RetryableError("no memory")
    before = running.value("otelcol_receiver_refused_metric_points")
    await running.clock.advance(INTERVAL_S)
    await wait_until(lambda: running.value("otelcol_receiver_refused_metric_points") > before)
    await running.settled()
    running.sink.error = None


async def test_what_ended_in_a_refused_scrape_is_told_with_the_next() -> None:
    """SC-3, PI-8: once it is taken, not again; with the time at which it ended."""
    async with Peer(answer("a 1\nb 1\nc 1\n")) as peer, Running(peer) as running:
        first = await running.scrape_one()
        peer.reply = answer("a 1\nc 1\n")
        await refused(running)
        peer.reply = answer("a 1\n")
        await refused(running)
        second = await running.scrape_one()
        third = await running.scrape_one()

    assert {"a": 1.0} == second.page
    assert {"b", "c"} == second.stale_page
    assert second.times["a"] > second.times["c"] > second.times["b"] > first.times["a"]
    assert set() == third.stale


async def test_a_series_that_is_back_after_a_refused_scrape_is_there() -> None:
    """Its marker comes before its value."""
    async with Peer(answer("a 1\nb 1\n")) as peer, Running(peer) as running:
        await running.scrape()
        peer.reply = answer("a 1\n")
        await refused(running)
        peer.reply = answer("a 1\nb 2\n")
        await running.scrape()
        groups = [read(payload) for payload in running.sink.payloads]
        points: Points = groups[-1]

    assert {"a": 1.0, "b": 2.0} == points.page
    assert {"b"} == points.stale_page
    assert points.times["a"] == points.times["b"]  # that of the value, which is the last one


async def test_what_ended_in_a_failed_scrape_that_was_refused_is_told_later() -> None:
    """SC-2: in the next failure, or by the page that comes after it."""
    async with Peer(answer("a 1\nb 1\n")) as peer, Running(peer) as running:
        await running.scrape()
        peer.reply = answer("", "500 Internal Server Error")
        await refused(running)
        failed = await running.scrape_one()
        failed_again = await running.scrape_one()
        peer.reply = answer("a 1\nb 1\n")
        await running.scrape()
        peer.reply = answer("", "500 Internal Server Error")
        await refused(running)
        peer.reply = answer("a 1\n")
        back = await running.scrape_one()

    assert {"a", "b"} == failed.stale_page
    assert set() == failed_again.stale
    assert ({"a": 1.0}, {"b"}) == (back.page, back.stale_page)


async def test_the_end_of_a_target_is_told_until_it_is_heard(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    async with Peer(answer("a 1\n")) as peer:
        file.write_text(f'[{{"targets": ["{peer.address}"]}}]')
        sources = [{"files": [str(file)], "refresh_interval": "1s"}]
        async with Running(file_sd_configs=sources) as running:
            await wait_until(lambda: running.loops)
            await running.scrape()
            running.sink.error = RetryableError("no memory")
            file.write_text("[]")
            await advance_until(running.clock, lambda: not running.loops)
            await wait_until(lambda: running.value("otelcol_receiver_refused_metric_points"))
            running.sink.error = None
            before = len(running.sink.payloads)
            await running.clock.advance(5.0)
            await wait_until(lambda: len(running.sink.payloads) > before)
            await running.clock.advance(500.0)
            ends = [read(payload) for payload in running.sink.payloads[before:]]

    (end,) = ends
    assert {"a", "up"} <= end.stale


def test_what_is_owed_has_a_limit() -> None:
    """The latest markers are kept."""
    bench = Bench()
    name = "n" * 1_000
    for page in range(4):
        lines = [f'{name}{page}{{a="{n}{"x" * 200}"}} 1\n' for n in range(1_500)]
        bench.scrape("".join(lines))
        bench.series.refused()
    owed = bench.series._owed  # it shows nowhere else
    assert 0 < sum(len(metric) for _, metric in owed) <= OWED_BYTES_MAX
    assert name.encode() + b"2" in owed[-1][1]


def test_a_refused_failure_changes_no_series() -> None:
    """Layouts stay as they are, so that what is there again is no new series."""
    bench = Bench()
    bench.scrape("a 1\nb 1\n")
    bench.series.fail(AT_NS, REPORT)
    bench.series.refused()

    metrics = bench.scrape("a 2\n")

    assert {"": None} == values_of(metrics["b"])
    assert {"": 2.0} == values_of(metrics["a"])
    assert "b" not in metrics_of(bench.scrape_all("a 3\n"))


async def test_a_target_above_our_ceiling_is_asked_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is down all the time, for the reason that was found, and is back when it is smaller."""
    monkeypatch.setattr(jobs, "SAMPLES_MAX", 2)
    ups = []
    async with Peer(answer("a 1\nb 1\nc 1\n")) as peer, Running(peer) as running:
        asked = []
        for _ in range(20):
            ups.append((await running.scrape_one()).values["up"])
            asked.append(len(peer.requests))
        (text,) = {text for _, text in running.host.reports}
        peer.reply = answer("a 1\n")
        ups += [(await running.scrape_one()).values["up"] for _ in range(6)]

    assert [1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4] == asked[:13]
    assert 5 == asked[-1]
    assert {0.0} == set(ups[:20])
    assert 1.0 == ups[-1]
    assert "the page has more than 2 samples; until it is smaller it is asked ever more" in text
    assert 1 == caplog.text.count("Failed to scrape")


async def test_a_target_above_a_limit_of_its_job_is_asked_each_time() -> None:
    async with (
        Peer(answer("a 1\nb 1\nc 1\n")) as peer,
        Running(peer, sample_limit=2, body_size_limit="11B") as running,
    ):
        for _ in range(4):
            await running.scrape()

    assert 4 == len(peer.requests)
