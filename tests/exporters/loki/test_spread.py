"""The watch over labels that make too many streams."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mlsysops_exporters.loki.config import Config
from mlsysops_exporters.loki.resources import Rules
from mlsysops_exporters.loki.spread import VALUES_MAX, WINDOW_NS, Spread
from mlsysops_pipeline.config.decode import parse_config
from tests.exporters.loki.fake import loki
from tests.exporters.loki.otlp import payload, record
from tests.exporters.loki.test_exporter import exporter_to

if TYPE_CHECKING:
    import pytest


class Watched:
    """A `Spread`, its clock, and what it said."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.told: list[str] = []
        self.spread = Spread(lambda: self.now_ns, self.told.append)

    def see(self, count: int, **labels: str) -> None:
        for index in range(count):
            self.spread.see({"job": "shop", "user": f"u{index}", **labels})


def test_a_label_with_very_many_values_is_named_and_others_are_not() -> None:
    watched = Watched()

    watched.see(VALUES_MAX)
    assert [] == watched.told
    watched.see(1, user="one more")

    assert ["user"] == watched.told


def test_values_that_come_again_and_values_of_long_ago_do_not_count() -> None:
    watched = Watched()

    watched.see(VALUES_MAX)
    watched.see(VALUES_MAX)
    watched.now_ns = WINDOW_NS
    watched.see(1, user="one more")
    watched.now_ns = 0  # a clock that was set back
    watched.see(1, user="and another")

    assert [] == watched.told


def test_what_is_remembered_is_limited_in_labels_too() -> None:
    watched = Watched()

    for index in range(10_000):
        watched.spread.see({f"label{index}": "x"})

    assert 100 == repr(watched.spread).count("label")


async def test_the_log_says_which_label_it_is_and_where_it_comes_from(
    caplog: pytest.LogCaptureFixture,
) -> None:
    many = [record("x", user=f"u{index}") for index in range(VALUES_MAX + 1)]
    labels = {"attributes": {"user": "who"}}

    async with loki() as server, exporter_to(server.url, labels=labels) as exporter:
        with caplog.at_level(logging.WARNING):
            await exporter.export(payload(*many))
            await exporter.export(payload(*many))

    assert VALUES_MAX + 1 == len(server.streams)
    (message,) = caplog.messages
    assert "the label who has had more than 1000 values" in message
    assert "comes from labels.attributes (user);" in message


def test_labels_of_resources_and_hints_are_named_as_what_makes_them() -> None:
    rules = Rules(parse_config(Config, {"endpoint": "http://loki"}), lambda _labels: None)

    assert "labels.resource (service.instance.id)" == rules.origin("service_instance_id")
    assert "default_labels_enabled (instance)" == rules.origin("instance")
    assert "the hints loki.attribute.labels and loki.resource.labels" == rules.origin("user")
