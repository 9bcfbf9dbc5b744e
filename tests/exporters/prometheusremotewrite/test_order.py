"""What is known of series is enough for their order, and bounded (R1-5)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlsysops_exporters.prometheusremotewrite.assembly import Assembly
from mlsysops_exporters.prometheusremotewrite.order import (
    GENERATION_S,
    SERIES_OVERHEAD_BYTES,
    Latest,
)
from mlsysops_exporters.prometheusremotewrite.series import Parts, SeriesMaker, series_head
from mlsysops_pipeline.prometheus.names import Kind
from mlsysops_pipeline.prometheus.points import Family, Numbers, Type
from tests.exporters.prometheusremotewrite import prompb
from tests.exporters.prometheusremotewrite.otlp import NOW_MS

GAUGE = Family("g", Kind.GAUGE, Type.GAUGE, help_="", unit="")


def head(name: str) -> bytes:
    return series_head("g", {"name": name})


def test_a_series_is_known_for_two_generations_after_its_last_sample() -> None:
    latest = Latest(0.0)
    latest.delivered([(head("a"), 5), (head("b"), 6)])
    assert not latest.is_due(GENERATION_S - 1)
    assert latest.is_due(GENERATION_S)
    latest.forget(GENERATION_S)
    assert (5, 6) == (latest.older(head("a")), latest.older(head("b")))
    latest.delivered([(head("b"), 7)])

    latest.forget(2 * GENERATION_S)

    assert -1 == latest.older(head("a"))
    assert 7 == latest.older(head("b"))
    assert 1 == len(latest)


def test_bytes_are_those_of_new_series_only() -> None:
    latest = Latest(0.0)
    latest.delivered([(head("a"), 5), (head("long" * 50), 6)])
    latest.delivered([(head("a"), 6), (head("a"), 7)])

    expected = len(head("a")) + len(head("long" * 50)) + 2 * SERIES_OVERHEAD_BYTES
    assert expected == latest.bytes
    assert f"bytes={expected}" in repr(latest)


def test_the_label_with_the_most_values_is_named() -> None:
    latest = Latest(0.0)
    assert "" == latest.most_varied_label()
    latest.delivered(
        [(series_head("g", {"zone": str(i % 3), "id": str(i)}), 1) for i in range(100)]
    )

    assert "id" == latest.most_varied_label()


payloads = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=12), max_size=6
)


@given(payloads, st.sampled_from([60, 150, 10_000]))
def test_whatever_comes_each_series_is_sent_in_order(
    plan: list[list[tuple[int, int]]], bytes_max: int
) -> None:
    """Nothing is sent twice or late, and all is sent that is not: against a set of times."""
    latest = Latest(0.0)
    sent: dict[str, list[int]] = {}
    expected: dict[str, set[int]] = {}
    for points in plan:
        before = {name: max(times, default=-1) for name, times in expected.items()}
        assembly = Assembly(latest, NOW_MS)
        numbers: list[Any] = [
            (head(str(name)), (NOW_MS + time) * 1_000_000, 0, float(time), ())
            for name, time in points
        ]
        assembly.take_some(iter([Numbers(GAUGE, numbers)]), 1_000, None)
        for name, time in points:
            if time > before.get(str(name), -1):
                expected.setdefault(str(name), set()).add(time)
        items = assembly.items
        assert len(points) == items + assembly.unsent.total()
        lanes = assembly.lanes(bytes_max)
        assert items == sum(request.items for lane in lanes for request in lane)
        in_lanes: list[str] = []
        for lane in lanes:
            names: set[str] = set()
            for request in lane:
                latest.delivered(request.times_ms)
                for series in prompb.parse(request.body).timeseries:
                    label = prompb.labels_of(series)["name"]
                    names.add(label)
                    sent.setdefault(label, []).extend(
                        one.timestamp - NOW_MS for one in series.samples
                    )
            in_lanes += names
        assert len(in_lanes) == len(set(in_lanes))

    assert {name: sorted(times) for name, times in expected.items()} == sent


def test_heads_of_buckets_are_bounded() -> None:
    made = SeriesMaker({}, parts_bytes_max=2_000)
    family = Family("h", Kind.HISTOGRAM, Type.HISTOGRAM, help_="", unit="")
    parts = [made(family, (("a", str(index)),)) for index in range(50)]
    for one in parts:
        assert isinstance(one, Parts)
        one.varying(tuple(map(float, range(10))))

    held = [len(one.known()) for one in parts if isinstance(one, Parts)]
    assert 0 == held[0]
    assert 10 == held[-1]
    assert sum(held) * 30 < 4_000
