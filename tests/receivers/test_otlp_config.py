from __future__ import annotations

from typing import Any

import pytest

from mlsysops_pipeline.config.decode import decode, parse_config
from mlsysops_pipeline.config.nodes import from_plain
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_receivers.otlp import Config


def _http(**keys: Any) -> dict[str, Any]:
    return {"protocols": {"http": keys}}


def _grpc(**keys: Any) -> dict[str, Any]:
    return {"protocols": {"grpc": keys}}


def test_protocols_that_are_written_are_on() -> None:
    config = parse_config(Config, {"protocols": {"grpc": None, "http": {"enabled": False}}})
    assert config.protocols.grpc is not None
    assert "localhost:4317" == str(config.protocols.grpc.endpoint)
    assert config.protocols.http is None
    config = parse_config(Config, {"protocols": {"http": {}}})
    assert config.protocols.grpc is None
    assert config.protocols.http is not None
    assert "localhost:4318" == str(config.protocols.http.endpoint)


def test_limits_are_those_that_otlp_recommends() -> None:
    # OC-8
    config = parse_config(Config, {"protocols": {"grpc": {}, "http": {}}})
    assert config.protocols.grpc is not None
    assert config.protocols.http is not None
    assert 64 << 20 == config.protocols.grpc.message_bytes_max
    assert 64 << 20 == config.protocols.http.body_bytes_max
    assert 200_000 == config.max_elements
    larger = parse_config(Config, _grpc(max_recv_msg_size_mib=100)).protocols.grpc
    assert larger is not None
    assert 100 << 20 == larger.message_bytes_max


def test_paths_may_be_configured() -> None:
    # OH-1
    http = parse_config(Config, _http(traces_url_path="otlp/t")).protocols.http
    assert http is not None
    assert "/otlp/t" == http.path_of(Signal.TRACES)
    assert "/v1/metrics" == http.path_of(Signal.METRICS)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "must specify at least one protocol when using the OTLP receiver"),
        ({"protocols": {}}, "must specify at least one protocol"),
        ({"protocols": {"grpc": {"enabled": False}}}, "must specify at least one protocol"),
        ({"protocols": {"thrift": {}}}, "unknown key"),
        (_grpc(endpoint="localhost"), "port is missing"),
        (_grpc(endpoint="http://localhost:1"), "without a scheme"),
        (_grpc(max_recv_msg_size_mib=-1), "must be between 0 and 2047"),
        (_grpc(max_recv_msg_size_mib=4_000), "must be between 0 and 2047"),
        (_grpc(max_concurrent_streams=-1), "must be between"),
        (_grpc(read_buffer_size=-1), "must not be negative"),
        (_grpc(transport="unix"), "is no unix socket"),
        (_grpc(transport="npipe"), "transport"),
        (_grpc(tls={}), "certificate and key"),
        (_grpc(middlewares=[{"id": "x"}]), "not supported"),
        (_grpc(keepalive={"server_parameters": {"tim": "5s"}}), "unknown key"),
        (_http(max_request_body_size=-1), "must not be negative"),
        (_http(traces_url_path="/a b"), "invalid HTTP URL path"),
        (_http(traces_url_path=""), "invalid HTTP URL path"),
        (_http(traces_url_path="/v1/logs"), "is the path of"),
        (_http(compression_algorithms=["br"]), "compression_algorithms"),
        (_http(cors={"allowed_origins": ["*.*"]}), r"more than one \*"),
        (_http(cors={"max_age": -1}), "must not be negative"),
        (_http(auth={}), "authenticator"),
        ({**_grpc(), "max_elements": -1}, "must not be negative"),
        ({**_grpc(), "validate": "all"}, "validate"),
    ],
)
def test_configurations_that_cannot_run(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Config, value)


def test_keys_of_the_collector_that_do_nothing_are_warned_about() -> None:
    value = {
        "protocols": {
            "grpc": {"read_buffer_size": 1, "write_buffer_size": 2, "middlewares": []},
            "http": {"cors": {"max_age": 5}, "middlewares": []},
        }
    }
    config, problems = decode(Config, from_plain(value))
    assert config is not None
    assert [
        "has no effect here: asyncio sizes its buffers itself",
        "has no effect here: asyncio sizes its buffers itself",
        "has no effect without allowed_origins",
    ] == [problem.message for problem in problems]


def test_a_file_of_the_field_is_understood() -> None:
    parse_config(
        Config,
        {
            "protocols": {
                "grpc": {
                    "endpoint": "[::1]:4317",
                    "transport": "tcp6",
                    "tls": {"cert_file": "a", "key_file": "b", "client_ca_file": "c"},
                    "max_recv_msg_size_mib": 32,
                    "max_concurrent_streams": 16,
                    "keepalive": {
                        "server_parameters": {
                            "max_connection_idle": "11s",
                            "max_connection_age": "12s",
                            "max_connection_age_grace": "13s",
                            "time": "30s",
                            "timeout": "5s",
                        },
                        "enforcement_policy": {"min_time": "10s", "permit_without_stream": True},
                    },
                    "auth": {"authenticator": "basicauth/server"},
                    "include_metadata": True,
                },
                "http": {
                    "endpoint": "/run/otlp.sock",
                    "transport": "unix",
                    "cors": {"allowed_origins": ["https://*.x.com"], "allowed_headers": ["X"]},
                    "auth": {"authenticator": "basicauth", "request_params": ["token"]},
                    "response_headers": {"X-A": "b"},
                    "compression_algorithms": ["", "gzip"],
                    "read_timeout": "1m",
                },
            }
        },
    )
