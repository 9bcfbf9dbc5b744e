"""What files may say about the loki exporter."""

from __future__ import annotations

from typing import Any

import pytest

from mlsysops_exporters.loki.config import INDEX_LABELS, Config
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.config.schema import Severity
from mlsysops_pipeline.errors import ConfigError

PUSH = "http://loki:3100/loki/api/v1/push"


def configured(**value: Any) -> Config:
    return parse_config(Config, {"endpoint": PUSH, **value})


def warnings(config: Config) -> list[str]:
    found = list(config.check())
    assert all(finding.severity is Severity.WARNING for finding in found)
    return [".".join(map(str, finding.path)) for finding in found]


def test_the_keys_of_the_collectors_exporter_are_taken() -> None:
    config = configured(
        tls={"insecure": True, "ca_file": "/ca.pem"},
        timeout="10s",
        sending_queue={"enabled": True, "num_consumers": 2, "queue_size": 10},
        retry_on_failure={
            "initial_interval": "10s",
            "max_interval": "60s",
            "max_elapsed_time": "10m",
        },
        headers={"X-Custom-Header": "loki_rocks"},
        default_labels_enabled={"exporter": False, "job": True},
        auth={"authenticator": "basicauth"},
    )

    assert not config.default_labels_enabled.exporter
    assert config.default_labels_enabled.level
    assert tuple(config.labels.resource) == INDEX_LABELS


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (PUSH, PUSH),
        ("http://loki:3100", PUSH),
        ("http://loki:3100/", PUSH),
        ("http://loki:3100/?a=b", f"{PUSH}?a=b"),
        ("http://gateway/loki-write", "http://gateway/loki-write"),
        ("http://loki:3100/otlp", "http://loki:3100/otlp/v1/logs"),
        ("http://loki:3100/otlp/", "http://loki:3100/otlp/v1/logs"),
        ("http://loki:3100/otlp/v1/logs", "http://loki:3100/otlp/v1/logs"),
    ],
)
def test_where_requests_go(endpoint: str, url: str) -> None:
    config = configured(endpoint=endpoint)

    assert url == config.url.text
    assert ("otlp" in url) == config.is_otlp
    (found,) = config.destinations()
    assert (config.url.host, config.url.port) == (found.host, found.port)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"endpoint": ""}, "endpoint"),
        ({"endpoint": "loki:3100"}, "endpoint"),
        ({"format": "xml"}, "format"),
        ({"max_labels": 0}, "max_labels"),
        ({"max_batch_size_bytes": -1}, "max_batch_size_bytes"),
        ({"labels": {"record": {}}}, "record"),
        ({"labels": {"resource": {"a": "not-valid"}}}, "not-valid"),
        ({"labels": {"attributes": {"...": ""}}}, "can be no label"),
        ({"default_labels_enabled": {"severity": True}}, "severity"),
        ({"tenant_id": "me"}, "tenant_id"),
    ],
)
def test_what_cannot_run_is_an_error(value: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        configured(**value)


def test_keys_that_do_nothing_are_reported() -> None:
    otlp = configured(endpoint="http://loki/otlp", format="json", labels={}, max_labels=3)

    assert ["labels", "format", "max_labels"] == warnings(otlp)
    assert ["compression"] == warnings(configured(compression="gzip"))
    assert [] == warnings(configured(compression="snappy"))
    assert [] == warnings(configured(endpoint="http://loki/otlp", compression="zstd"))


def test_otlp_has_the_same_client() -> None:
    otlp = configured(
        endpoint="https://loki/otlp", headers={"a": "b"}, tls={"insecure_skip_verify": True}
    ).otlp()

    assert "https://loki/otlp/v1/logs" == otlp.logs_endpoint.text
    assert "gzip" == otlp.compression
    assert otlp.tls.insecure_skip_verify
    assert "a" == otlp.headers[0][0]


def test_one_payload_is_delivered_at_a_time() -> None:
    config = configured(sending_queue={"num_consumers": 4}, timeout="7s")
    assert config.in_force().sending_queue is not None
    assert 1 == config.in_force().sending_queue.num_consumers  # type: ignore[union-attr]  # on
    assert 4 == config.parallelism
    assert 0 == config.in_force().timeout
    assert 7 == configured(endpoint="http://loki/otlp", timeout="7s").in_force().timeout

    off = configured(sending_queue={"enabled": False})
    queue = off.in_force().sending_queue
    assert queue is not None
    assert queue.wait_for_result
    assert queue.block_on_overflow
    assert 1 == off.parallelism


@pytest.mark.parametrize(
    ("value", "is_merged"),
    [
        ({}, True),
        ({"sending_queue": {"num_consumers": 4}}, True),
        ({"endpoint": "http://loki/otlp"}, True),
        ({"sending_queue": {"batch": {"enabled": False}}}, False),
        ({"sending_queue": {"sizer": "items"}}, False),
        ({"sending_queue": {"wait_for_result": True}}, False),
        ({"sending_queue": {"enabled": False}}, False),
        ({"auth": {"authenticator": "headers_setter"}}, False),
    ],
)
def test_small_payloads_are_merged_unless_something_else_is_asked_for(
    value: dict[str, Any], is_merged: bool
) -> None:
    queue = configured(**value).in_force().sending_queue

    assert queue is not None
    assert is_merged == (queue.batch is not None and queue.batch.enabled)


def test_a_batch_is_as_it_is_written() -> None:
    queue = configured(sending_queue={"batch": {"min_size": 5}}).in_force().sending_queue

    assert queue is not None
    assert queue.batch is not None
    assert 5 == queue.batch.min_size
