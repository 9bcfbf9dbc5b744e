"""The keys of the remote write exporter, and what is said about wrong ones (components, E2)."""

from __future__ import annotations

from typing import Any

import pytest

from mlsysops_exporters.prometheusremotewrite import FACTORY, Config
from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config import DictSource, Severity, load_configuration
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.registry import Registry

URL = "http://localhost:9090/api/v1/write"


def parsed(**value: Any) -> Config:
    return parse_config(Config, {"endpoint": URL, **value})


def found(**value: Any) -> list[tuple[Severity, str]]:
    """Everything that is said about a configuration."""
    plan = {
        "receivers": {"nop": None},
        "exporters": {"prometheus_remote_write": {"endpoint": URL, **value}},
        "service": {
            "pipelines": {
                "metrics": {"receivers": ["nop"], "exporters": ["prometheus_remote_write"]}
            }
        },
    }
    _, problems = load_configuration([DictSource("test", plan)], Registry.installed())
    return [(one.severity, str(one)) for one in problems]


def test_resource_labels_can_be_chosen() -> None:
    assert [] == found(resource_constant_labels={"included": ["host.*"], "excluded": ["host.id"]})


def test_defaults_are_the_collectors() -> None:
    config = parse_config(Config, {})

    assert "http://some.url:9411/api/prom/push" == str(config.endpoint)
    assert (5.0, 512 * 1024, 3_000_000) == (
        config.timeout, config.write_buffer_size, config.batch_bytes,
    )  # fmt: skip
    assert config.retry_on_failure is not None
    assert (0.05, 30.0, 300.0) == (
        config.retry_on_failure.initial_interval,
        config.retry_on_failure.max_interval,
        config.retry_on_failure.max_elapsed_time,
    )
    assert 5 == config.parallelism
    assert config.target_info.enabled
    assert not config.send_metadata


def test_both_spellings_are_registered() -> None:
    registry = Registry.installed()

    assert ("prometheusremotewrite",) == FACTORY.aliases
    for name in (FACTORY.type, *FACTORY.aliases):
        assert FACTORY is registry.lookup(Kind.EXPORTER, name)


def test_every_key_can_be_written() -> None:
    assert [] == found(
        namespace="ns",
        external_labels={"replica": "a"},
        headers={"X-Scope-OrgID": "tenant"},
        translation_strategy="UnderscoreEscapingWithoutSuffixes",
        send_metadata=True,
        disable_scope_info=True,
        max_batch_size_bytes=1_000_000,
        max_batch_request_parallelism=3,
        protobuf_message="prometheus.WriteRequest",
        remote_write_queue={"enabled": True, "queue_size": 5_000, "num_consumers": 2},
        retry_on_failure={"enabled": True, "initial_interval": "1s"},
        resource_to_telemetry_conversion={"enabled": True},
        target_info={"enabled": False},
        timeout="10s",
        compression="snappy",
        tls={"insecure": True},
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"endpoint": ""}, "must be the URL"),
        ({"external_labels": {"": "a"}}, "empty key or value"),
        ({"external_labels": {"a": ""}}, "empty key or value"),
        ({"external_labels": {"...": "a"}}, "can be no label"),
        ({"compression": "gzip"}, "snappy"),
        ({"max_batch_size_bytes": -1}, "max_batch_byte_size must be greater than 0"),
        (
            {"max_batch_request_parallelism": 0},
            "max_batch_request_parallelism can't be set to below 1",
        ),
        ({"remote_write_queue": {"queue_size": 0}}, "a 0 size queue will drop all the data"),
        ({"remote_write_queue": {"queue_size": -1}}, "queue size can't be negative"),
        ({"remote_write_queue": {"num_consumers": -1}}, "consumer number can't be negative"),
        ({"remote_write_queue": {}, "sending_queue": {}}, "both are there"),
        (
            {
                "resource_to_telemetry_conversion": {"enabled": True},
                "resource_constant_labels": {},
            },
            "says the same as resource_constant_labels",
        ),
        ({"sending_queue": {"num_consumers": 0}}, "must be positive"),
        ({"translation_strategy": "NoTranslation"}, "remote write 1.0 does not carry"),
        ({"translation_strategy": "other"}, "UnderscoreEscapingWithSuffixes"),
        ({"protobuf_message": "io.prometheus.write.v2.Request"}, "is not supported"),
        ({"wal": {"directory": "somewhere"}}, "write-ahead log"),
        ({"sending_queue": {"storage": "file_storage"}}, "is not supported"),
    ],
)
def test_wrong_values_are_explained(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parsed(**value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"add_metric_suffixes": False}, "translation_strategy"),
        ({"headers": {"User-Agent": "x"}}, "User-Agent has no effect"),
        ({"headers": {"X-Prometheus-Remote-Write-Version": "2"}}, "has no effect"),
        ({"headers": {"Content-Encoding": "gzip"}}, "has no effect"),
        ({"write_buffer_size": 1}, "has no effect"),
    ],
)
def test_what_does_nothing_is_warned_about(value: dict[str, Any], message: str) -> None:
    ((severity, text),) = found(**value)

    assert Severity.WARNING is severity
    assert message in text


def test_nothing_is_said_of_values_that_ask_for_what_is_done_anyway() -> None:
    assert [] == found(add_metric_suffixes=True, wal=None)


@pytest.mark.parametrize(
    ("value", "parallelism"),
    [
        ({}, 5),
        ({"sending_queue": {"num_consumers": 7}}, 7),
        ({"remote_write_queue": {"num_consumers": 3}}, 3),
        ({"remote_write_queue": {"num_consumers": 0}}, 1),
        ({"sending_queue": {"enabled": False}}, 1),
        ({"sending_queue": {"enabled": False}, "max_batch_request_parallelism": 4}, 4),
        ({"sending_queue": {"num_consumers": 7}, "max_batch_request_parallelism": 2}, 2),
    ],
)
def test_consumers_are_requests_at_the_same_time(value: dict[str, Any], parallelism: int) -> None:
    assert parallelism == parsed(**value).parallelism


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"sending_queue": {"num_consumers": 7, "batch": {"max_size": 10_000}}},
        {"remote_write_queue": {"num_consumers": 7, "queue_size": 5}},
        {"sending_queue": {"enabled": False}},
        {"remote_write_queue": {"enabled": False}},
    ],
)
def test_payloads_are_delivered_one_after_the_other(value: dict[str, Any]) -> None:
    """R1-5."""
    queue = parsed(**value).in_force().sending_queue

    assert queue is not None
    assert queue.enabled
    assert 1 == queue.num_consumers


def test_without_a_queue_senders_wait_for_the_result() -> None:
    for value in (
        {"sending_queue": {"enabled": False}},
        {"remote_write_queue": {"enabled": False}},
    ):
        queue = parsed(**value).in_force().sending_queue

        assert queue is not None
        assert (True, True) == (queue.wait_for_result, queue.block_on_overflow)


def test_the_rest_of_a_queue_is_as_written() -> None:
    queue = parsed(sending_queue={"queue_size": 7, "sizer": "items"}).in_force().sending_queue
    older = parsed(remote_write_queue={"queue_size": 8}).in_force().sending_queue

    assert queue is not None
    assert older is not None
    assert (7, "items", False) == (queue.queue_size, queue.sizer, queue.wait_for_result)
    assert (8, "requests") == (older.queue_size, older.sizer)


def test_its_destination_is_known() -> None:
    (endpoint,) = parsed().destinations()

    assert ("localhost", 9090) == (endpoint.host, endpoint.port)
