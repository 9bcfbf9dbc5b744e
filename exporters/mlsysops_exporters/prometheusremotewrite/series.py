"""What is made once for each series: its encoded labels, and those of all parts of a histogram."""

from __future__ import annotations

import math
from collections import deque
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias

from mlsysops_exporters.prometheusremotewrite.encoding import head, labels_bytes
from mlsysops_pipeline.prometheus.names import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlsysops_pipeline.prometheus.points import Family, Labels

PARTS_BYTES_MAX: Final = 64 << 20
"""Heads of about 20,000 histograms of ten buckets."""

_LAYOUTS_MAX: Final = 4
"""Different bounds of one histogram that are remembered; they hardly ever change."""


class Parts:
    """The series that one histogram or summary is sent as, made on first use.

    ``count`` is the head of ``NAME_count``, by which the whole is judged to be new enough.
    ``made`` is told when heads were made, with their bytes.
    """

    __slots__ = ("_labels", "_layouts", "_made", "_name", "_sum", "_varies", "count")

    def __init__(
        self,
        name: str,
        labels: dict[str, str],
        *,
        is_summary: bool,
        made: Callable[[Parts, int], None],
    ) -> None:
        self._labels = labels
        self._name = name
        self._made = made
        self._varies = (name, "quantile") if is_summary else (f"{name}_bucket", "le")
        self._layouts: dict[tuple[float, ...], tuple[bytes, ...]] = {}
        self._sum: bytes | None = None
        self.count = series_head(f"{name}_count", labels)

    @property
    def sum(self) -> bytes:
        """The head of ``NAME_sum``."""
        if self._sum is None:
            self._sum = series_head(f"{self._name}_sum", self._labels)
        return self._sum

    def varying(self, numbers: tuple[float, ...]) -> tuple[bytes, ...]:
        """The heads of buckets by their upper bounds, or of quantiles."""
        found = self._layouts.get(numbers)
        if found is None:
            if len(self._layouts) >= _LAYOUTS_MAX:
                self._layouts.clear()
            name, label = self._varies
            found = tuple(
                [
                    series_head(name, {**self._labels, label: decimal_text(number)})
                    for number in numbers
                ]
            )
            self._layouts[numbers] = found
            self._made(self, sum(map(len, found)))
        return found

    def known(self) -> set[bytes]:
        """The heads that may have been sent: a series that ends does not say what it had."""
        return {one for heads in self._layouts.values() for one in heads}

    def forget(self) -> None:
        """Free what can be made again."""
        self._layouts.clear()

    def __repr__(self) -> str:
        return f"<Parts {self._name} {self._labels}>"


Series: TypeAlias = bytes | Parts
"""A head, or the parts of what is more than one series."""


class SeriesMaker:
    """Makes series for a translator: implements `translate.MakeSeries`.

    ``external``: labels that every series gets unless it has one of that name itself.
    ``parts_bytes_max``: what heads of buckets and quantiles may take, of which the translator that
    keeps the series knows nothing; the oldest are forgotten first.
    """

    __slots__ = ("_bytes", "_bytes_max", "_external", "_parts")

    def __init__(self, external: Mapping[str, str], parts_bytes_max: int = PARTS_BYTES_MAX) -> None:
        self._external = dict(external)
        self._bytes_max = parts_bytes_max
        self._parts: deque[tuple[Parts, int]] = deque()
        self._bytes = 0

    def __call__(self, family: Family, labels: Labels) -> Series:
        """See `translate.MakeSeries`."""
        if family.kind is Kind.HISTOGRAM or family.kind is Kind.SUMMARY:
            merged = {**self._external, **dict(labels)}
            is_summary = family.kind is Kind.SUMMARY
            return Parts(family.name, merged, is_summary=is_summary, made=self._made)
        return series_head(family.name, {**self._external, **dict(labels)})

    def _made(self, parts: Parts, size: int) -> None:
        self._parts.append((parts, size))
        self._bytes += size
        while self._bytes > self._bytes_max and len(self._parts) > 1:
            oldest, freed = self._parts.popleft()
            self._bytes -= freed
            if oldest is not parts:
                oldest.forget()

    def __repr__(self) -> str:
        return f"<SeriesMaker external={sorted(self._external)} parts_bytes={self._bytes}>"


def series_head(name: str, labels: dict[str, str]) -> bytes:
    """The head of the series with this name and these labels, sorted (R1-3)."""
    return head(labels_bytes(sorted({**labels, "__name__": name}.items())))


def decimal_text(number: float) -> str:
    """A bound or quantile as the Collector writes it: no exponent, no zeros that say nothing."""
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    text = format(Decimal(repr(number)), "f")
    return text.removesuffix(".0") if "." in text else text
