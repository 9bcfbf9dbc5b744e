"""Results as NumPy arrays and pandas frames. Both libraries are imported when first asked for.

Frames are put together from codes and one block of doubles, never from Python objects: pandas then
has nothing to infer, no column can become ``object``, and 2,000 columns take milliseconds.
"""

from __future__ import annotations

from array import array
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from mlsysops_pipeline.query.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from mlsysops_pipeline.query.results import Sample, Series

CELLS_MAX: Final = 1 << 25
"""Of a frame, which are 256 MiB. Series whose times differ make a row for each of them."""

_NAME: Final = "__name__"


def doubles(numbers: Iterable[float]) -> array[float]:
    """An array of doubles."""
    return array("d", numbers)


def as_float64(numbers: array[float]) -> npt.NDArray[np.float64]:
    """The same memory as a NumPy array. Raises `MissingExtraError`."""
    numpy = _library("numpy", "NumPy arrays")
    view: npt.NDArray[np.float64] = numpy.frombuffer(numbers, dtype=numpy.float64)
    return view


def as_int64_ns(seconds: array[float]) -> npt.NDArray[np.int64]:
    """Nanoseconds, from seconds that were written with milliseconds. Raises `MissingExtraError`.

    A double holds today's seconds to a quarter of a microsecond; rounding to the millisecond gives
    back what was written.
    """
    numpy = _library("numpy", "NumPy arrays")
    milliseconds = numpy.rint(as_float64(seconds) * 1e3).astype(numpy.int64)
    nanoseconds: npt.NDArray[np.int64] = milliseconds * 1_000_000
    return nanoseconds


def vector_frame(samples: Sequence[Sample]) -> pd.DataFrame:
    """See `results.Matrix.frame`; a row for each time, of which there is mostly one."""
    numpy = _library("numpy", "NumPy arrays")
    for one in samples:
        if one.histogram is not None:
            raise _no_column(one.labels)
    times = as_int64_ns(doubles(one.timestamp_s for one in samples))
    rows = numpy.unique(times)
    cells = _cells(numpy, len(samples), len(rows))
    places = (numpy.arange(len(samples)), numpy.searchsorted(rows, times))
    cells[places] = doubles(one.value for one in samples)
    return _frame(numpy, rows, cells, [one.labels for one in samples])


def matrix_frame(series: Sequence[Series]) -> pd.DataFrame:
    """See `results.Matrix.frame`."""
    numpy = _library("numpy", "NumPy arrays")
    for one in series:
        if one.histograms:
            raise _no_column(one.labels)
    first = series[0].times if series else doubles(())
    if all(one.times is first or one.times == first for one in series):
        # What a range query gives for series that never pause: nothing to align.
        rows = as_int64_ns(first)
        cells = _cells(numpy, len(series), len(rows))
        for cell, one in zip(cells, series, strict=True):
            cell[:] = one.numbers
    else:
        times = [as_int64_ns(one.times) for one in series]
        rows = numpy.unique(numpy.concatenate(times))
        cells = _cells(numpy, len(series), len(rows))
        for cell, own, one in zip(cells, times, series, strict=True):
            cell[numpy.searchsorted(rows, own)] = one.numbers
    return _frame(numpy, rows, cells, [one.labels for one in series])


def _no_column(labels: Mapping[str, str]) -> ValueError:
    return ValueError(
        f"{dict(labels)} has native histograms, which no column of floats holds;"
        " ask for histogram_quantile(), histogram_count() or histogram_sum() of it"
    )


def _cells(numpy: Any, series: int, rows: int) -> Any:
    """The block of a frame, a row for each series, NaN so far."""
    if series * rows > CELLS_MAX:
        raise ValueError(
            f"{series} series at {rows} times are more than {CELLS_MAX} cells;"
            " use query_range(), which aligns times, or take the series one by one"
        )
    return numpy.full((series, rows), numpy.nan)


def _frame(numpy: Any, rows: Any, cells: Any, labels: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    pandas = _library("pandas", "frames")
    made: pd.DataFrame = pandas.DataFrame(
        cells.T,
        index=pandas.DatetimeIndex(rows.view("datetime64[ns]"), tz="UTC", name="time"),
        columns=_columns(pandas, numpy, labels),
        copy=False,
    )
    return made


def _columns(pandas: Any, numpy: Any, labels: Sequence[Mapping[str, str]]) -> Any:
    """The labels of all series, as codes into the distinct values of each label."""
    names = sorted(set().union(*labels) - {_NAME})
    if not names or any(_NAME in one for one in labels):
        names.insert(0, _NAME)
    levels, codes = [], []
    for name in names:
        texts = [one.get(name, "") for one in labels]
        distinct = sorted(set(texts))
        code_of = {text: code for code, text in enumerate(distinct)}
        levels.append(distinct)
        codes.append(numpy.array([code_of[text] for text in texts], dtype=numpy.int32))
    return pandas.MultiIndex(levels=levels, codes=codes, names=names, verify_integrity=False)


def _library(name: str, purpose: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} need {name}, which is not installed:"
            f" pip install 'mlsysops-collector[{name}]'"
        ) from error
