"""The processor delta_to_rate: the table of the component reference."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.registry import Registry
from mlsysops_pipeline.testing import make_settings
from mlsysops_processors.deltatorate import FACTORY, Config, DeltaToRate
from tests.core.pdata.wires import OFFICIAL, WireMaker
from tests.processors.streams import CUMULATIVE, DELTA, number, request


def make(*names: str) -> DeltaToRate:
    made = FACTORY.create(
        parse_config(Config, {"metrics": list(names)}), make_settings("delta_to_rate"), None
    )
    assert isinstance(made, DeltaToRate)
    return made


def rates(metric: dict[str, Any]) -> Metric:
    out = make("m").process(Payload(Signal.METRICS, request(metric)))
    found = OFFICIAL[Signal.METRICS].FromString(out.joined())
    result = found.resource_metrics[0].scope_metrics[0].metrics[0]
    assert isinstance(result, Metric)
    return result


@pytest.mark.parametrize(
    ("point", "rate"),
    [
        (number(30, 11, 1), 3.0),
        (number(1.5, 1.5, 1), 3.0),
        (number(-4, 3, 1), -2.0),
        (number(5, 1, 1), 0.0),
        (number(5, 1, 2), 0.0),
        ({"time": 3, "start": 1}, 0.0),
    ],
)
def test_value_by_seconds(point: dict[str, Any], rate: float) -> None:
    metric = rates(
        {"temporality": DELTA, "unit": "By", "points": [{**point, "attributes": {"k": "v"}}]}
    )

    (found,) = metric.gauge.data_points
    assert found.as_double == rate
    assert metric.unit == "By/s"
    assert found.attributes[0].value.string_value == "v"


def test_no_unit_stays_none_and_no_value_stays_none() -> None:
    metric = rates({"temporality": DELTA, "points": [{"flags": 1, "time": 3, "start": 1}]})

    assert metric.unit == ""
    assert metric.gauge.data_points[0].WhichOneof("value") is None


@pytest.mark.parametrize(
    "metric",
    [
        {"temporality": CUMULATIVE, "points": [number(1, 2)]},
        {"kind": "gauge", "points": [number(1, 2)]},
        {"name": "other", "temporality": DELTA, "points": [number(1, 2)]},
        {"kind": "histogram", "temporality": DELTA, "points": [{"count": 1}]},
    ],
)
def test_other_metrics_pass_as_they_are(
    metric: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    payload = Payload(Signal.METRICS, request(metric))
    with caplog.at_level(logging.INFO):
        assert payload is make("m").process(payload)
    said = "Configured metric for rate calculation m is not a delta sum" in caplog.text
    assert said == ("name" not in metric)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_request_is_survived(seed: int) -> None:
    wire = WireMaker(seed).request(Signal.METRICS)
    make("").process(Payload(Signal.METRICS, wire))


@pytest.mark.parametrize("name", ["delta_to_rate", "deltatorate"])
def test_it_is_found_by_both_of_its_names(name: str) -> None:
    assert Registry.installed().lookup(Kind.PROCESSOR, name) is FACTORY


def test_names_are_needed() -> None:
    with pytest.raises(ConfigError, match="metric names are missing"):
        parse_config(Config, {})
