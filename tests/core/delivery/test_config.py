"""The keys of delivery: the Collector's defaults (CV-3), spellings and messages."""

from __future__ import annotations

from typing import Any

import pytest

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.delivery import BatchConfig, DeliveryConfig, QueueConfig, RetryConfig
from mlsysops_pipeline.errors import ConfigError


def test_the_defaults_are_the_collectors() -> None:
    """CV-3."""
    config = parse_config(DeliveryConfig, {})

    assert 5.0 == config.timeout
    assert RetryConfig(
        initial_interval=5.0,
        randomization_factor=0.5,
        multiplier=1.5,
        max_interval=30.0,
        max_elapsed_time=300.0,
    ) == (config.retry_on_failure)
    queue = config.sending_queue
    assert queue is not None
    assert (10, 1000, "requests", "refuse") == (
        queue.num_consumers,
        queue.queue_size,
        queue.sizer,
        queue.on_full,
    )
    assert queue.batch is None
    assert 64 * 1024 * 1024 == queue.bytes_max


def test_an_empty_batch_section_turns_batching_on() -> None:
    config = parse_config(DeliveryConfig, {"sending_queue": {"batch": {}}})

    assert config.sending_queue is not None
    assert BatchConfig(flush_timeout=0.2, min_size=8192, max_size=0) == config.sending_queue.batch
    assert "items" == config.sending_queue.batch_sizer


@pytest.mark.parametrize("section", ["sending_queue", "retry_on_failure"])
def test_a_section_can_be_switched_off(section: str) -> None:
    config = parse_config(DeliveryConfig, {section: {"enabled": False}})

    assert getattr(config, section) is None


def test_batches_are_counted_like_the_queue_if_that_is_written() -> None:
    config = parse_config(
        DeliveryConfig,
        {"sending_queue": {"sizer": "bytes", "queue_size": 100_000, "batch": {"min_size": 1000}}},
    )

    assert config.sending_queue is not None
    assert "bytes" == config.sending_queue.batch_sizer


@pytest.mark.parametrize(
    ("written", "limit"),
    [
        ({}, 64 << 20),
        ({"queue_bytes_max": 5}, 5),
        ({"sizer": "bytes", "queue_size": 1 << 30}, 1 << 30),
        ({"sizer": "bytes", "queue_size": 1 << 30, "queue_bytes_max": 7}, 7),
    ],
)
def test_a_queue_is_always_bounded_in_bytes(written: dict[str, Any], limit: int) -> None:
    queue = parse_config(QueueConfig, written)

    assert limit == queue.bytes_max


@pytest.mark.parametrize(
    ("section", "written", "message"),
    [
        ("sending_queue", {"num_consumers": 0}, "num_consumers: `num_consumers` must be positive"),
        ("sending_queue", {"queue_size": -1}, "queue_size: `queue_size` must be positive"),
        ("sending_queue", {"queue_bytes_max": 0}, "`queue_bytes_max` must be positive"),
        ("sending_queue", {"sizer": "metrics"}, "sizer"),
        ("sending_queue", {"on_full": "explode"}, "on_full"),
        ("sending_queue", {"blocking": True}, "blocking: unknown key"),
        ("sending_queue", {"min_size_items": 1}, "min_size_items: unknown key"),
        ("sending_queue", {"storage": "file_storage"}, "storage: is not supported"),
        (
            "sending_queue",
            {"block_on_overflow": True, "on_full": "drop_oldest"},
            "on_full: a queue with `block_on_overflow` drops nothing",
        ),
        (
            "sending_queue",
            {"sizer": "requests", "batch": {}},
            "`batch` supports only `items` or `bytes` sizer",
        ),
        (
            "sending_queue",
            {"batch": {"sizer": "requests"}},
            "`batch` supports only `items` or `bytes` sizer",
        ),
        ("sending_queue", {"batch": {"flush_timeout": "0s"}}, "`flush_timeout` must be positive"),
        ("sending_queue", {"batch": {"min_size": -1}}, "`min_size` must be non-negative"),
        ("sending_queue", {"batch": {"max_size": -1}}, "`max_size` must be non-negative"),
        (
            "sending_queue",
            {"batch": {"max_size": 8191}},
            "`max_size` must be greater or equal to `min_size`",
        ),
        (
            "sending_queue",
            {"sizer": "items", "batch": {}},
            "`min_size` must be less than or equal to `queue_size`",
        ),
        (
            "sending_queue",
            {"batch": {"partition": {"metadata_keys": ["a", "A"]}}},
            'duplicate entry in metadata_keys: "A"',
        ),
        ("retry_on_failure", {"randomization_factor": 1.5}, "must be within [0, 1]"),
        ("retry_on_failure", {"multiplier": -1.0}, "must be non-negative"),
        ("retry_on_failure", {"initial_interval": "-5s"}, "initial_interval"),
        (
            "retry_on_failure",
            {"max_elapsed_time": "10s", "max_interval": "11s"},
            "must not be less than 'max_interval'",
        ),
        (
            "retry_on_failure",
            {"max_elapsed_time": "4s", "max_interval": "1s"},
            "must not be less than 'initial_interval'",
        ),
    ],
)
def test_what_cannot_run_is_refused_with_its_place(
    section: str, written: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(DeliveryConfig, {section: written})

    assert 1 == len(caught.value.problems)
    assert message in str(caught.value)
    assert section in str(caught.value)


def test_a_negative_time_out_is_refused() -> None:
    with pytest.raises(ConfigError, match="timeout"):
        parse_config(DeliveryConfig, {"timeout": "-1s"})


def test_retrying_for_ever_needs_no_longer_time_than_an_interval() -> None:
    config = parse_config(RetryConfig, {"max_elapsed_time": "0s"})

    assert 0.0 == config.max_elapsed_time
