"""`k8s_cluster` and `k8s_events`: they accept what files say, and say that nothing comes yet."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mlsysops_pipeline.component import Factory, Kind, Stability, Status
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.config.schema import Severity
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.registry import Registry
from mlsysops_pipeline.service.catalogue import listing, table
from mlsysops_pipeline.testing import FakeHost, Sink, make_settings
from mlsysops_receivers import k8s_cluster, k8s_events

FACTORIES = (k8s_cluster.FACTORY, k8s_events.FACTORY)
REGISTRY = Registry(FACTORIES)
RENDERED: dict[str, Any] = {
    "k8s_events": {"namespaces": ["default", "mlsysops"]},
    "k8s_cluster": {
        "collection_interval": "10s",
        "node_conditions_to_report": ["Ready", "MemoryPressure"],
        "allocatable_types_to_report": ["cpu", "memory"],
        "metadata_collection_interval": "10s",
        "metrics": {
            "k8s.cronjob.active_jobs": {"enabled": False},
            "k8s.hpa.current_replicas": {"enabled": False},
        },
    },
}
"""What a cluster's file says of them."""

both = pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.type)


@both
async def test_it_says_once_that_it_delivers_nothing(
    factory: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    host = FakeHost()
    settings = make_settings(factory.type, kind=Kind.RECEIVER, host=host)
    sinks = {signal: Sink() for signal in factory.signals}
    config = parse_config(factory.config, RENDERED[factory.type])

    receiver = factory.create(config, settings, sinks)
    with caplog.at_level(logging.INFO):
        await receiver.start()
        await receiver.shutdown()

    message = f"{factory.type} is a placeholder: it accepts its keys and delivers nothing yet"
    assert [message] == caplog.messages
    assert [(Status.OK, message)] == host.reports
    assert all(not sink.payloads for sink in sinks.values())


@both
def test_the_lists_of_components_say_so(factory: Factory) -> None:
    assert Stability.PLACEHOLDER is factory.stability
    assert "delivers nothing yet" in factory.notes
    assert 2 == listing(REGISTRY).count("delivers nothing yet")
    assert f"| `{factory.type}` | receiver | " in table(REGISTRY)
    assert "| Placeholder | A placeholder: accepts files with" in table(REGISTRY)


@both
@pytest.mark.parametrize(
    "value",
    [
        {"auth_type": "password"},
        {"namespaces": {"default": True}},
        {"collection_intervall": "1s"},
        {"k8s_leader_elector": "not an id!"},
    ],
)
def test_its_keys_are_checked(factory: Factory, value: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        parse_config(factory.config, value)


@pytest.mark.parametrize(
    "value",
    [
        {"collection_interval": "soon"},
        {"collection_interval": "-1s"},
        {"metadata_collection_interval": "1d1"},
        {"metrics": {"k8s.pod.phase": {"enabled": "yes"}}},
        {"metrics": {"k8s.pod.phase": {"on": True}}},
        {"allocatable_types_to_report": ["gpu"]},
        {"distribution": "swarm"},
    ],
)
def test_what_only_the_cluster_has_is_checked(value: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        parse_config(k8s_cluster.Config, value)


def test_intervals_may_be_what_templates_make_of_those_of_scraping() -> None:
    written = {"collection_interval": "1d", "metadata_collection_interval": "0s"}
    config = parse_config(k8s_cluster.Config, written)
    nothing = parse_config(k8s_cluster.Config, {"collection_interval": "0s"})

    assert 86_400 == config.collection_interval.seconds
    assert "24h" == str(config.collection_interval)
    assert [] == list(config.check())
    (found,) = nothing.check()
    assert (("collection_interval",), Severity.WARNING) == (found.path, found.severity)


def test_the_older_key_for_one_namespace_is_reported() -> None:
    config = parse_config(k8s_cluster.Config, {"namespace": "default"})

    (found,) = config.check()
    assert (("namespace",), "write namespaces: [default]") == (found.path, found.suggestion)


def test_they_are_for_the_signals_of_the_collectors_receivers() -> None:
    assert {Signal.METRICS, Signal.LOGS} == k8s_cluster.FACTORY.signals
    assert {Signal.LOGS} == k8s_events.FACTORY.signals
