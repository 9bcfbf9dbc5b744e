"""What is allowed and will disappoint: ports nobody listens on, pages that forget too soon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.config import ComponentConfig
from mlsysops_pipeline.config.schema import Duration, Endpoint, NetAddress
from mlsysops_pipeline.pdata.signal import Signal
from tests.core.config.conftest import METRICS, REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.core.config.conftest import Load


class Scraping(ComponentConfig):
    config: Any = None
    collection_interval: Any = None


class Page(ComponentConfig):
    endpoint: NetAddress = NetAddress("localhost", 9464)
    metric_expiration: Duration = 300.0

    def listeners(self) -> Iterable[Endpoint]:
        yield Endpoint.of(("endpoint",), self.endpoint)


WITH_PAGE = REGISTRY.extended(
    [
        Factory(Kind.RECEIVER, "prometheus", Scraping, print, METRICS),
        Factory(Kind.RECEIVER, "host", Scraping, print, frozenset(Signal)),
        Factory(Kind.EXPORTER, "prometheus", Page, print, METRICS),
    ]
)


def advice(load: Load, text: str, env: Mapping[str, str] | None = None) -> list[str]:
    """The warnings about one file, which must have no errors."""
    loaded = load(text, env=env, registry=WITH_PAGE)
    assert loaded.errors == []
    return loaded.warnings


OTLP = """\
receivers:
  otlp:
    protocols:
      grpc: {endpoint: '0.0.0.0:43170'}
      http:
        tls:
exporters: {debug: }
service: {pipelines: {logs: {receivers: [otlp], exporters: [debug]}}}
"""


@pytest.mark.parametrize(
    ("env", "lines"),
    [
        ({}, []),
        ({"MLS_OTEL_HTTP_PORT": "4318", "MLS_OTEL_GRPC_PORT": "43170"}, []),
        ({"MLS_OTEL_HTTP_PORT": "", "MLS_OTEL_GRPC_PORT": "many"}, []),
        (
            {"MLS_OTEL_HTTP_PORT": "43180"},
            [
                (
                    "F:5:7: receivers.otlp.protocols.http.endpoint: listens on localhost:4318, "
                    "the default, while MLS_OTEL_HTTP_PORT is 43180: the Pod and the Service open "
                    "port 43180, where nobody listens (write endpoint: 0.0.0.0:43180)"
                )
            ],
        ),
        (
            {"MLS_OTEL_GRPC_PORT": "50000"},
            [
                (
                    "F:4:24: receivers.otlp.protocols.grpc.endpoint: listens on 0.0.0.0:43170 "
                    "while MLS_OTEL_GRPC_PORT is 50000: the Pod and the Service open "
                    "port 50000, where nobody listens (write endpoint: 0.0.0.0:50000)"
                )
            ],
        ),
    ],
    ids=["no variables", "the same ports", "no ports", "http", "grpc"],
)
def test_a_port_that_the_environment_promises_is_listened_on(
    load: Load, env: Mapping[str, str], lines: list[str]
) -> None:
    assert lines == advice(load, OTLP, env)


def test_an_endpoint_that_is_written_at_another_port_is_warned_about_too(load: Load) -> None:
    text = OTLP.replace("tls:", "endpoint: '[::1]:4318'")
    (line,) = advice(load, text, {"MLS_OTEL_HTTP_PORT": "43180"})
    assert line.startswith("F:6:19: receivers.otlp.protocols.http.endpoint: listens on [::1]:4318")
    assert line.endswith("(write endpoint: [::1]:43180)")


def test_http_alone_has_nothing_at_the_port_of_grpc(load: Load) -> None:
    text = OTLP.replace("      grpc: {endpoint: '0.0.0.0:43170'}\n", "")
    (line,) = advice(load, text, {"MLS_OTEL_GRPC_PORT": "43170"})
    assert line.startswith("F:4:7: receivers.otlp.protocols.http.endpoint: listens on localhost")


def test_a_receiver_that_does_not_run_promises_nothing(load: Load) -> None:
    text = OTLP.replace("receivers: [otlp]", "receivers: [host]")
    text = text.replace("receivers:\n", "receivers:\n  host:\n", 1)
    (line,) = advice(load, text, {"MLS_OTEL_HTTP_PORT": "43180"})
    assert "not used" in line


SCRAPING = """\
receivers:
  otlp: {protocols: {grpc: }}
  host: {collection_interval: 40s}
  prometheus:
    config:
      global: {scrape_interval: 20s}
      scrape_configs:
        - {job_name: a, scrape_interval: 10s, static_configs: [{targets: ['n:9200', 'n:9100']}]}
        - job_name: b
exporters:
  prometheus: {metric_expiration: 15s}
  debug:
connectors: {forward: }
service:
  pipelines:
"""
ENTRY = "    metrics: {receivers: [RECEIVERS], exporters: [prometheus, debug]}\n"


def expiration(load: Load, receivers: str, text: str = SCRAPING) -> list[str]:
    """The warnings about `metric_expiration` where these receivers feed the page."""
    lines = advice(load, text + ENTRY.replace("RECEIVERS", receivers))
    return [line for line in lines if "used" not in line]


def hole(after: str, cause: str, least: str) -> str:
    return (
        f"F:11:35: exporters.prometheus.metric_expiration: series leave the page {after} after "
        f"their last value, and {cause}: one late value, and readers see a hole "
        f"(metric_expiration should be at least {least})"
    )


def test_series_stay_for_two_scrapes(load: Load) -> None:
    """The longest interval counts; without one of its own a job has the global one."""
    told = [hole("15s", "job b is scraped every 20s", "40s")]
    assert told == expiration(load, "prometheus")
    assert told == expiration(load, "otlp, prometheus")
    assert [] == expiration(load, "prometheus", SCRAPING.replace("15s", "40s"))
    short = SCRAPING.replace("        - job_name: b\n", "").replace("15s", "19999ms")
    (line,) = expiration(load, "prometheus", short)
    assert hole("19.999s", "job a is scraped every 10s", "20s").partition(" ")[2] in line
    assert [] == expiration(load, "prometheus", short.replace("19999ms", "20s"))


def test_without_an_interval_prometheus_scrapes_once_a_minute(load: Load) -> None:
    text = SCRAPING.replace("      global: {scrape_interval: 20s}\n", "      global:\n")
    (line,) = expiration(load, "prometheus", text.replace("15s", "119s"))
    assert "job b is scraped every 1m" in line
    assert [] == expiration(load, "prometheus", text.replace("15s", "2m"))


@pytest.mark.parametrize(("interval", "least"), [("1h30m", "3h"), ("1d", "48h"), ("1500ms", "3s")])
def test_intervals_are_read_as_prometheus_reads_them(load: Load, interval: str, least: str) -> None:
    text = SCRAPING.replace("        - job_name: b\n", "").replace("10s", interval)
    (line,) = expiration(load, "prometheus", text.replace("15s", "2s"))
    assert line.endswith(f"(metric_expiration should be at least {least})")


@pytest.mark.parametrize("interval", ["often", "[]", "", "'${env:NOTHING:-}'", "9" * 5000 + "s"])
def test_what_is_no_interval_is_for_the_component_to_refuse(load: Load, interval: str) -> None:
    text = SCRAPING.replace("scrape_interval: 10s", f"scrape_interval: {interval}")
    (line,) = expiration(load, "prometheus", text)
    assert "job a is scraped every 20s" in line or "job b" in line


def test_where_all_is_pushed_series_stay_for_half_a_minute(load: Load) -> None:
    told = [hole("15s", "programs push every 10 s, or more rarely", "30s")]
    assert told == expiration(load, "otlp")
    assert [] == expiration(load, "otlp", SCRAPING.replace("15s", "30s"))
    assert [] == expiration(load, "otlp", SCRAPING.replace("15s", "0s"))


def test_collected_metrics_count_like_scraped_ones(load: Load) -> None:
    assert [hole("15s", "host collects every 40s", "1m20s")] == expiration(load, "otlp, host")


def test_what_comes_over_a_connector_counts(load: Load) -> None:
    text = (
        SCRAPING
        + "    metrics/in: {receivers: [prometheus], exporters: [forward]}\n"
        + ENTRY.replace("RECEIVERS", "forward")
    )
    lines = [line for line in advice(load, text) if "used" not in line]
    assert [hole("15s", "job b is scraped every 20s", "40s")] == lines


def test_ports_of_the_page_and_of_node_exporter_are_compared_too(load: Load) -> None:
    text = SCRAPING.replace("15s", "2m") + ENTRY.replace("RECEIVERS", "prometheus")
    env = {"MLS_OTEL_PROM_PORT": "9999", "MLS_NODE_EXPORTER_PORT": "9300"}
    lines = [line for line in advice(load, text, env) if "used" not in line]
    assert ["F:8:75:", "F:11:3:"] == [line.partition(" ")[0] for line in lines]
    assert "scrapes port 9200 while MLS_NODE_EXPORTER_PORT is 9300" in lines[0]
    assert "listens on localhost:9464, the default, while MLS_OTEL_PROM_PORT is 9999" in lines[1]
