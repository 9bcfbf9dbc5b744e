"""What peers do wrong, in the log: one line for each cause, and never more than a few a minute.

A server meets its peers' mistakes as often as they like to make them, in as many variations; so
both the repetition of a cause and the number of causes are limited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import logging
    from collections.abc import Hashable

    from mlsysops_pipeline.clock import Clock

INTERVAL_S: Final = 60.0
"""A cause that persists is logged again after this long, with how often it occurred meanwhile."""
CAUSES_MAX: Final = 50
"""Causes that are logged within `INTERVAL_S`; what comes beyond is only counted."""


class Complaints:
    """The complaints of one server."""

    __slots__ = ("_causes", "_clock", "_logger", "_unsaid")

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any], clock: Clock) -> None:
        self._logger = logger
        self._clock = clock
        self._causes: dict[Hashable, float] = {}
        self._unsaid: dict[Hashable, int] = {}

    def say(self, cause: Hashable, text: str) -> None:
        """Log ``text`` as a warning, unless the same cause was logged within the last minute."""
        now_s = self._clock.monotonic()
        said_s = self._causes.get(cause)
        if said_s is not None and now_s - said_s < INTERVAL_S:
            self._unsaid[cause] = self._unsaid.get(cause, 0) + 1
            return
        if said_s is None and len(self._causes) >= CAUSES_MAX and not self._forget(now_s):
            return
        self._causes.pop(cause, None)
        self._causes[cause] = now_s  # last, being the most recent
        unsaid = self._unsaid.pop(cause, 0)
        if unsaid:
            text += f" (and {unsaid} more since this was logged last)"
        # As it is, not as a template with arguments: the log samples equal templates.
        self._logger.warning(text)

    def _forget(self, now_s: float) -> bool:
        """Make room by forgetting what is older than a minute; whether there is room now."""
        for cause, said_s in list(self._causes.items()):
            if now_s - said_s < INTERVAL_S:
                break
            del self._causes[cause]
            self._unsaid.pop(cause, None)
        return len(self._causes) < CAUSES_MAX

    def __repr__(self) -> str:
        return f"<Complaints causes={len(self._causes)}>"
