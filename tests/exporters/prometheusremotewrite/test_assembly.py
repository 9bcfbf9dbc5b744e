"""One payload as requests: what is rare, and what only happens in combination."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from mlsysops_exporters.prometheusremotewrite.assembly import Assembly, Unsent
from mlsysops_exporters.prometheusremotewrite.families import FAMILIES_MAX, INTERVAL_S, Families
from mlsysops_exporters.prometheusremotewrite.order import Latest
from mlsysops_exporters.prometheusremotewrite.series import Parts, SeriesMaker, series_head
from mlsysops_pipeline.prometheus.names import Kind
from mlsysops_pipeline.prometheus.points import Columns, Family, Numbers, Type
from mlsysops_pipeline.prometheus.translate import Options, Translator
from tests.exporters.prometheusremotewrite import prompb
from tests.exporters.prometheusremotewrite.otlp import (
    NOW_MS,
    counter,
    exponential,
    gauge,
    histogram,
    summary,
    wire,
)
from tests.exporters.prometheusremotewrite.receiver import is_stale

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlsysops_exporters.prometheusremotewrite.series import Series

TRACE, SPAN = bytes(range(16)), bytes(range(8))


class Line:
    """Translator and order, as an exporter has them, and a receiver that takes everything."""

    def __init__(self) -> None:
        self.translator: Translator[Series] = Translator(
            Options(), SeriesMaker({}), lambda *_: None
        )
        self.latest = Latest(0.0)

    def assemble(self, *metrics: Any, resource: dict[str, object] | None = None) -> Assembly:
        found = Assembly(self.latest, NOW_MS)
        batches = self.translator.columns(wire(*metrics, resource=resource))
        found.take_some(batches, 10_000, None)
        return found

    def send(
        self, *metrics: Any, resource: dict[str, object] | None = None, bytes_max: int = 100_000
    ) -> dict[str, list[Any]]:
        """The series of all requests, by name."""
        found: dict[str, list[Any]] = {}
        for lane in self.assemble(*metrics, resource=resource).lanes(bytes_max):
            for request in lane:
                self.latest.delivered(request.times_ms)
                for series in prompb.parse(request.body).timeseries:
                    found.setdefault(prompb.labels_of(series)["__name__"], []).append(series)
        return found


def with_exemplar(metric: Any, value: float, time_ms: int = NOW_MS) -> Any:
    data = metric.sum if metric.HasField("sum") else metric.histogram
    if metric.HasField("exponential_histogram"):
        data = metric.exponential_histogram
    data.data_points[0].exemplars.add(
        as_double=value, time_unix_nano=time_ms * 1_000_000, trace_id=TRACE, span_id=SPAN
    )
    return metric


def test_exemplars_are_sent_with_their_series() -> None:
    """PO-7, PO-16: of a histogram with the bucket that it falls into."""
    found = Line().send(
        with_exemplar(counter("c", (1, NOW_MS)), 1.0),
        with_exemplar(histogram("h", NOW_MS), 2.0),
        with_exemplar(exponential("e", NOW_MS), 0.9),
    )

    labels = {"trace_id": TRACE.hex(), "span_id": SPAN.hex()}
    ((one,),) = [list(series.exemplars) for series in found["c_total"]]
    assert (labels, 1.0, NOW_MS) == (prompb.labels_of(one), one.value, one.timestamp)
    by_bound = {prompb.labels_of(s)["le"]: len(s.exemplars) for s in found["h_bucket"]}
    assert {"1": 0, "2.5": 1, "+Inf": 0} == by_bound
    assert [1] == [len(series.exemplars) for series in found["e"]]
    assert [1] == [len(series.samples) for series in found["c_total"]]


def test_an_exemplar_above_all_bounds_is_with_the_last_bucket() -> None:
    found = Line().send(with_exemplar(histogram("h", NOW_MS), 1e9))

    by_bound = {prompb.labels_of(s)["le"]: len(s.exemplars) for s in found["h_bucket"]}
    assert {"1": 0, "2.5": 0, "+Inf": 1} == by_bound


def test_exemplars_without_a_time_or_of_the_future_are_left_out() -> None:
    for time_ms in (0, NOW_MS + 700_000):
        found = Line().send(with_exemplar(counter("c", (1, NOW_MS)), 1.0, time_ms))

        assert [0] == [len(series.exemplars) for series in found["c_total"]]


def test_several_points_of_one_histogram_in_a_payload() -> None:
    metrics = [histogram("h", NOW_MS + turn) for turn in (2, 0, 1, 1)]
    line = Line()
    assembly = line.assemble(*metrics)

    assert (3, {Unsent.DUPLICATE: 1}) == (assembly.items, assembly.unsent)
    for bytes_max in (100_000, 200):
        found = Line().send(*metrics, bytes_max=bytes_max)
        assert 3 == len({prompb.labels_of(series)["le"] for series in found["h_bucket"]})
        for name in ("h_bucket", "h_count", "h_sum"):
            times: dict[str, list[int]] = {}
            for series in found[name]:
                key = str(prompb.labels_of(series))
                times.setdefault(key, []).extend(one.timestamp for one in series.samples)
            assert all([NOW_MS, NOW_MS + 1, NOW_MS + 2] == found_ms for found_ms in times.values())


def test_items_are_the_points_of_otlp_whatever_they_become() -> None:
    metrics = (
        gauge("g", (1, NOW_MS), (2, NOW_MS + 1), (3, NOW_MS, {"a": "b"})),
        with_exemplar(counter("c", (1, NOW_MS)), 1.0),
        histogram("h", NOW_MS),
        exponential("e", NOW_MS),
        summary("s", NOW_MS),
    )
    resource: dict[str, object] = {"service.name": "x", "host.name": "n"}
    for bytes_max in (100_000, 300):
        assembly = Line().assemble(*metrics, resource=resource)
        assert 7 == assembly.items
        lanes = assembly.lanes(bytes_max)
        assert 7 == sum(request.items for lane in lanes for request in lane)


def test_only_what_was_sent_of_a_histogram_ends() -> None:
    """R1-7."""
    line = Line()
    line.send(histogram("h", NOW_MS, sum_=None))

    found = line.send(histogram("h", NOW_MS + 1, is_stale=True))

    assert {"h_count", "h_bucket"} == set(found)
    assert {"1", "2.5", "+Inf"} == {prompb.labels_of(s)["le"] for s in found["h_bucket"]}


def test_all_there_can_be_ends_if_nothing_is_known() -> None:
    """R1-7: as after a restart."""
    found = Line().send(histogram("h", NOW_MS, is_stale=True), summary("s", NOW_MS, is_stale=True))

    assert {"h_count", "h_bucket", "h_sum", "s_count", "s_sum"} == set(found)
    assert all(is_stale(one.value) for all_ in found.values() for s in all_ for one in s.samples)


def test_a_metric_may_change_its_type() -> None:
    line = Line()
    assert {"m"} == set(line.send(gauge("m", (1, NOW_MS))))
    assert {"m_total"} == set(line.send(counter("m", (1, NOW_MS + 1))))
    assert {"m_bucket", "m_sum", "m_count"} == set(line.send(histogram("m", NOW_MS + 2)))
    ((series,),) = line.send(exponential("m", NOW_MS + 3)).values()
    assert 1 == len(series.histograms)
    ((series,),) = line.send(gauge("m", (math.inf, NOW_MS + 4))).values()
    assert math.inf == series.samples[0].value


def test_a_histogram_and_a_gauge_of_the_same_series() -> None:
    """What came first stays; the other is not sent by halves."""
    assembly = Line().assemble(gauge("h_count", (1, NOW_MS)), histogram("h", NOW_MS))

    assert (1, {Unsent.DUPLICATE: 1}) == (assembly.items, assembly.unsent)
    assert "unsent=1" in repr(assembly)


def test_bounds_that_change_all_the_time_are_not_remembered() -> None:
    parts = SeriesMaker({})(Family("h", Kind.HISTOGRAM, Type.HISTOGRAM, help_="", unit=""), ())
    assert isinstance(parts, Parts)
    for bound in range(100):
        assert 2 == len(parts.varying((float(bound), math.inf)))

    assert len(parts.known()) <= 8


def test_metadata_is_bounded_and_sent_in_pieces() -> None:
    families = Families()
    for number in range(FAMILIES_MAX + 5):
        families.see(Family(f"m{number}", Kind.GAUGE, Type.GAUGE, help_="x" * 5_000, unit="s"))

    sizes = []
    names = set()
    while piece := families.due(0.0):
        sizes.append(len(piece))
        found = prompb.parse(piece).metadata
        names |= {one.metric_family_name for one in found}
        assert {1_024} == {len(one.help) for one in found}
    assert FAMILIES_MAX == len(names)
    assert max(sizes) < 70_000
    assert b"" == families.due(INTERVAL_S - 1)
    assert families.due(INTERVAL_S)


_TIMES = st.sampled_from([0, 1, NOW_MS - 1, NOW_MS, NOW_MS + 1, NOW_MS + 700_000])
_POINTS = st.lists(st.tuples(st.integers(0, 5), _TIMES, st.integers(0, 3)), max_size=12)


def _column_by_column(points: list[tuple[int, int, int]]) -> Iterator[Columns[Series]]:
    columns: Columns[Series] = Columns()
    for number, time_ms, value in points:
        columns.series.append(series_head(f"s{number}", {}))
        columns.times_ns.append(time_ms * 1_000_000 + value)
        columns.values.append(struct.pack("<d", value))
    yield columns


def _one_by_one(points: list[tuple[int, int, int]]) -> Iterator[Numbers[Series]]:
    family = Family("s", Kind.GAUGE, Type.GAUGE, help_="", unit="")
    for number, time_ms, value in points:
        head = series_head(f"s{number}", {})
        yield Numbers(family, [(head, time_ms * 1_000_000 + value, 0, float(value), ())])


@given(payloads=st.lists(_POINTS, max_size=4))
def test_points_in_columns_are_sent_as_those_that_come_one_by_one(
    payloads: list[list[tuple[int, int, int]]],
) -> None:
    """R1-5: whatever repeats, is late, or has a time that cannot be sent."""
    results = []
    for batches in (_column_by_column, _one_by_one):
        latest = Latest(0.0)
        sent: list[object] = []
        for points in payloads:
            assembly = Assembly(latest, NOW_MS)
            while assembly.take_some(batches(points), 100, None):
                pass
            sent += [assembly.items, assembly.unsent]
            for ((request,),) in [assembly.lanes(100_000)] if len(assembly) else []:
                latest.delivered(request.times_ms)
                wire = prompb.parse(request.body)
                sent.append(sorted([one.SerializeToString() for one in wire.timeseries]))
        results.append(sent)

    assert results[0] == results[1]
