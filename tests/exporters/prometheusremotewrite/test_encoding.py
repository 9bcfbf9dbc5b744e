"""Our bytes of a WriteRequest, read by protobuf itself."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_exporters.prometheusremotewrite import encoding
from mlsysops_exporters.prometheusremotewrite.series import decimal_text, series_head
from tests.exporters.prometheusremotewrite import prompb

texts = st.text(st.characters(codec="utf-8"), max_size=200)
label_sets = st.dictionaries(texts, texts, max_size=8)
doubles = st.floats(allow_nan=False)
times_ms = st.integers(-(1 << 62), 1 << 62)


@given(label_sets, doubles, st.integers(encoding.TIME_MS_MIN, encoding.TIME_MS_MAX))
def test_a_head_a_value_and_a_time_are_a_series(
    labels: dict[str, str], value: float, time_ms: int
) -> None:
    head = encoding.head(encoding.labels_bytes(labels.items()))
    wire = head + encoding.pack_double(value) + encoding.time_bytes(time_ms)

    (series,) = prompb.parse(wire).timeseries
    assert labels == prompb.labels_of(series)
    assert [(time_ms, value)] == [(one.timestamp, one.value) for one in series.samples]
    assert encoding.labels_bytes(labels.items()) == encoding.labels_of(head)
    assert tuple(labels.items()) == encoding.decode_labels(encoding.labels_of(head))


@given(label_sets, st.lists(st.tuples(doubles, times_ms), max_size=5))
def test_several_samples_and_exemplars(
    labels: dict[str, str], samples: list[tuple[float, int]]
) -> None:
    fields = [encoding.sample(encoding.pack_double(value), time) for value, time in samples]
    fields += [encoding.exemplar(labels.items(), value, time) for value, time in samples]
    wire = encoding.series(encoding.labels_bytes(labels.items()), fields)

    (series,) = prompb.parse(wire).timeseries
    assert samples == [(one.value, one.timestamp) for one in series.samples]
    assert samples == [(one.value, one.timestamp) for one in series.exemplars]
    assert all(labels == prompb.labels_of(one) for one in series.exemplars)


@given(
    st.integers(-1_000, 1_000),
    st.lists(st.integers(0, 1 << 40), max_size=12),
    st.integers(-4, 8),
    times_ms,
)
def test_a_native_histogram(offset: int, counts: list[int], schema: int, time_ms: int) -> None:
    """PO-8: index + 1, deltas, no reset hint."""
    wire = encoding.series(
        b"",
        [
            encoding.native_histogram(
                count=sum(counts) + 3,
                sum_=encoding.pack_double(1.5),
                schema=schema,
                zero_threshold=0.5,
                zero_count=3,
                positive=(offset, tuple(counts)),
                negative=(0, ()),
                time_ms=time_ms,
            )
        ],
    )

    (found,) = prompb.parse(wire).timeseries[0].histograms
    assert (sum(counts) + 3, 1.5, schema, 0.5, 3, time_ms, 0) == (
        found.count_int, found.sum, found.schema, found.zero_threshold, found.zero_count_int,
        found.timestamp, found.reset_hint,
    )  # fmt: skip
    buckets: dict[int, int] = {}
    index = count = 0
    deltas = iter(found.positive_deltas)
    for span in found.positive_spans:
        index += span.offset
        for _ in range(span.length):
            count += next(deltas)
            buckets[index] = count
            index += 1
    assert [] == list(deltas)
    expected = {offset + 1 + at: count for at, count in enumerate(counts) if count}
    assert expected == {at: count for at, count in buckets.items() if count}
    assert not found.negative_spans


def test_metadata() -> None:
    wire = encoding.metadata(encoding.METADATA_TYPES["histogram"], "h", "Says ü", "seconds")

    (found,) = prompb.parse(wire).metadata
    assert (3, "h", "Says ü", "seconds") == (
        found.type, found.metric_family_name, found.help, found.unit,
    )  # fmt: skip


def test_the_end_of_a_series_has_its_bits() -> None:
    """R1-7."""
    assert struct.pack("<Q", prompb.STALE_BITS) == encoding.STALE
    assert encoding.pack_double(math.nan) != encoding.STALE


def test_the_name_is_sorted_among_the_labels() -> None:
    """R1-3: by bytes, where capitals come before the underscore."""
    head = series_head("m", {"Z": "1", "_a": "2", "a": "3"})

    labels = encoding.decode_labels(encoding.labels_of(head))
    assert ["Z", "__name__", "_a", "a"] == [name for name, _ in labels]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.5, "0.5"), (1.0, "1"), (100.0, "100"), (1e-7, "0.0000001"), (1e21, "1" + "0" * 21),
        (math.inf, "+Inf"), (-math.inf, "-Inf"), (-2.5, "-2.5"), (0.1, "0.1"), (0.0, "0"),
    ],
)  # fmt: skip
def test_bounds_are_written_as_the_collector_writes_them(number: float, text: str) -> None:
    assert text == decimal_text(number)
