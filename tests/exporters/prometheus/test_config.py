"""The keys of the exporter: defaults, what the Collector's files write, and what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from mlsysops_exporters.prometheus.config import Config
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.config.resource_labels import matcher
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.prometheus.names import Strategy


def test_defaults() -> None:
    # PO-17: host localhost, port 9464.
    config = parse_config(Config, {})
    assert ("localhost", 9464) == (config.endpoint.host, config.endpoint.port)
    assert 300.0 == config.metric_expiration
    assert Strategy.UNDERSCORES_WITH_SUFFIXES is config.strategy
    assert not config.enable_open_metrics
    assert not config.send_timestamps
    assert config.sending_queue is None
    assert config.retry_on_failure is None
    assert ["localhost"] == [endpoint.host for endpoint in config.listeners()]
    assert [] == list(config.destinations())


def test_a_file_of_the_field() -> None:
    config = parse_config(
        Config,
        {
            "endpoint": "0.0.0.0:9999",
            "send_timestamps": True,
            "metric_expiration": "65s",
            "resource_to_telemetry_conversion": {"enabled": True},
            "add_metric_suffixes": True,
            "namespace": "mls",
            "const_labels": {"label1": "value1", "another label": "spaced value"},
            "enable_open_metrics": True,
            "without_scope_info": True,
            "sending_queue": {"enabled": True, "queue_size": 10},
            "tls": {"cert_file": "server.crt", "key_file": "server.key"},
        },
    )
    assert (65.0, 9999) == (config.metric_expiration, config.endpoint.port)
    assert config.sending_queue is not None


@pytest.mark.parametrize("strategy", list(Strategy))
def test_every_strategy_can_be_written(strategy: Strategy) -> None:
    keys = {"translation_strategy": str(strategy), "add_metric_suffixes": False}
    assert strategy is parse_config(Config, keys).strategy


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"endpoint": ""},
            "expecting a non-blank address to run the Prometheus metrics handler",
        ),
        ({"endpoint": "nowhere"}, "port is missing"),
        ({"translation_strategy": "snake"}, "invalid translation_strategy: snake"),
        ({"max_series": 0}, "must be positive"),
        ({"const_labels": {"___": "x", "//": "y"}}, "is no name for a label"),
        ({"const_labels": {"le": "x"}}, "keeps for itself"),
        ({"const_labels": {"__name__": "x"}}, "keeps for itself"),
        ({"const_labels": {"a": 1}}, "expected a string"),
        ({"metric_expiration": "-1s"}, "not negative"),
        (
            {
                "resource_to_telemetry_conversion": {"enabled": True},
                "resource_constant_labels": {"included": ["*"]},
            },
            "write one of them",
        ),
        ({"export_timestamps": True}, "export_timestamps"),
    ],
)
def test_what_is_wrong_is_said(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Config, keys)


def test_patterns_are_plain_text_but_for_two_characters() -> None:
    matches = matcher(("k8s.*", "a?c", "[x]"))
    assert ["k8s.pod", "k8s.", "abc", "[x]"] == [
        key
        for key in ("k8s.pod", "k8s.", "k8s", "abc", "ac", "xk8s.pod", "x", "[x]")
        if matches(key)
    ]
