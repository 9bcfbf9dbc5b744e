"""When a batch is complete, and that nothing is lost or repeated in one (CV-1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.delivery import batching
from mlsysops_pipeline.delivery.batching import (
    BATCH_BYTES,
    Batch,
    Batcher,
    BatchRules,
    split_or_keep,
)
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_payload, make_wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest


def add(batcher: Batcher, payload: Payload, now: float = 0.0) -> Sequence[Batch]:
    return batcher.add(payload, payload.items, payload.size, now)


def points(items: int, seed: int = 0, **headers: str) -> Payload:
    metadata = Metadata(headers={name: (value,) for name, value in headers.items()})
    return make_payload(Signal.METRICS, items, seed=seed, metadata=metadata)


def times(payloads: Sequence[Payload]) -> list[float]:
    """The value of every point, in order: `make_wire` makes them unique by seed and index."""
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

    found = []
    for payload in payloads:
        request = metrics_service_pb2.ExportMetricsServiceRequest.FromString(payload.joined())
        for group in request.resource_metrics:
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    found += [point.as_double for point in metric.gauge.data_points]
    return found


def test_a_batch_is_complete_when_it_is_large_enough() -> None:
    batcher = Batcher(BatchRules(min_size=10))

    assert [] == add(batcher, points(6))
    (batch,) = add(batcher, points(6))
    assert (12, 2) == (batch.items, batch.requests)
    assert not batch.by_timeout
    assert batcher.next_due is None


def test_a_batch_is_complete_a_while_after_its_first_request() -> None:
    batcher = Batcher(BatchRules(min_size=10, flush_s=0.2))
    add(batcher, points(1), now=1.0)
    add(batcher, points(1), now=1.1)

    assert 1.2 == batcher.next_due
    assert [] == batcher.due(1.19)
    (batch,) = batcher.due(1.2)
    assert 2 == batch.items
    assert batch.by_timeout


def test_the_time_starts_anew_after_a_batch_was_completed_by_size() -> None:
    batcher = Batcher(BatchRules(min_size=10, flush_s=0.2))
    add(batcher, points(10), now=1.0)
    add(batcher, points(1), now=1.1)

    assert 1.1 + 0.2 == batcher.next_due


def test_every_request_is_a_batch_if_nothing_is_waited_for() -> None:
    batcher = Batcher(BatchRules(min_size=0))

    assert [1] == [batch.items for batch in add(batcher, points(1))]


def test_sizes_can_be_bytes() -> None:
    first, second = points(1), points(1)
    batcher = Batcher(BatchRules(sizer="bytes", min_size=first.size + 1))

    assert [] == add(batcher, first)
    assert [first.size + second.size] == [batch.size for batch in add(batcher, second)]


def test_few_large_requests_are_a_batch_too() -> None:
    batcher = Batcher(BatchRules())
    large = Payload(Signal.LOGS, b"\0" * BATCH_BYTES, items=1)

    assert [1] == [batch.items for batch in add(batcher, large)]


def test_what_is_too_large_is_split_and_the_rest_waits_for_more() -> None:
    """The Collector's: 128 items and a limit of 100 make one batch of 100 and 28 that wait."""
    batcher = Batcher(BatchRules(min_size=100, max_size=100))
    add(batcher, points(60, seed=1))
    completed = add(batcher, points(68, seed=2), now=7.0)

    assert [100] == [batch.items for batch in completed]
    assert 28 == batcher.items
    assert 7.2 == batcher.next_due
    (rest,) = batcher.flush()
    assert times([points(60, seed=1), points(68, seed=2)]) == times(
        [batch.merged(()) for batch in (*completed, rest)]
    )


def test_pieces_count_a_request_once() -> None:
    batcher = Batcher(BatchRules(min_size=10, max_size=10))
    add(batcher, points(4))
    completed = add(batcher, points(30))

    assert [1, 0, 0] == [batch.requests for batch in completed]
    assert [1] == [batch.requests for batch in batcher.flush()]


def test_requests_of_different_tenants_do_not_share_a_batch() -> None:
    batcher = Batcher(BatchRules(min_size=3, metadata_keys=("tenant",)))
    add(batcher, points(2, tenant="a"))
    add(batcher, points(2, tenant="b"))
    (batch,) = add(batcher, points(2, tenant="a"))

    assert {"tenant": ("a",)} == batch.merged(("tenant",)).metadata.headers
    assert [2] == [other.items for other in batcher.flush()]


def test_a_merged_request_keeps_what_is_true_of_all_of_it() -> None:
    batcher = Batcher(BatchRules(min_size=2))
    first = make_payload(Signal.LOGS, 1, metadata=Metadata("grpc", "10.0.0.1", hops=1))
    second = make_payload(Signal.LOGS, 1, metadata=Metadata("http", "10.0.0.2", hops=4))
    add(batcher, first)
    (batch,) = add(batcher, second)
    merged = batch.merged(())

    assert Metadata(hops=4) == merged.metadata
    assert first.wires + second.wires == merged.wires
    assert 2 == merged.items


def test_the_headers_of_a_lone_request_do_not_depend_on_how_busy_the_collector_is() -> None:
    batcher = Batcher(BatchRules(min_size=1))
    (batch,) = add(batcher, points(1, tenant="a"))

    assert {} == batch.merged(()).metadata.headers


def test_the_number_of_open_batches_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "PARTITIONS_MAX", 3)
    batcher = Batcher(BatchRules(metadata_keys=("tenant",)))
    for number in range(3):
        assert [] == add(batcher, points(1, tenant=str(number)))
    (batch,) = add(batcher, points(1, tenant="one more"))

    assert (("0",),) == batch.key


def test_the_oldest_request_can_be_taken_out() -> None:
    batcher = Batcher(BatchRules())
    first, second = points(1, seed=1), points(2, seed=2)
    add(batcher, first)
    add(batcher, second)

    out = batcher.evict_oldest()
    assert out is not None
    assert [first] == out.parts
    assert 2 == batcher.items
    out = batcher.evict_oldest()
    assert out is not None
    assert [second] == out.parts
    assert batcher.evict_oldest() is None
    assert (0, 0) == (batcher.items, batcher.size)


def test_a_batch_can_be_halved() -> None:
    batcher = Batcher(BatchRules(min_size=6))
    for number in range(2):
        add(batcher, points(1, seed=number))
    (batch,) = add(batcher, points(4, seed=3))
    first, second = batch.halves()

    assert (1, 5) == (first.items, second.items)
    assert batch.size == first.size + second.size
    assert times([batch.merged(())]) == times([first.merged(()), second.merged(())])


def test_a_member_that_cannot_be_split_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlsysops_pipeline.errors import MalformedError
    from mlsysops_pipeline.pdata import splitting

    split = splitting.split
    bad = make_wire(Signal.METRICS, 5, seed=9)

    def strict(payload: Payload, *, items_max: int = 0, bytes_max: int = 0) -> list[Payload]:
        if bad in payload.wires:
            raise MalformedError("broken in the middle")
        return split(payload, items_max=items_max, bytes_max=bytes_max)

    monkeypatch.setattr(splitting, "split", strict)
    payload = Payload(Signal.METRICS, [make_wire(Signal.METRICS, 4), bad])

    assert [2, 2, 5] == [piece.items for piece in split_or_keep(payload, items_max=2)]


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    min_size=st.integers(0, 50),
    extra=st.none() | st.integers(0, 20),
    tenants=st.integers(1, 3),
)
def test_nothing_is_lost_repeated_or_reordered(
    sizes: list[int], min_size: int, extra: int | None, tenants: int
) -> None:
    """CV-1: every point arrives once, in the order of its tenant, in batches within the limits."""
    max_size = 0 if extra is None else max(min_size + extra, 1)
    batcher = Batcher(BatchRules(min_size=min_size, max_size=max_size, metadata_keys=("tenant",)))
    sent: dict[str, list[Payload]] = {}
    batches: list[Batch] = []
    for number, size in enumerate(sizes):
        tenant = str(number % tenants)
        payload = points(size, seed=1000 * number, tenant=tenant)
        sent.setdefault(tenant, []).append(payload)
        batches += add(batcher, payload)
    completed = len(batches)
    batches += batcher.flush()

    for tenant, payloads in sent.items():
        got = [b.merged(("tenant",)) for b in batches if b.key == ((tenant,),)]
        assert times(payloads) == times(got)
    assert len(sizes) == sum(batch.requests for batch in batches)
    assert all(batch.items >= min_size for batch in batches[:completed])
    assert all(batch.items == batch.merged(("tenant",)).items for batch in batches)
    if max_size:
        assert all(batch.items <= max_size for batch in batches)
    assert (0, 0) == (batcher.items, batcher.size)
