"""Choosing parts of requests: nothing lost, nothing changed, on any bytes the format allows."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.sieve import Opened, keep_groups, resources
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_wire
from tests.core.pdata.wires import CHILDREN, OFFICIAL, WireMaker, canonical, field, leaves

EVERY = pytest.mark.parametrize("signal", Signal, ids=str)


@EVERY
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_groups_are_shared_out_without_loss(signal: Signal, seed: int) -> None:
    wire = WireMaker(seed).request(signal)
    official = getattr(OFFICIAL[signal].FromString(wire), CHILDREN[signal][0])
    found = resources(wire)
    wanted = [random.Random(seed + n).random() < 0.5 for n in range(len(found))]  # noqa: S311  no secret

    # Protobuf merges a resource that is there twice, as joining its bytes does.
    merged = [type(group.resource).FromString(r) for group, r in zip(official, found, strict=True)]
    assert [group.resource.SerializeToString(deterministic=True) for group in official] == [
        resource.SerializeToString(deterministic=True) for resource in merged
    ]
    one = keep_groups(wire, wanted)
    other = keep_groups(wire, [not flag for flag in wanted])
    assert Counter(leaves(signal, wire)) == Counter(leaves(signal, one) + leaves(signal, other))
    if all(wanted):
        assert one is wire


@EVERY
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_items_are_shared_out_without_loss(signal: Signal, seed: int) -> None:
    wire = WireMaker(seed).request(signal)
    opened = Opened(signal, wire)
    count = sum(len(items) for _, group in opened.scopes() for _, items, _ in opened.lists(group))
    wanted = [random.Random(seed + n).random() < 0.5 for n in range(count)]  # noqa: S311  no secret

    one = Opened(signal, wire).keep_items(wanted)
    other = Opened(signal, wire).keep_items([not flag for flag in wanted])

    full = 5 if signal is Signal.METRICS else 4  # an item and all that is around it
    expected = Counter(leaf for leaf in leaves(signal, wire) if len(leaf) == full)
    found = Counter(
        leaf for leaf in leaves(signal, one) + leaves(signal, other) if len(leaf) == full
    )
    assert expected == found
    if all(wanted):
        assert one is wire
    elif any(wanted):
        assert all(len(leaf) == full for leaf in leaves(signal, one))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_metrics_are_shared_out_without_loss(seed: int) -> None:
    wire = WireMaker(seed).request(Signal.METRICS)
    opened = Opened(Signal.METRICS, wire)
    count = sum(len(group.metrics) for _, group in opened.scopes())
    wanted = [random.Random(seed + n).random() < 0.5 for n in range(count)]  # noqa: S311  no secret

    one = Opened(Signal.METRICS, wire).keep_metrics(wanted)
    other = Opened(Signal.METRICS, wire).keep_metrics([not flag for flag in wanted])

    def of(part: bytes) -> Counter[tuple[bytes, ...]]:
        return Counter(leaf for leaf in leaves(Signal.METRICS, part) if len(leaf) >= 4)

    assert of(wire) == of(one) + of(other)


@EVERY
def test_unknown_fields_of_the_request_go_with_every_part(signal: Signal) -> None:
    wire = make_wire(signal, 3) + make_wire(signal, 2, seed=1) + field(77, b"new")

    for part in (
        keep_groups(wire, [True, False]),
        Opened(signal, wire).keep_items([True] + [False] * 4),
    ):
        assert field(77, b"new") in canonical(signal, part)


@pytest.mark.parametrize("wire", [b"\x0a\x05\x0a", b"\x0a", field(1, b"\x0a\x05x"), b"\x0b"])
def test_broken_framing_is_bad_data(wire: bytes) -> None:
    with pytest.raises(MalformedError):
        resources(wire)
    with pytest.raises(MalformedError):
        Opened(Signal.LOGS, wire)
