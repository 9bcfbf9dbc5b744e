"""Validation to full depth: as strict as OTLP's own classes, and `MalformedError` only."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.counting import count_items
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.validation import validate
from mlsysops_pipeline.testing.telemetry import make_wire
from tests.core.pdata.wires import OFFICIAL, WireMaker, field

EVERY = pytest.mark.parametrize("signal", Signal, ids=str)


@EVERY
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_the_wire_format_allows_is_valid(signal: Signal, seed: int) -> None:
    """OC-2: unknown fields at any depth never make a request fail."""
    validate(signal, WireMaker(seed).request(signal))


@EVERY
@settings(max_examples=50, deadline=None)
@given(wire=st.binary(max_size=200))
def test_random_bytes_are_judged_as_by_the_official_class(signal: Signal, wire: bytes) -> None:
    try:
        OFFICIAL[signal].FromString(wire)
    except DecodeError:
        with pytest.raises(MalformedError):
            validate(signal, wire)
    else:
        validate(signal, wire)


@EVERY
def test_truncated_requests_are_malformed_or_shorter(signal: Signal) -> None:
    wire = make_wire(signal, 2)
    for end in range(1, len(wire)):
        with pytest.raises(MalformedError):
            validate(signal, wire[:end])


def test_finds_what_the_receiver_does_not_look_at() -> None:
    for inside in (
        field(1, b"\xff\xff"),  # a point that is no message
        field(1, field(7, field(1, b"\xe9"))),  # a key that is not UTF-8
    ):
        wire = field(1, field(2, field(2, field(5, inside))))
        assert 1 == count_items(Signal.METRICS, wire)
        with pytest.raises(MalformedError):
            validate(Signal.METRICS, wire)


def test_deep_nesting_is_malformed() -> None:
    value = b""
    for _ in range(10_000):
        value = field(5, field(1, value))
    with pytest.raises(MalformedError):
        validate(Signal.LOGS, field(1, field(2, field(2, field(5, value)))))
