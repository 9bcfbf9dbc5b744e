"""The tempo exporter: which of the two transports of OTLP an endpoint means."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_exporters import tempo
from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.config.schema import Severity
from mlsysops_pipeline.delivery.otlp_grpc import OtlpGrpcExporter
from mlsysops_pipeline.delivery.otlp_http import OtlpHttpExporter
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_payload, make_settings
from mlsysops_pipeline.transport.compression import decompress
from tests.core.transport.grpc_peers import grpcio_server
from tests.exporters.test_otlp_http import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def configured(endpoint: str, **others: Any) -> tempo.Config:
    return parse_config(tempo.Config, {"endpoint": endpoint, **others})


def warnings(config: tempo.Config) -> list[str]:
    found = list(config.check())
    assert all(finding.severity is Severity.WARNING for finding in found)
    return [finding.message for finding in found]


@pytest.mark.parametrize(
    "endpoint",
    ["tempo:4317", "http://tempo:4317", "https://tempo:4317/", "[::1]:4317", "http://tempo:3200"],
)
def test_a_host_and_a_port_are_grpc(endpoint: str) -> None:
    config = configured(endpoint)

    exporter = tempo.FACTORY.create(config, make_settings("tempo", kind=Kind.EXPORTER), None)

    assert isinstance(exporter, OtlpGrpcExporter)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://tempo:4318", "http://tempo:4318/v1/traces"),
        ("http://tempo:4318/", "http://tempo:4318/v1/traces"),
        ("https://tempo/otlp", "https://tempo/otlp/v1/traces"),
        ("https://tempo:4317/otlp/v1/traces", "https://tempo:4317/otlp/v1/traces"),
        ("http://tempo", "http://tempo/v1/traces"),
        ("http://[::1]", "http://[::1]/v1/traces"),
    ],
)
def test_a_url_with_a_path_or_the_port_of_http_is_http(endpoint: str, url: str) -> None:
    config = configured(endpoint)

    exporter = tempo.FACTORY.create(config, make_settings("tempo", kind=Kind.EXPORTER), None)

    assert isinstance(exporter, OtlpHttpExporter)
    assert url == config.http().url(Signal.TRACES).text


@pytest.mark.parametrize("endpoint", ["", "tempo", "ftp://tempo:1", "tempo:port", "http://"])
def test_what_is_no_endpoint_is_an_error(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="endpoint"):
        configured(endpoint)


def test_without_scheme_and_tls_it_is_plaintext_and_a_warning_says_so() -> None:
    config = configured("tempo:4317")

    assert config.is_plaintext
    assert ["traces are sent in plaintext: there is neither a scheme nor `tls`"] == warnings(config)


def test_a_scheme_says_what_is_meant_so_nothing_is_warned_about() -> None:
    assert [] == warnings(configured("http://tempo:4317"))
    assert [] == warnings(configured("https://tempo:4317"))
    assert [] == warnings(configured("http://tempo:4318"))


@pytest.mark.parametrize(
    ("endpoint", "message", "suggestion"),
    [
        ("tempo:4318", "speaks gRPC to 4318, the port of OTLP/HTTP", "write http://tempo:4318"),
        ("http://tempo:3200", "3200 is usually Tempo's port for queries", "write tempo:4317"),
        ("https://tempo:3200/x", "3200 is usually Tempo's port for queries", "write tempo:4317"),
    ],
)
def test_ports_that_are_usual_for_something_else_are_reported(
    endpoint: str, message: str, suggestion: str
) -> None:
    (found, *_) = configured(endpoint).check()

    assert Severity.WARNING is found.severity
    assert found.message.startswith(message)
    assert suggestion == found.suggestion


def test_tls_is_as_written() -> None:
    insecure = configured("tempo:4317", tls={"insecure": True})
    secure = configured("tempo:4317", tls={})

    assert insecure.is_plaintext
    assert [] == warnings(insecure)
    assert not secure.is_plaintext
    assert not configured("https://tempo:4317").is_plaintext


def test_keys_of_grpc_alone_are_reported_with_http() -> None:
    config = configured("http://tempo:4318", keepalive={"time": "20s"}, authority="x")

    assert ["has no effect here: http://tempo:4318 is OTLP/HTTP"] * 2 == warnings(config)


def test_loops_are_found_by_the_endpoint_of_either() -> None:
    for endpoint in ("tempo:4318", "http://tempo:4318"):
        (found,) = configured(endpoint).destinations()
        assert ("tempo", 4318) == (found.host, found.port)


def test_it_is_for_traces_only() -> None:
    assert {Signal.TRACES} == tempo.FACTORY.signals


@contextlib.asynccontextmanager
async def exporter_to(endpoint: str) -> AsyncIterator[Any]:
    settings = make_settings(
        "tempo", kind=Kind.EXPORTER, clock=SystemClock(), signals=[Signal.TRACES]
    )
    exporter = tempo.FACTORY.create(configured(endpoint), settings, None)
    await exporter.start()
    try:
        yield exporter
    finally:
        await exporter.shutdown()


async def test_spans_arrive_over_grpc() -> None:
    payload = make_payload(Signal.TRACES, 3)
    with grpcio_server(lambda _request, _context: b"") as server:
        async with exporter_to(f"127.0.0.1:{server.port}") as exporter:
            assert await exporter.export(payload) is None

    assert [Signal.TRACES.method] == server.methods
    assert [payload.joined()] == server.requests


async def test_spans_arrive_over_http() -> None:
    payload = make_payload(Signal.TRACES, 3)
    async with web() as site, exporter_to(f"{site.url}/otlp") as exporter:
        assert await exporter.export(payload) is None

    (request,) = site.requests
    assert ("POST", "/otlp/v1/traces") == (request.method, request.target)
    assert payload.joined() == decompress("gzip", request.body, 1 << 20)
