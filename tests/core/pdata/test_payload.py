"""Payloads: immutable ropes of requests that count once."""

from __future__ import annotations

import pytest

from mlsysops_pipeline.errors import Bug, MalformedError
from mlsysops_pipeline.pdata import counting
from mlsysops_pipeline.pdata import payload as payload_module
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing.telemetry import make_payload, make_wire
from tests.core.pdata.wires import canonical


@pytest.fixture
def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    calls: list[bytes] = []
    real = counting.count_items

    def count(signal: Signal, wire: bytes) -> int:
        calls.append(wire)
        return real(signal, wire)

    monkeypatch.setattr(payload_module, "count_items", count)
    return calls


@pytest.mark.parametrize("signal", Signal, ids=str)
def test_merging_is_concatenation_for_every_reader(signal: Signal) -> None:
    parts = [make_payload(signal, items, seed=items) for items in (1, 3, 5)]
    merged = Payload.merge(parts)
    assert tuple(part.wires[0] for part in parts) == merged.wires
    assert 9 == merged.items
    assert (1, 3, 5) == merged.member_items()
    assert sum(part.size for part in parts) == merged.size == len(merged.joined())
    one_by_one = b"".join(canonical(signal, part.joined()) for part in parts)
    assert one_by_one == canonical(signal, merged.joined())


def test_items_are_counted_on_demand_and_once(count_calls: list[bytes]) -> None:
    wires = [make_wire(Signal.LOGS, items) for items in (2, 4)]
    payload = Payload(Signal.LOGS, wires)
    is_counted = payload.is_counted
    assert [] == count_calls
    assert 6 == payload.items
    assert (False, True) == (is_counted, payload.is_counted)
    assert (2, 4) == payload.member_items()
    assert 6 == payload.items
    assert wires == count_calls


def test_merging_and_known_counts_need_no_counting(count_calls: list[bytes]) -> None:
    known = [Payload(Signal.LOGS, make_wire(Signal.LOGS, n), items=n) for n in (1, 2)]
    twice = Payload.merge([Payload.merge(known), known[0]])
    assert 4 == twice.items
    assert (1, 2, 1) == twice.member_items()
    assert [] == count_calls


def test_merging_does_not_count_what_nobody_asks_for(count_calls: list[bytes]) -> None:
    wire = make_wire(Signal.LOGS, 2)
    merged = Payload.merge([Payload(Signal.LOGS, wire), Payload(Signal.LOGS, wire, items=2)])
    assert [] == count_calls
    assert 4 == merged.items
    whole = Payload(Signal.LOGS, [wire, wire], items=4)
    merged = Payload.merge([whole, Payload(Signal.LOGS, wire, items=2)])
    assert 6 == merged.items
    assert [wire, wire] == count_calls
    assert (2, 2, 2) == merged.member_items()


def test_broken_members_are_malformed_when_counted() -> None:
    payload = Payload(Signal.TRACES, b"\x0a\x7f")
    for _ in range(2):
        with pytest.raises(MalformedError):
            _ = payload.items
    assert not payload.is_counted


def test_merging_keeps_the_largest_hop_count_and_no_other_metadata() -> None:
    parts = [
        Payload(Signal.LOGS, b"", Metadata(peer=f"10.0.0.{hops}", hops=hops)) for hops in (1, 4, 2)
    ]
    assert Metadata(hops=4) == Payload.merge(parts).metadata
    headers = {"tenant": ("a",)}
    given = Metadata(headers=headers)
    assert Metadata(headers=headers, hops=4) == Payload.merge(parts, given).metadata
    assert 0 == given.hops
    larger = Metadata(hops=7)
    assert larger is Payload.merge(parts, larger).metadata


def test_merging_one_payload_shares_it() -> None:
    payload = Payload(Signal.LOGS, b"", Metadata(peer="p"))
    assert payload is Payload.merge([payload])
    assert payload is Payload.merge(iter([payload]), payload.metadata)
    other = Metadata(peer="q")
    assert other is Payload.merge([payload], other).metadata
    assert "p" == payload.metadata.peer


def test_payloads_of_two_signals_do_not_merge() -> None:
    with pytest.raises(Bug):
        Payload.merge([Payload(Signal.LOGS, b""), Payload(Signal.TRACES, b"")])


def test_wires_are_not_shared_with_a_list_that_changes() -> None:
    wires = [make_wire(Signal.LOGS, 1)]
    payload = Payload(Signal.LOGS, wires)
    wires.append(b"")
    assert 1 == len(payload.wires)


def test_other_content_keeps_the_metadata() -> None:
    payload = Payload(Signal.LOGS, b"", Metadata(peer="p"), items=0)
    wire = make_wire(Signal.LOGS, 3)
    other = payload.with_wires(wire, items=3)
    assert (payload.metadata, 3, (wire,)) == (other.metadata, other.items, other.wires)
    assert (b"",) == payload.wires


def test_an_empty_rope_is_an_empty_request() -> None:
    payload = Payload(Signal.METRICS, ())
    assert (0, 0, b"", ()) == (
        payload.items,
        payload.size,
        payload.joined(),
        payload.member_items(),
    )


def test_repr_names_signal_members_and_bytes() -> None:
    assert "<Payload logs members=2 bytes=5>" == repr(Payload(Signal.LOGS, [b"abc", b"de"]))
