"""Type, help and unit of metrics, which remote write 1.0 sends beside the series, now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_exporters.prometheusremotewrite.encoding import METADATA_TYPES, metadata

if TYPE_CHECKING:
    from mlsysops_pipeline.prometheus.points import Family

INTERVAL_S: Final = 60.0
"""How often everything is sent again: receivers forget."""
FAMILIES_MAX: Final = 10_000
"""Metrics that are known at a time; the oldest is forgotten first."""
_PIECE_BYTES: Final = 64 << 10
_HELP_CHARACTERS_MAX: Final = 1024


class Families:
    """What is known of metrics, and what of it has to be sent."""

    def __init__(self) -> None:
        self._known: dict[str, Family] = {}
        self._waiting: dict[str, Family] = {}
        self._again_s = 0.0

    def see(self, family: Family) -> None:
        """A metric that is sent. What is said of it last counts."""
        if self._known.get(family.name) is family:
            return
        self._known[family.name] = self._waiting[family.name] = family
        if len(self._known) > FAMILIES_MAX:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._waiting.pop(oldest, None)

    def due(self, now_s: float) -> bytes:
        """What to send with the next request: a piece of it, if it is much."""
        if now_s >= self._again_s:
            self._again_s = now_s + INTERVAL_S
            self._waiting = dict(self._known)
        parts: list[bytes] = []
        size = 0
        while self._waiting and size < _PIECE_BYTES:
            family = self._waiting.pop(next(iter(self._waiting)))
            parts.append(
                metadata(
                    METADATA_TYPES[family.type],
                    family.name,
                    family.help[:_HELP_CHARACTERS_MAX],
                    family.unit,
                )
            )
            size += len(parts[-1])
        return b"".join(parts)

    def __repr__(self) -> str:
        return f"<Families known={len(self._known)} waiting={len(self._waiting)}>"
