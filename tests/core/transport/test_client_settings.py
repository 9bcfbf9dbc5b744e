"""What files say about clients."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.config.schema import Endpoint, Severity
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.transport.client_settings import (
    GrpcClientConfig,
    GrpcEndpoint,
    HttpClientConfig,
    HttpUrl,
    KeepaliveClientConfig,
)
from mlsysops_pipeline.transport.dialing import Target


def grpc(**value: Any) -> GrpcClientConfig:
    return parse_config(GrpcClientConfig, {"endpoint": "peer:4317", **value})


def http(**value: Any) -> HttpClientConfig:
    return parse_config(HttpClientConfig, {"endpoint": "https://peer", **value})


@pytest.mark.parametrize(
    ("text", "scheme", "target"),
    [
        ("peer:4317", "", Target("peer", 4317)),
        ("http://peer:1", "http", Target("peer", 1)),
        ("https://peer:1", "https", Target("peer", 1)),
        ("https://peer:1/", "https", Target("peer", 1)),
        ("dns:///peer:1", "", Target("peer", 1)),
        ("dns://peer:1", "", Target("peer", 1)),
        ("[::1]:4317", "", Target("::1", 4317)),
        (":4317", "", Target("localhost", 4317)),
        ("unix:///run/x.sock", "", Target("", 0, "/run/x.sock")),
        ("unix:x.sock", "", Target("", 0, "x.sock")),
    ],
)
def test_endpoints(text: str, scheme: str, target: Target) -> None:
    """OG-8."""
    endpoint = GrpcEndpoint.parse(text)

    assert (scheme, target, text) == (endpoint.scheme, endpoint.target, str(endpoint))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("peer", "the port is missing"),
        ("http://peer", "the port is missing"),
        ("peer:x", "is not a number"),
        ("peer:0", "port 0 is nowhere"),
        ("peer:70000", "above 65535"),
        ("unix://", "cannot be empty"),
        ("ftp://peer:1", "is not known"),
        ("https://peer:1/v1/traces", "not a number"),
        ("http://", "the port is missing"),
    ],
)
def test_endpoints_that_are_none(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        GrpcEndpoint.parse(text)
    with pytest.raises(ConfigError, match=problem):
        grpc(endpoint=text)


@pytest.mark.parametrize("value", [{}, {"endpoint": ""}])
def test_an_endpoint_is_required(value: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match='requires a non-empty "endpoint"'):
        parse_config(GrpcClientConfig, value)


@pytest.mark.parametrize(
    ("endpoint", "tls", "is_plaintext"),
    [
        ("peer:1", {}, False),
        ("peer:1", {"insecure": True}, True),
        ("peer:1", {"insecure": True, "ca_file": "ca.pem"}, False),
        ("http://peer:1", {}, True),
        ("http://peer:1", {"insecure": True}, True),
        ("https://peer:1", {"insecure": True}, False),
        ("unix:///x", {"insecure": True}, True),
        ("dns:///peer:1", {}, False),
    ],
)
def test_the_scheme_wins_over_insecure(
    endpoint: str, tls: dict[str, Any], is_plaintext: bool
) -> None:
    """OG-8."""
    assert is_plaintext == grpc(endpoint=endpoint, tls=tls).is_plaintext


def test_plaintext_with_certificates_is_a_contradiction() -> None:
    with pytest.raises(ConfigError, match="asks for plaintext, but tls has certificates"):
        grpc(endpoint="http://peer:1", tls={"ca_file": "ca.pem"})


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"endpoint": "http://peer:1"}, ("endpoint",)),
        ({"endpoint": "https://peer:1", "tls": {"insecure": True}}, ("tls", "insecure")),
        ({"headers": {"TE": "x"}}, ("headers", "TE")),
    ],
)
def test_what_differs_from_what_one_may_think_is_a_warning(
    value: dict[str, Any], path: tuple[str, ...]
) -> None:
    findings = list(grpc(**value).check())

    assert [(path, Severity.WARNING)] == [(f.path, f.severity) for f in findings]


@pytest.mark.parametrize(
    ("value", "authority"),
    [
        ({}, "peer:4317"),
        ({"authority": "other"}, "other"),
        ({"tls": {"server_name_override": "name"}}, "name"),
        ({"endpoint": "http://peer:1", "tls": {"server_name_override": "name"}}, "peer:1"),
        ({"endpoint": "unix:///x"}, "localhost"),
        ({"endpoint": "[::1]:1"}, "[::1]:1"),
    ],
)
def test_the_authority(value: dict[str, Any], authority: str) -> None:
    assert authority == grpc(**value).authority_text


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"compression": "br"}, "compression"),
        ({"headers": {"x y": "v"}}, "no name of gRPC metadata"),
        ({"headers": {"x": "\u00fc"}}, "not printable ASCII"),
        ({"read_buffer_size": -1}, "must not be negative"),
        ({"balancer_name": "ring_hash"}, "balancer_name"),
        ({"middlewares": [{"id": "x"}]}, "is not supported"),
        ({"keepalive": {"time": "-1s"}}, "keepalive.time"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_grpc_settings_that_are_wrong(value: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        grpc(**value)


def test_keepalive() -> None:
    assert grpc().keepalive is None
    default = grpc(keepalive={}).keepalive
    assert default is not None
    assert (10.0, 10.0, False) == (
        default.times.ping_after_s,
        default.times.ping_timeout_s,
        default.times.pings_idle,
    )
    assert 10.0 == KeepaliveClientConfig(time=1.0).times.ping_after_s
    assert math.inf == KeepaliveClientConfig(time=0.0).times.ping_after_s
    assert 20.0 == KeepaliveClientConfig(timeout=0.0).times.ping_timeout_s
    assert KeepaliveClientConfig(permit_without_stream=True).times.pings_idle


def test_destinations_are_known() -> None:
    """So that loops are found before anything starts."""
    assert [Endpoint(("endpoint",), "peer", 4317)] == list(grpc().destinations())
    assert [Endpoint(("endpoint",), "unix:/x", 0)] == list(
        grpc(endpoint="unix:///x").destinations()
    )
    assert [Endpoint(("endpoint",), "peer", 443)] == list(http().destinations())


@pytest.mark.parametrize(
    ("text", "host", "port", "is_plaintext"),
    [
        ("http://peer", "peer", 80, True),
        ("https://peer/", "peer", 443, False),
        ("https://peer:4318/x?y", "peer", 4318, False),
        ("http://[::1]:4318", "::1", 4318, True),
    ],
)
def test_urls(text: str, host: str, port: int, is_plaintext: bool) -> None:
    url = HttpUrl.parse(text)

    assert (host, port, is_plaintext, text) == (url.host, url.port, url.is_plaintext, str(url))


@pytest.mark.parametrize(
    "text", ["peer:4318", "ftp://peer", "http://", "http://peer:x", "http://peer:0", "http://a b"]
)
def test_urls_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError):
        http(endpoint=text)


@pytest.mark.parametrize(
    ("compression", "level", "is_allowed"),
    [
        ("gzip", 9, True),
        ("gzip", -2, True),
        ("gzip", 10, False),
        ("zlib", -3, False),
        ("zstd", 11, True),
        ("snappy", 0, True),
        ("snappy", 1, False),
        ("none", 1, False),
    ],
)
def test_compression_levels(compression: str, level: int, is_allowed: bool) -> None:
    value = {"compression": compression, "compression_params": {"level": level}}
    if is_allowed:
        assert (level or None) == http(**value).level
    else:
        with pytest.raises(ConfigError, match=r"compression_params\.level"):
            http(**value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"compression": "br"}, "compression"),
        ({"headers": {"x y": "v"}}, "no name of a header"),
        ({"headers": {"x": "a\nb"}}, "control characters"),
        ({"max_conns_per_host": -1}, "must not be negative"),
        ({"middlewares": [{"id": "x"}]}, "is not supported"),
        ({"proxy_url": "peer:1"}, "does not begin with"),
    ],
)
def test_http_settings_that_are_wrong(value: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        http(**value)


def test_secrets_are_not_in_what_is_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        grpc(headers={"x": "s\u00e9cret"})

    assert "cret" not in str(caught.value)
    assert "topsecret" not in repr(grpc(headers={"x": "topsecret"}))
