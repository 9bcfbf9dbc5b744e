"""One line of log for each cause, however often it occurs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    from collections.abc import Hashable

    from mlsysops_pipeline.clock import Clock

INTERVAL_S = 60.0
"""A cause that persists is logged again after this long, with how often it occurred meanwhile."""
CAUSES_MAX = 100
"""Causes that are remembered; the one that is silent longest is forgotten first."""


class _Cause:
    __slots__ = ("again_at", "items", "times")

    def __init__(self) -> None:
        self.again_at = 0.0
        self.times = 0
        self.items = 0


class CauseLog:
    """A logger that says the first occurrence of a cause and counts the next ones."""

    __slots__ = ("_causes", "_clock", "_logger")

    def __init__(self, logger: logging.LoggerAdapter[Any], clock: Clock) -> None:
        self._logger = logger
        self._clock = clock
        self._causes: dict[Hashable, _Cause] = {}

    def say(
        self,
        cause: Hashable,
        level: int,
        message: str,
        *,
        items: int = 0,
        error: BaseException | None = None,
    ) -> None:
        """Log ``message``, unless the same cause was logged within the last minute.

        ``items``: how many items it concerns. ``error``: logged with its traceback.
        """
        now = self._clock.monotonic()
        state = self._causes.pop(cause, None) or _Cause()
        self._causes[cause] = state  # last, being the most recent
        if len(self._causes) > CAUSES_MAX:
            del self._causes[next(iter(self._causes))]
        if now < state.again_at:
            state.times += 1
            state.items += items
            return
        text = message
        if state.times:
            counted = f", {state.items} items" if state.items else ""
            text += f" (and {state.times} more since this was logged last{counted})"
        state.again_at, state.times, state.items = now + INTERVAL_S, 0, 0
        self._logger.log(level, text, exc_info=error)

    def __repr__(self) -> str:
        return f"<CauseLog causes={len(self._causes)}>"
