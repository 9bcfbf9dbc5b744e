"""What questions are answered with: `Vector`, `Matrix`, `Scalar`, `String`.

Values and times are kept as `array.array` of doubles, 16 bytes a point, and need no library. The
properties that return NumPy arrays share that memory; they need the extra ``numpy``, `frame` the
extra ``pandas``. Times are seconds since 1970; servers send them with milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from mlsysops_pipeline.query import frames

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator, Mapping

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

__all__ = [
    "Bucket",
    "Histogram",
    "HistogramPoint",
    "Labels",
    "Matrix",
    "Result",
    "Sample",
    "Scalar",
    "Series",
    "String",
    "Vector",
]

Labels: TypeAlias = "Mapping[str, str]"
"""Label names and values; the name of the metric, where there is one, is ``__name__``."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Observations between two bounds of a native histogram."""

    left: float
    right: float
    count: float
    includes_left: bool
    includes_right: bool


@dataclass(frozen=True, slots=True)
class Histogram:
    """A native histogram. ``buckets``: those that are not empty, in rising order."""

    count: float
    sum: float
    buckets: tuple[Bucket, ...] = ()


@dataclass(frozen=True, slots=True)
class HistogramPoint:
    """A native histogram at a time (seconds since 1970)."""

    timestamp_s: float
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one series. ``value`` is NaN where ``histogram`` is given."""

    labels: Labels
    timestamp_s: float
    value: float
    histogram: Histogram | None = None

    @property
    def name(self) -> str:
        """The name of the metric; empty if the expression has none."""
        return self.labels.get("__name__", "")


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one series over time, oldest first.

    A time without a value is left out, never filled in. ``histograms``: native ones, which stand
    beside the values.
    """

    labels: Labels
    times: array[float]
    numbers: array[float]
    histograms: tuple[HistogramPoint, ...] = ()

    @property
    def name(self) -> str:
        """The name of the metric; empty if the expression has none."""
        return self.labels.get("__name__", "")

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """The values (float64), sharing memory with ``numbers``."""
        return frames.as_float64(self.numbers)

    @property
    def timestamps_s(self) -> npt.NDArray[np.float64]:
        """When: seconds since 1970 (float64), sharing memory with ``times``."""
        return frames.as_float64(self.times)

    @property
    def timestamps_ns(self) -> npt.NDArray[np.int64]:
        """When: nanoseconds since 1970 (int64), exact to the millisecond that was sent."""
        return frames.as_int64_ns(self.times)

    def points(self) -> Iterator[tuple[float, float]]:
        """Time in seconds and value, one after the other; needs no library."""
        return zip(self.times, self.numbers, strict=True)

    def __len__(self) -> int:
        return len(self.numbers)

    def __repr__(self) -> str:
        return f"Series({dict(self.labels)}, points={len(self.numbers)})"


@dataclass(frozen=True, slots=True)
class Vector:
    """One value for each of several series, at one time.

    ``warnings`` and ``infos`` are the server's words. ``is_partial``: the server says that data is
    missing (only with `Server.allow_partial`).
    """

    samples: tuple[Sample, ...] = ()
    warnings: tuple[str, ...] = field(default=(), kw_only=True)
    infos: tuple[str, ...] = field(default=(), kw_only=True)
    is_partial: bool = field(default=False, kw_only=True)

    @property
    def value(self) -> float:
        """The value of the only sample. Raises `ValueError` unless there is exactly one."""
        if len(self.samples) != 1:
            raise ValueError(f"{len(self.samples)} series instead of one")
        return self.samples[0].value

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """The values of all samples, in their order (float64)."""
        return frames.as_float64(frames.doubles(sample.value for sample in self.samples))

    @property
    def timestamps_s(self) -> npt.NDArray[np.float64]:
        """When each was valid: seconds since 1970 (float64)."""
        return frames.as_float64(frames.doubles(sample.timestamp_s for sample in self.samples))

    @property
    def timestamps_ns(self) -> npt.NDArray[np.int64]:
        """When each was valid: nanoseconds since 1970 (int64)."""
        return frames.as_int64_ns(frames.doubles(sample.timestamp_s for sample in self.samples))

    def frame(self) -> pd.DataFrame:
        """The same as a frame: see `Matrix.frame`; mostly with one row."""
        return frames.vector_frame(self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)


@dataclass(frozen=True, slots=True)
class Matrix:
    """Several series over time. For ``warnings``, ``infos`` and ``is_partial`` see `Vector`."""

    series: tuple[Series, ...] = ()
    warnings: tuple[str, ...] = field(default=(), kw_only=True)
    infos: tuple[str, ...] = field(default=(), kw_only=True)
    is_partial: bool = field(default=False, kw_only=True)

    def frame(self) -> pd.DataFrame:
        """A pandas frame of float64: one row a time, one column a series.

        Rows: a UTC `DatetimeIndex` called ``time``, rising, the union of all times. Columns: a
        `MultiIndex` with one level for each label name, ``__name__`` first; a label that a series
        lacks is empty, as in PromQL. A time without a value is NaN.

        Raises `MissingExtraError` without pandas, and `ValueError` for series of native histograms,
        which no column of floats holds, and for a frame of more than `frames.CELLS_MAX` cells.
        """
        return frames.matrix_frame(self.series)

    def __len__(self) -> int:
        return len(self.series)

    def __iter__(self) -> Iterator[Series]:
        return iter(self.series)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number without labels. For ``warnings``, ``infos`` and ``is_partial`` see `Vector`."""

    timestamp_s: float
    value: float
    warnings: tuple[str, ...] = field(default=(), kw_only=True)
    infos: tuple[str, ...] = field(default=(), kw_only=True)
    is_partial: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class String:
    """A text. For ``warnings``, ``infos`` and ``is_partial`` see `Vector`."""

    timestamp_s: float
    value: str
    warnings: tuple[str, ...] = field(default=(), kw_only=True)
    infos: tuple[str, ...] = field(default=(), kw_only=True)
    is_partial: bool = field(default=False, kw_only=True)


Result: TypeAlias = Vector | Matrix | Scalar | String
"""What an instant query may be answered with."""
