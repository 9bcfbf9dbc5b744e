"""Which sample of each series was delivered last, so that none follows that is not newer (R1-5).

A series is known by its encoded head. What is known is bounded in two ways: a series that sent
nothing for some time is forgotten, and so are the oldest ones when there are too many. There are
two generations: what is used moves to the young one, and the old one is forgotten as a whole.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from mlsysops_exporters.prometheusremotewrite.encoding import decode_labels, labels_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GENERATION_S: Final = 600.0
"""A series is remembered at least that long after its last sample, and at most twice as long."""

GENERATION_BYTES: Final = 96 << 20
"""What the young generations of an exporter may take: about 300,000 series."""

SERIES_OVERHEAD_BYTES: Final = 130
"""What a series takes beside its labels: an object of bytes, a number, a place in a dict."""

_SAMPLED: Final = 1_000


class Latest:
    """The newest delivered time of each series, in milliseconds.

    ``get`` is the young generation's own method: the caller asks `older` when it knows nothing.
    ``is_refused``: nothing was delivered lately, and a whole payload was refused.
    """

    __slots__ = ("_began_s", "_old", "_young", "bytes", "get", "is_refused")

    def __init__(self, now_s: float) -> None:
        self._began_s = now_s
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self.bytes = 0
        self.is_refused = False
        self.get: Callable[[bytes], int | None] = self._young.get

    def older(self, head: bytes) -> int:
        """The time of a series that the young generation does not know; -1 if it is new."""
        return self._old.get(head, -1)

    def delivered(self, times_ms: Iterable[tuple[bytes, int]]) -> None:
        """Remember the newest sample of each series that arrived."""
        self.is_refused = False
        young = self._young
        known = len(young)
        young.update(times_ms)
        added = len(young) - known
        if added:
            for head in islice(reversed(young), added):
                self.bytes += len(head)
            self.bytes += added * SERIES_OVERHEAD_BYTES

    def refused(self) -> None:
        """Nothing of a payload was taken."""
        self.is_refused = not self._young and not self._old

    def is_due(self, now_s: float) -> bool:
        """Whether it is time to forget the old generation."""
        return now_s - self._began_s >= GENERATION_S

    def forget(self, now_s: float) -> None:
        """Forget the old generation, and begin a young one."""
        self._old, self._young = self._young, {}
        self.get = self._young.get
        self.bytes = 0
        self._began_s = now_s

    def most_varied_label(self) -> str:
        """The label with the most values in the newest series: likely no label should have it."""
        values: dict[str, set[str]] = {}
        for head in islice(reversed(self._young), _SAMPLED):
            for name, value in decode_labels(labels_of(head)):
                values.setdefault(name, set()).add(value)
        return max(values, key=lambda name: len(values[name]), default="")

    def __len__(self) -> int:
        return len(self._young) + sum(head not in self._young for head in self._old)

    def __repr__(self) -> str:
        return f"<Latest young={len(self._young)} old={len(self._old)} bytes={self.bytes}>"
