from __future__ import annotations

import socket
from typing import Any

import pytest

from mlsysops_pipeline.config.decode import decode, parse_config
from mlsysops_pipeline.config.nodes import from_plain
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.transport.server_settings import (
    CorsConfig,
    GrpcServerConfig,
    HttpServerConfig,
    address_family,
)


def test_defaults_of_the_collector_and_the_limits_of_otlp() -> None:
    http = parse_config(HttpServerConfig, None)
    assert (60.0, 30.0, 60.0, True) == (
        http.read_header_timeout,
        http.write_timeout,
        http.idle_timeout,
        http.keep_alives_enabled,
    )
    assert (
        64 << 20 == http.body_bytes_max == HttpServerConfig(max_request_body_size=0).body_bytes_max
    )
    assert 64 << 20 == parse_config(GrpcServerConfig, None).message_bytes_max
    assert "identity" not in http.compression_algorithms


def test_sections_that_are_off_and_on() -> None:
    config = parse_config(GrpcServerConfig, {"tls": {"enabled": False}, "keepalive": None})
    assert config.tls is None
    assert config.keepalive is not None
    assert config.keepalive.server_parameters is None


def test_where_a_server_listens_is_known_before_it_starts() -> None:
    (endpoint,) = parse_config(GrpcServerConfig, {"endpoint": "0.0.0.0:4317"}).listeners()
    assert (("endpoint",), "0.0.0.0", 4317) == (endpoint.path, endpoint.host, endpoint.port)
    value = {"endpoint": "unix:///run/x.sock", "transport": "unix"}
    (endpoint,) = parse_config(HttpServerConfig, value).listeners()
    assert "unix:/run/x.sock" == endpoint.host


@pytest.mark.parametrize(
    ("transport", "family"),
    [("tcp", None), ("tcp4", socket.AF_INET), ("tcp6", socket.AF_INET6), ("unix", None)],
)
def test_transports_and_kinds_of_addresses(transport: Any, family: object) -> None:
    assert family == address_family(transport)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"max_request_body_size": "1MiB"}, "max_request_body_size"),
        ({"read_timeout": "-5s"}, "read_timeout"),
        ({"idle_timeout": "5"}, "idle_timeout"),
        ({"auth": {"authenticator": ""}}, "authenticator"),
        ({"transport": "unixgram"}, "transport"),
        ({"cors": {"allowed_origin": ["x"]}}, "did you mean"),
    ],
)
def test_values_that_cannot_be(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(HttpServerConfig, value)


def test_cors_keys_without_origins_are_warned_about() -> None:
    _, problems = decode(CorsConfig, from_plain({"exposed_headers": ["x"]}))
    assert ["has no effect without allowed_origins"] == [p.message for p in problems]


def test_response_headers_are_a_map_or_a_list_and_secret() -> None:
    for value in ({"X-Key": "hush"}, [{"name": "X-Key", "value": "hush"}]):
        config = parse_config(HttpServerConfig, {"response_headers": value})
        ((name, secret),) = config.response_headers
        assert ("X-Key", "hush") == (name, secret.reveal())
        assert "hush" not in repr(config)
