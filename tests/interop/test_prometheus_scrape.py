"""Prometheus scrapes the `prometheus` exporter of a collector process, and PromQL finds the values.

In both formats, plain and by TLS with a password; every type, an example, an end of a series, and
what `promtool check metrics` says of the page.
"""

from __future__ import annotations

import json
import math
import shutil
import ssl
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
import trustme

from tests.exporters.prometheus.building import NOW_NS, Request, families, label, samples
from tests.interop.conftest import Collector, Program, free_port, require, running, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLLECTOR = """
extensions:
  basicauth: {htpasswd: {inline: "prometheus:secret"}}
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "127.0.0.1:$GRPC$"}
      http: {endpoint: "127.0.0.1:$HTTP$"}
exporters:
  prometheus: {endpoint: "127.0.0.1:PAGE", MORE}
service:
  telemetry: {metrics: {level: none}}
  extensions: [basicauth]
  pipelines:
    metrics: {receivers: [otlp], exporters: [prometheus]}
"""
RESOURCE = {"service.name": "shop", "service.instance.id": "i-1", "host.name": "nöde"}


@dataclass
class Scraped:
    """A collector with a page, and the Prometheus that reads it."""

    collector: Collector
    page_url: str
    context: ssl.SSLContext | None
    api_port: int

    def send(self, request: Request) -> None:
        url = f"http://127.0.0.1:{self.collector.http_port}/v1/metrics"
        body = request.message.SerializeToString()
        headers = {"Content-Type": "application/x-protobuf"}
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
            assert 200 == response.status

    def page(self, accept: str = "text/plain") -> str:
        headers = {"Accept": accept, "Authorization": "Basic cHJvbWV0aGV1czpzZWNyZXQ="}
        request = urllib.request.Request(self.page_url, headers=headers)  # noqa: S310  our own page
        with urllib.request.urlopen(request, context=self.context) as response:  # noqa: S310  same
            text: str = response.read().decode()
            return text

    def get(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.api_port}{path}?{urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            answer = json.load(response)
        assert "success" == answer["status"]
        return answer["data"]

    def is_ready(self) -> bool:
        try:
            self.get("/api/v1/query", query="1")
        except OSError:
            return False
        return True

    def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The values of an expression now, by labels without job and instance."""
        return {
            tuple(
                sorted(
                    item for item in each["metric"].items() if item[0] not in {"job", "instance"}
                )
            ): float(each["value"][1])
            for each in self.get("/api/v1/query", query=expression)["result"]
        }


@pytest.fixture(params=["text", "open metrics, TLS, password"])
def scraped(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scraped]:
    path = shutil.which("prometheus")
    require(path, "prometheus")
    is_open = request.param != "text"
    page, api = free_port(), free_port()
    more, scrape = "send_timestamps: false", ""
    context = None
    if is_open:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        more = (
            "enable_open_metrics: true, send_timestamps: true, auth: {authenticator: basicauth}, "
            f'tls: {{cert_file: "{tmp_path}/server.pem", key_file: "{tmp_path}/server.pem"}}'
        )
        scrape = (
            f"scheme: https, tls_config: {{ca_file: {tmp_path}/ca.pem}}, "
            "basic_auth: {username: prometheus, password: secret}, "
        )
    settings = tmp_path / "prometheus.yml"
    settings.write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        f"scrape_configs: [{{job_name: x, honor_labels: true, {scrape}"
        f'static_configs: [{{targets: ["127.0.0.1:{page}"]}}]}}]\n'
    )
    collector = Collector(tmp_path, COLLECTOR.replace("PAGE", str(page)).replace("MORE", more))
    prometheus_command = [
        str(path), f"--config.file={settings}", f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{api}", "--enable-feature=exemplar-storage",
    ]  # fmt: skip
    with (
        running(collector, collector.http_port, page),
        running(Program(prometheus_command, tmp_path / "prometheus.log"), api),
    ):
        url = f"http{'s' if is_open else ''}://127.0.0.1:{page}/metrics"
        found = Scraped(collector, url, context, api)
        wait_for(found.is_ready, "Prometheus")
        yield found


def everything(at: float) -> Request:
    """Every type that there is."""
    request = Request(RESOURCE, scope="shop.lib")
    request.gauge("temperature", 20.5, at, room="küche").gauge(
        "temperature", math.inf, at, room='"\n'
    )
    request.gauge("odd", math.nan, at)
    request.sum("requests", 7, at, code=200).sum("requests", 1, at, code=500)
    request.sum("queue", -3, at, is_monotonic=False)
    point = request.histogram("latency", [0.5, 1.0, 2.5], [1, 2, 3, 4], at, total=17.25)
    trace = {"trace_id": b"\1" * 16, "span_id": b"\2" * 8}
    point.exemplars.add(as_double=0.75, time_unix_nano=point.time_unix_nano, **trace)
    data = request.metric("size").exponential_histogram
    data.aggregation_temporality = 2
    power = data.data_points.add(scale=3, count=3, sum=7.5, zero_count=1)
    power.time_unix_nano = point.time_unix_nano
    power.positive.offset = 8
    power.positive.bucket_counts.extend([1, 1])
    summary = request.metric("quantiles").summary.data_points.add(count=4, sum=8)
    summary.time_unix_nano = point.time_unix_nano
    summary.quantile_values.add(quantile=0.5, value=2)
    untyped = request.metric("unknown")
    label(untyped.metadata, "prometheus.type", "unknown")
    untyped.gauge.data_points.add(as_int=1, time_unix_nano=point.time_unix_nano)
    return request


def now() -> float:
    """Seconds since the beginning of the requests' time."""
    return time.time() - NOW_NS / 1e9


def test_prometheus_reads_every_type(scraped: Scraped) -> None:
    scope = ("otel_scope_name", "shop.lib")
    scraped.send(everything(now()))
    scraped.collector.wait_for(
        lambda: scraped.query('{job="shop",__name__="quantiles"}'), "a scrape"
    )
    assert {(("__name__", "up"),): 1} == scraped.query("up")
    found = scraped.query('{job="shop",__name__=~"temperature|requests_total|queue|unknown"}')
    assert {
        (("__name__", "temperature"), scope, ("room", "küche")): 20.5,
        (("__name__", "temperature"), scope, ("room", '"\n')): math.inf,
        (("__name__", "requests_total"), ("code", "200"), scope): 7,
        (("__name__", "requests_total"), ("code", "500"), scope): 1,
        (("__name__", "queue"), scope): -3,
        (("__name__", "unknown"), scope): 1,
    } == found
    assert math.isnan(next(iter(scraped.query("odd").values())))
    buckets = scraped.query("sum by (le) (latency_bucket)")
    assert {0.5: 1, 1.0: 3, 2.5: 6, math.inf: 10} == {
        float(dict(labels)["le"]): value for labels, value in buckets.items()
    }
    assert {17.25} == set(scraped.query("latency_sum").values())
    sizes = scraped.query("sum by (le) (size_bucket)")
    assert {0.0: 1, 2.0: 1, 4.0: 3, math.inf: 3} == {
        float(dict(labels)["le"]): value for labels, value in sizes.items()
    }
    assert {(("__name__", "quantiles"), scope, ("quantile", "0.5")): 2} == scraped.query(
        "quantiles"
    )
    target = scraped.get("/api/v1/query", query="target_info")["result"][0]["metric"]
    assert {
        "__name__": "target_info",
        "job": "shop",
        "instance": "i-1",
        "host_name": "nöde",
    } == target


def test_prometheus_knows_types_and_examples(scraped: Scraped) -> None:
    scraped.send(everything(now()))
    scraped.collector.wait_for(lambda: scraped.query("quantiles"), "a scrape")
    metadata = scraped.get("/api/v1/metadata")
    is_open = scraped.context is not None
    expected = {"temperature": "gauge", "latency": "histogram", "quantiles": "summary"}
    expected["requests" if is_open else "requests_total"] = "counter"
    assert expected == {name: metadata[name][0]["type"] for name in expected}
    if is_open:
        (found,) = scraped.get(
            "/api/v1/query_exemplars",
            query="latency_bucket",
            start=str(time.time() - 60),
            end=str(time.time() + 60),
        )
        assert ("1.0", "01" * 16) == (
            found["seriesLabels"]["le"],
            found["exemplars"][0]["labels"]["trace_id"],
        )


def test_an_end_reaches_prometheus(scraped: Scraped) -> None:
    scraped.send(everything(now()))
    scraped.collector.wait_for(lambda: 2 == len(scraped.query("temperature")), "a scrape")
    scraped.send(
        Request(RESOURCE, scope="shop.lib").gauge("temperature", None, now(), room="küche")
    )
    is_open = scraped.context is not None
    if is_open:
        # Samples with explicit times get no stale marker (SC-3), but there are no new ones either.
        assert "küche" not in scraped.page()
    else:
        scraped.collector.wait_for(lambda: 1 == len(scraped.query("temperature")), "the end")


def test_promtool_finds_nothing_that_cannot_be_read(scraped: Scraped) -> None:
    tool = shutil.which("promtool")
    require(tool, "promtool")
    scraped.send(everything(now()))
    page = scraped.page()
    done = subprocess.run(
        [str(tool), "check", "metrics"], input=page.encode(), capture_output=True, check=False
    )
    assert done.returncode in {0, 3}, done.stderr  # 3: readable, and not as it likes to see it
    assert 21 < len(samples(page))
    assert {"temperature", "latency", "target_info"} <= {family.name for family in families(page)}
