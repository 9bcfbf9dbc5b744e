"""Which label has too many values. Every combination of labels is a stream, and Loki's are few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VALUES_MAX: Final = 1_000
"""Values of one label within `WINDOW_NS` that are not worth a word."""
WINDOW_NS: Final = 600 * 1_000_000_000
_LABELS_MAX: Final = 100


class Spread:
    """Counts the values of labels, of which it keeps hashes only. ``tell(label)``: has too many."""

    def __init__(self, now_ns: Callable[[], int], tell: Callable[[str], None]) -> None:
        self._now_ns = now_ns
        self._tell = tell
        self._values: dict[str, set[int]] = {}
        self._since_ns = 0

    def see(self, labels: Mapping[str, str]) -> None:
        """Labels of a stream that was not seen of late."""
        now_ns = self._now_ns()
        if not 0 <= now_ns - self._since_ns < WINDOW_NS:
            self._since_ns = now_ns
            self._values.clear()
        for name, value in labels.items():
            values = self._values.get(name)
            if values is None:
                if len(self._values) >= _LABELS_MAX:
                    continue
                values = self._values[name] = set()
            values.add(hash(value))
            if len(values) > VALUES_MAX:
                values.clear()
                self._tell(name)

    def __repr__(self) -> str:
        counts = {name: len(values) for name, values in self._values.items()}
        return f"<Spread {counts}>"
