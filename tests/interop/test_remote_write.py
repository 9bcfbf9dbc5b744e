"""Prometheus and VictoriaMetrics take what the remote write exporter sends, and give it back.

Every type is sent as OTLP to a collector process, in rounds; half-way the collector is restarted,
and later the receiver. Then every sample is read back by PromQL and compared, value by value, with
what was sent.
"""

from __future__ import annotations

import json
import math
import shutil
import time
import urllib.request
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest

from tests.exporters.prometheusremotewrite.otlp import (
    counter,
    exponential,
    gauge,
    histogram,
    summary,
    wire,
)
from tests.interop.conftest import Collector, Program, free_port, require, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUNDS = 12
ODD = (math.inf, -math.inf, math.nan, 0.1, -0.0)
COLLECTOR = """
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "127.0.0.1:$GRPC$"}
      http: {endpoint: "127.0.0.1:$HTTP$"}
exporters:
  prometheus_remote_write:
    endpoint: "URL"
    retry_on_failure: {initial_interval: 50ms, max_interval: 500ms}
    external_labels: {replica: r1}
    max_batch_size_bytes: 1500
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [otlp], exporters: [prometheus_remote_write]}
"""
RESOURCE = {"service.name": "shop", "service.instance.id": "i-1", "host.name": "nöde"}
TARGET = {"instance": "i-1", "job": "shop", "replica": "r1"}


@dataclass
class Database:
    """Where metrics are kept: a program and its HTTP API."""

    port: int
    start: Callable[[], Program]
    has_native_histograms: bool

    def get(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}{path}?{urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)

    def query(self, expression: str, at_s: float) -> list[Any]:
        answer = self.get("/api/v1/query", query=expression, time=f"{at_s:.3f}")
        assert "success" == answer["status"]
        result: list[Any] = answer["data"]["result"]
        return result

    def samples(self, name: str, at_s: float) -> dict[tuple[tuple[str, str], ...], list[Any]]:
        """Every sample of a name, as it was stored, by labels."""
        return {
            tuple(sorted((k, v) for k, v in series["metric"].items() if k != "__name__")): [
                (round(when * 1000), float(value)) for when, value in series["values"]
            ]
            for series in self.query(f'{{__name__="{name}"}}[10m]', at_s)
        }


@pytest.fixture(params=["prometheus", "victoria-metrics"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    name = request.param
    path = shutil.which(name)
    require(path, name)
    port, folder = free_port(), tmp_path / name
    folder.mkdir()
    settings = folder / "prometheus.yml"
    settings.write_text("{}")
    if name == "prometheus":
        command = [
            str(path), f"--config.file={settings}", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver",
            "--enable-feature=native-histograms,exemplar-storage", "--log.level=warn",
        ]  # fmt: skip
    else:
        command = [
            str(path), f"-storageDataPath={folder}/data", f"-httpListenAddr=127.0.0.1:{port}",
            "-search.latencyOffset=0s", "-search.disableCache", "-retentionPeriod=1y",
        ]  # fmt: skip
    return Database(
        port, lambda: Program(command, folder / "log"), has_native_histograms=name == "prometheus"
    )


def metrics(turn: int, time_ms: int) -> list[Any]:
    """One round: every type."""
    return [
        gauge("temperature", (20.5 + turn, time_ms, {"room": "küche"}), unit="Cel"),
        gauge("odd", (ODD[turn % len(ODD)], time_ms)),
        counter("requests", (turn * 7, time_ms, {"code": 200}), (turn, time_ms, {"code": 500})),
        histogram("latency", time_ms, counts=(turn, 2 * turn, 1), sum_=1.5 * turn, unit="s"),
        exponential("native", time_ms),
        summary("quantiles", time_ms),
    ]


def expected(times_ms: list[int]) -> dict[str, dict[tuple[tuple[str, str], ...], list[Any]]]:
    """What has to be stored, worked out by hand."""
    turns = list(enumerate(times_ms))

    def of(value: Callable[[int], float], **labels: str) -> dict[Any, Any]:
        key = tuple(sorted({**TARGET, "otel_scope_name": "shop.lib", **labels}.items()))
        return {key: [(time_ms, value(turn)) for turn, time_ms in turns]}

    info = tuple(sorted({**TARGET, "host_name": "nöde"}.items()))
    return {
        "temperature_celsius": of(lambda turn: 20.5 + turn, room="küche"),
        "requests_total": of(lambda turn: turn * 7.0, code="200") | of(float, code="500"),
        "latency_seconds_bucket": of(float, le="1")
        | of(lambda turn: 3.0 * turn, le="2.5")
        | of(lambda turn: 3.0 * turn + 1, le="+Inf"),
        "latency_seconds_count": of(lambda turn: 3.0 * turn + 1),
        "latency_seconds_sum": of(lambda turn: 1.5 * turn),
        "quantiles": of(lambda _: 1.0, quantile="0.5") | of(lambda _: 3.5, quantile="0.99"),
        "quantiles_count": of(lambda _: 4.0),
        "quantiles_sum": of(lambda _: 8.5),
        "target_info": {info: [(time_ms, 1.0) for time_ms in times_ms]},
    }


def post(collector: Collector, *found: Any) -> None:
    body = wire(*found, resource=RESOURCE, scope="shop.lib")
    request = urllib.request.Request(
        f"http://127.0.0.1:{collector.http_port}/v1/metrics",
        body,
        {"content-type": "application/x-protobuf"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310  it is local
        assert 200 == response.status


@pytest.mark.timeout(120)
def test_every_sample_is_read_back_by_promql(database: Database, tmp_path: Path) -> None:
    config = COLLECTOR.replace("URL", f"http://127.0.0.1:{database.port}/api/v1/write")
    start_ms = int(time.time() * 1000) - 60_000
    times_ms = [start_ms + 1_000 * turn for turn in range(ROUNDS)]
    end_s = times_ms[-1] / 1000

    def is_stored(rounds: int) -> bool:
        try:
            found = database.samples("quantiles_sum", end_s)
        except HTTPError as error:
            assert 503 == error.code  # it has just started  # noqa: PT017
            return False
        return rounds == sum(map(len, found.values()))

    first, second = Collector(tmp_path, config), Collector(tmp_path, config)
    with running(second, second.http_port):
        with running(database.start(), database.port):
            with running(first, first.http_port):
                for turn in range(4):
                    post(first, *metrics(turn, times_ms[turn]))
            # The first collector is gone, so what it took has been delivered.
            second.wait_for(lambda: is_stored(4), "four rounds in the database")
            for turn in range(4, 8):
                post(second, *metrics(turn, times_ms[turn]))
            second.wait_for(lambda: is_stored(8), "eight rounds in the database")
        for turn in range(8, 10):  # the database is gone
            post(second, *metrics(turn, times_ms[turn]))
        with running(database.start(), database.port):
            for turn in range(10, ROUNDS):
                post(second, *metrics(turn, times_ms[turn]))
            second.wait_for(lambda: is_stored(ROUNDS), "all rounds in the database", 40)
            for name, series in expected(times_ms).items():
                assert series == database.samples(name, end_s), name
            _check_odd(database, times_ms)
            if database.has_native_histograms:
                _check_native(database, end_s)
            _check_end(database, second, times_ms[-1] + 1_000)


def _check_odd(database: Database, times_ms: list[int]) -> None:
    """Values that are no ordinary numbers. VictoriaMetrics keeps no NaN and no minus zero."""
    (samples,) = database.samples("odd", times_ms[-1] / 1000).values()
    sent = [(time_ms, ODD[turn % len(ODD)]) for turn, time_ms in enumerate(times_ms)]
    if database.has_native_histograms:
        assert repr(sent) == repr(samples)
    else:
        assert [pair for pair in sent if not math.isnan(pair[1])] == samples


def _check_native(database: Database, at_s: float) -> None:
    """The exponential histogram, by the functions of PromQL that read its parts."""
    for function, value in (("histogram_count", 9.0), ("histogram_sum", 12.5)):
        (found,) = database.query(f"{function}(native)", at_s)
        assert value == float(found["value"][1])
    # Of nine, one is negative, one is zero, and the others are above 0.5.
    (found,) = database.query("histogram_fraction(-Inf, 0.5, native)", at_s)
    assert pytest.approx(2 / 9) == float(found["value"][1])


def _check_end(database: Database, collector: Collector, time_ms: int) -> None:
    """Series that end are gone at once, not after five minutes (R1-7)."""
    at_s = time_ms / 1000 + 0.5
    label = {"room": "küche"}
    post(
        collector,
        gauge("temperature", (None, time_ms, label), unit="Cel"),
        histogram("latency", time_ms, is_stale=True, unit="s"),
        summary("quantiles", time_ms, is_stale=True),
    )
    for name in ("temperature_celsius", "latency_seconds_bucket", "latency_seconds_sum",
                 "latency_seconds_count", "quantiles", "quantiles_count"):  # fmt: skip
        assert database.query(name, at_s - 1)
        is_over = partial(_is_over, database, name, at_s)
        collector.wait_for(is_over, f"the end of {name}")
    assert database.query("requests_total", at_s)


def _is_over(database: Database, name: str, at_s: float) -> bool:
    return not database.query(name, at_s)
