"""Counting items, and refusing requests of too many elements whatever their bytes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.errors import Code, MalformedError, TooLargeError
from mlsysops_pipeline.pdata import counting
from mlsysops_pipeline.pdata.counting import check_elements, count_checked, count_items
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing.telemetry import make_wire
from tests.core.pdata.wires import WireMaker, field, leaves, varint

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERY = pytest.mark.parametrize("signal", Signal, ids=str)
SEEDS = st.integers(0, 2**32)


@EVERY
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_count_is_what_the_wire_holds(signal: Signal, seed: int) -> None:
    maker = WireMaker(seed)
    wire = maker.request(signal)
    assert maker.items == count_items(signal, wire)


@EVERY
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_count_is_what_a_reader_sees_unless_a_metric_has_two_kinds_of_data(
    signal: Signal, seed: int
) -> None:
    maker = WireMaker(seed, one_kind=True)
    wire = maker.request(signal)
    depth_of_items = 5 if signal is Signal.METRICS else 4
    seen = [leaf for leaf in leaves(signal, wire) if len(leaf) == depth_of_items]
    assert len(seen) == count_items(signal, wire)


def test_points_that_a_reader_discards_are_counted() -> None:
    point = field(1, b"")
    wire = field(1, field(2, field(2, field(5, point * 2) + field(7, point * 3))))
    assert 5 == count_items(Signal.METRICS, wire)


@EVERY
def test_empty_request_has_no_items(signal: Signal) -> None:
    """OC-3: no bytes at all are a request."""
    assert 0 == count_items(signal, b"")
    assert 0 == count_checked(signal, b"", 1)


@EVERY
@pytest.mark.parametrize("items", [1, 7, 250])
def test_count_of_ordinary_requests(signal: Signal, items: int) -> None:
    wire = make_wire(signal, items, points_per_metric=3)
    assert items == count_items(signal, wire)
    assert items == count_checked(signal, wire)
    assert 2 * items == count_items(signal, wire + wire)


@pytest.mark.parametrize(
    "broken",
    [
        b"\xff",
        b"\x0a\x05\x12",
        b"\x0a",
        field(1, b"\x12\x7f"),
        field(1, field(2, b"\x12\x09")),
        field(1, field(2, field(2, b"\x2a\x04\x0a\x07"))),
        b"not protobuf at all",
        b"\x0b" * 150 + b"\x0c" * 150,  # groups nested deeper than protobuf follows
    ],
)
def test_broken_framing_down_to_the_item_is_malformed(broken: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        count_items(Signal.METRICS, broken)
    assert Code.INVALID_ARGUMENT == caught.value.code


def test_what_is_inside_an_item_is_not_looked_at() -> None:
    garbage = field(1, field(2, field(2, field(5, field(1, b"\xff\xff\xff")))))
    assert 1 == count_items(Signal.METRICS, garbage)


@pytest.fixture(params=[1_310_720, 200, 16], ids=lambda size: f"chunks of {size}")
def chunk_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size: int = request.param
    monkeypatch.setattr(counting, "_CHUNK_BYTES", size)
    return size


@EVERY
def test_elements_are_counted_exactly_whatever_the_size_of_chunks(
    signal: Signal, chunk_bytes: int
) -> None:
    for seed in range(15):
        maker = WireMaker(seed)
        wire = maker.request(signal)
        limit = maker.elements
        # Of what is larger than a chunk, data messages and the fields of items count too.
        room = limit + (len(wire) if chunk_bytes < 1000 else 0)
        tally = counting._Tally(signal, wire, room)
        tally.count()
        assert maker.items == tally.items
        if limit:
            with pytest.raises(TooLargeError):
                counting._Tally(signal, wire, limit - 1).count()


@EVERY
def test_limit_is_inclusive_and_zero_is_none(signal: Signal) -> None:
    group = field(1, field(2, b""))  # two elements
    check_elements(signal, group * 10, 20)
    with pytest.raises(TooLargeError) as caught:
        check_elements(signal, group * 10, 19)
    assert Code.RESOURCE_EXHAUSTED == caught.value.code
    assert 413 == caught.value.http_status
    assert "19" in caught.value.message
    check_elements(signal, b"\x0a\x00" * 1000, 0)
    assert 0 == count_checked(signal, b"\x0a\x00" * 1000, 0)


def records(content: bytes, count: int = 1) -> bytes:
    return field(1, field(2, field(2, content) * count))


def test_an_item_larger_than_a_chunk_is_an_element_and_so_are_its_fields(chunk_bytes: int) -> None:
    text = field(5, field(1, b"x" * (2 * chunk_bytes + 500)))
    wire = records(text, 3)
    # A resource group, a scope group, three records; in each its body and the text in that.
    assert 3 == count_checked(Signal.LOGS, wire, 11)
    with pytest.raises(TooLargeError):
        check_elements(Signal.LOGS, wire, 10)


@pytest.mark.parametrize("signal", [Signal.LOGS, Signal.TRACES], ids=str)
def test_an_item_of_very_many_attributes_is_refused(signal: Signal) -> None:
    """Opened, two bytes would take fifty."""
    number = 6 if signal is Signal.LOGS else 9
    attributes = (varint(number << 3 | 2) + b"\x00") * 800_000
    with pytest.raises(TooLargeError):
        check_elements(signal, records(attributes))


def test_a_point_of_very_many_attributes_is_refused_however_deep() -> None:
    def request(point: bytes) -> bytes:
        return field(1, field(2, field(2, field(7, field(1, point)))))

    flat = b"\x3a\x00" * 800_000
    array = field(7, field(2, field(5, b"\x0a\x00" * 800_000)))
    for point in (flat, array):
        with pytest.raises(TooLargeError):
            check_elements(Signal.METRICS, request(point))
        check_elements(Signal.METRICS, request(point), 0)


def test_large_text_is_no_reason_to_refuse() -> None:
    """Whatever it looks like as a message."""
    for text in (b"A" * 3_000_000, b"\n\x00" * 2_000_000, bytes(3_000_000)):
        assert 1 == count_checked(Signal.LOGS, records(field(5, field(1, text))))


def test_endless_nesting_does_not_exhaust_the_stack() -> None:
    value = field(1, b"x" * 1_400_000)
    for _ in range(200):
        value = field(5, field(1, value))
    assert 1 == count_checked(Signal.LOGS, records(field(5, value)))


def test_chunks_find_broken_framing(chunk_bytes: int) -> None:
    record = field(2, b"abcdef")
    group = field(1, field(2, record))
    for broken in (
        group * 200 + b"\x0a\x7f",
        field(1, field(2, record) * 100 + b"\x12\x7f"),
        field(1, field(2, record * 200 + b"\x12")),
        group * 200 + b"\x0b",
        group * 200 + b"\x0f\x00",
    ):
        with pytest.raises(MalformedError):
            check_elements(Signal.LOGS, broken, len(broken) // 2 - 1)


def hostile_wires() -> Iterator[tuple[Signal, bytes]]:
    count = 300_000
    empty = b"\x0a\x00" * count
    yield Signal.METRICS, empty
    yield Signal.METRICS, field(1, b"\x12\x00" * count)
    yield Signal.METRICS, field(1, field(2, b"\x12\x00" * count))
    yield Signal.METRICS, field(1, field(2, field(2, field(11, empty))))
    yield Signal.METRICS, field(1, field(2, field(2, b""))) * 100_000
    yield Signal.LOGS, field(1, field(2, b"\x12\x00" * count))
    yield Signal.TRACES, field(1, field(2, b"\x12\x00" * count))


def test_too_many_elements_at_any_level_are_refused() -> None:
    for signal, wire in hostile_wires():
        with pytest.raises(TooLargeError):
            check_elements(signal, wire)


@pytest.mark.parametrize("filler", [b"\x58\x00", b"\x5b\x5c", b"\x1a\x00"])
def test_floods_of_unknown_fields_end_the_walk_early(filler: bytes) -> None:
    with pytest.raises(TooLargeError):
        check_elements(Signal.LOGS, field(1, filler * 2_000_000))


_MEMORY = """
import sys
from mlsysops_pipeline.errors import TooLargeError
from mlsysops_pipeline.pdata.counting import check_elements
from mlsysops_pipeline.pdata.signal import Signal
from tests.core.pdata.wires import field

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024

def make(depth, size):
    wire = b"\\x12\\x00" * (size // 2)
    for _ in range(depth):
        wire = field(1 if wire[0] == 0x0a else 2, wire)
    return field(1, wire)

check_elements(Signal.METRICS, field(1, b"\\x12\\x00") * 2000, 5000)  # builds the views
most = 0
for shape in (make(0, 1 << 26), make(1, 1 << 26), make(2, 1 << 26), make(1, 1 << 20) * 64):
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    before = peak()
    try:
        check_elements(Signal.METRICS, shape)
    except TooLargeError:
        most = max(most, peak() - before)
    else:
        sys.exit("taken")
print(most)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_64_mib_of_empty_messages_are_refused_with_flat_memory() -> None:
    result = subprocess.run(
        [sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True
    )
    assert int(result.stdout) < 25 * 1024 * 1024
