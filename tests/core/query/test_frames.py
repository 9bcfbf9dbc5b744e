"""Results as NumPy arrays and pandas frames, and without both."""

# ruff: noqa: PD011  the values are ours, not those of pandas

from __future__ import annotations

import math
import subprocess
import sys
from array import array

import numpy as np
import pandas as pd
import pytest

from mlsysops_pipeline.query import (
    Histogram,
    HistogramPoint,
    Matrix,
    MissingExtraError,
    Sample,
    Series,
    Vector,
    frames,
)

T0 = 1_700_000_000


def series(labels: dict[str, str], points: dict[float, float]) -> Series:
    return Series(labels, array("d", points), array("d", points.values()))


def test_arrays_share_memory_and_have_exact_times() -> None:
    one = series({"__name__": "m"}, {T0 + 0.123: 1.5, T0 + 0.999: math.nan})

    dtypes = (one.values.dtype, one.timestamps_s.dtype, one.timestamps_ns.dtype)
    assert ("float64", "float64", "int64") == tuple(map(str, dtypes))
    assert [T0 * 10**9 + 123_000_000, T0 * 10**9 + 999_000_000] == one.timestamps_ns.tolist()
    assert np.shares_memory(one.values, one.values)
    np.testing.assert_array_equal([1.5, math.nan], one.values)
    assert [T0 + 0.123, T0 + 0.999] == one.timestamps_s.tolist()
    assert ("m", 2, "Series({'__name__': 'm'}, points=2)") == (one.name, len(one), repr(one))


def test_a_vector_as_arrays_and_as_one_row() -> None:
    vector = Vector(
        (
            Sample({"__name__": "up", "job": "b"}, T0, 1.0),
            Sample({"__name__": "up", "job": "a"}, T0, 2.0),
        )
    )
    frame = vector.frame()

    assert ([1.0, 2.0], [T0] * 2, [T0 * 10**9] * 2) == (
        vector.values.tolist(),
        vector.timestamps_s.tolist(),
        vector.timestamps_ns.tolist(),
    )
    assert vector.values.dtype == np.float64
    assert (1, 2) == frame.shape
    assert 2.0 == frame[("up", "a")].iloc[0]
    assert [pd.Timestamp(T0, unit="s", tz="UTC")] == list(frame.index)


def test_a_frame_aligns_times_and_labels() -> None:
    matrix = Matrix(
        (
            series({"__name__": "m", "node": "a"}, {T0: 1, T0 + 15.5: 2}),
            series({"__name__": "m", "zone": "z"}, {T0 - 5: 3, T0: 4}),
            series({"node": "a"}, {}),
        )
    )
    frame = matrix.frame()

    assert ["__name__", "node", "zone"] == list(frame.columns.names)
    assert [("m", "a", ""), ("m", "", "z"), ("", "a", "")] == list(frame.columns)
    assert "datetime64[ns, UTC]" == str(frame.index.dtype)
    assert "time" == frame.index.name
    assert [T0 - 5, T0, T0 + 15.5] == [time.timestamp() for time in frame.index]
    nan = math.nan
    np.testing.assert_array_equal([[nan, 3, nan], [1, 4, nan], [2, nan, nan]], frame.to_numpy())
    assert {np.dtype(np.float64)} == set(frame.dtypes)


def test_a_frame_of_equal_times_is_one_block_of_floats() -> None:
    points = {T0 + 15.0 * step: float(step) for step in range(100)}
    matrix = Matrix(tuple(series({"i": str(i)}, points) for i in range(50)))
    frame = matrix.frame()

    assert (100, 50) == frame.shape
    assert {np.dtype(np.float64)} == set(frame.dtypes)
    assert frame[("7",)].tolist() == list(points.values())
    assert frame.columns.get_level_values("i").tolist() == [str(i) for i in range(50)]
    assert frame.resample("1min").mean().shape[1] == 50


@pytest.mark.parametrize("empty", [Vector(), Matrix()])
def test_an_empty_frame_has_the_same_types(empty: Vector | Matrix) -> None:
    frame = empty.frame()

    assert (0, 0) == frame.shape
    assert isinstance(frame.columns, pd.MultiIndex)
    assert ("datetime64[ns, UTC]", ["__name__"]) == (str(frame.index.dtype), frame.columns.names)


def test_a_series_without_labels_has_a_column() -> None:
    frame = Matrix((series({}, {T0: 1}),)).frame()

    assert ([("",)], ["__name__"]) == (list(frame.columns), list(frame.columns.names))


def test_histograms_are_no_column_of_floats() -> None:
    points = (HistogramPoint(T0, Histogram(1, 2)),)
    matrix = Matrix((Series({"a": "b"}, array("d"), array("d"), points),))
    vector = Vector((Sample({"a": "b"}, T0, math.nan, points[0].histogram),))

    for result in (matrix, vector):
        with pytest.raises(ValueError, match=r"has native histograms.*histogram_quantile"):
            result.frame()


def test_a_frame_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "CELLS_MAX", 99)
    matrix = Matrix(tuple(series({"i": str(i)}, {T0 + i: 1}) for i in range(10)))

    with pytest.raises(ValueError, match="10 series at 10 times are more than 99 cells"):
        matrix.frame()


def test_the_value_of_a_vector_is_that_of_its_only_sample() -> None:
    sample = Sample({}, T0, 5.0)

    assert 5.0 == Vector((sample,)).value
    for samples in ((), (sample, sample)):
        with pytest.raises(ValueError, match=f"{len(samples)} series instead of one"):
            _ = Vector(samples).value


@pytest.mark.parametrize("library", ["numpy", "pandas"])
def test_a_missing_library_is_named_with_its_extra(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    one = series({}, {T0: 1})

    assert [(T0, 1.0)] == list(one.points())
    with pytest.raises(MissingExtraError, match=rf"mlsysops-collector\[{library}\]"):
        _ = one.values if library == "numpy" else Matrix((one,)).frame()


@pytest.mark.slow
def test_neither_library_is_imported_before_it_is_needed() -> None:
    program = (
        "import sys; from mlsysops_pipeline.query.answers import AnswerReader; r = AnswerReader();"
        "import mlsysops_pipeline.query;"
        'r.feed(\'{"status":"success","data":{"resultType":"vector","result":'
        '[{"metric":{"a":"b"},"value":[1,"2"]}]}}\');'
        "print(r.result().value, {'numpy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )

    assert ("2.0 set()\n", "") == (done.stdout, done.stderr)
