"""Results as NumPy arrays and pandas frames. Both libraries are imported when first asked for.

Frames are put together from codes and one block of doubles, never from Python objects: pandas then
has nothing to infer, no column can become ``object``, and 2,000 columns take milliseconds.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from mlsysops_pipeline.query.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

CELLS_MAX: Final = 1 << 25
"""Of a frame, which are 256 MiB. Series whose times differ make a row for each of them."""

_NAME: Final = "__name__"


@dataclass(frozen=True, slots=True)
class Column:
    """A series on its way into a frame: labels, times in seconds, values."""

    labels: Mapping[str, str]
    times: array[float]
    numbers: array[float]
    has_histograms: bool


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


def frame(columns: Iterable[Column]) -> pd.DataFrame:
    """See `results.Matrix.frame`."""
    pandas = _library("pandas", "frames")
    numpy = _library("numpy", "NumPy arrays")
    series = list(columns)
    for one in series:
        if one.has_histograms:
            raise ValueError(
                f"{dict(one.labels)} has native histograms, which no column of floats holds;"
                " ask for histogram_quantile(), histogram_count() or histogram_sum() of it"
            )
    rows, places = _rows(numpy, series)
    if len(rows) * len(series) > CELLS_MAX:
        raise ValueError(
            f"{len(series)} series at {len(rows)} times are more than {CELLS_MAX} cells;"
            " use query_range(), which aligns times, or take the series one by one"
        )
    cells = numpy.full((len(series), len(rows)), numpy.nan)
    for cell, one, place in zip(cells, series, places, strict=True):
        cell[place] = as_float64(one.numbers)
    index = pandas.DatetimeIndex(rows.view("datetime64[ns]"), tz="UTC", name="time")
    made: pd.DataFrame = pandas.DataFrame(
        cells.T, index=index, columns=_columns(pandas, numpy, series), copy=False
    )
    return made


def _rows(numpy: Any, series: Sequence[Column]) -> tuple[Any, list[Any]]:
    """All times, rising (int64, nanoseconds), and for each series where its values belong."""
    if not series:
        return numpy.empty(0, dtype=numpy.int64), []
    first = series[0].times
    if all(one.times is first or one.times == first for one in series):
        # What a range query gives for gauges that never pause: nothing to align.
        return as_int64_ns(first), [slice(None)] * len(series)
    times = [as_int64_ns(one.times) for one in series]
    rows = numpy.unique(numpy.concatenate(times))
    return rows, [numpy.searchsorted(rows, own) for own in times]


def _columns(pandas: Any, numpy: Any, series: Sequence[Column]) -> Any:
    """The labels of all series, as codes into the distinct values of each label."""
    names = sorted({name for one in series for name in one.labels} - {_NAME})
    if not names or any(_NAME in one.labels for one in series):
        names.insert(0, _NAME)
    levels, codes = [], []
    for name in names:
        texts = [one.labels.get(name, "") for one in series]
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
