"""How long to wait before trying again, and when to give up (components, A7; OC-12, OG-7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.delivery.config import RetryConfig


class RetrySchedule:
    """The waits of one delivery: exponential, with jitter, and never shorter than asked for.

    ``started``: the moment of its first attempt. ``random``: a number from 0 to 1.
    """

    __slots__ = ("_config", "_interval_s", "_random", "_started")

    def __init__(self, config: RetryConfig, started: float, random: Callable[[], float]) -> None:
        self._config = config
        self._started = started
        self._random = random
        self._interval_s = config.initial_interval

    def next_wait_s(self, now: float, asked_s: float | None = None) -> float | None:
        """The wait before the next attempt; ``None`` when it is time to give up.

        ``asked_s``: what the destination asked for. Waits grow from there if it fails again, and
        a wait that would pass ``max_elapsed_time`` is skipped rather than cut.
        """
        config = self._config
        spread = config.randomization_factor * (2 * self._random() - 1)
        wait_s = self._interval_s * (1 + spread)
        ceiling_s = config.max_interval
        if asked_s is not None:
            wait_s = max(wait_s, asked_s)
            self._interval_s = max(self._interval_s, asked_s)
            ceiling_s = max(ceiling_s, asked_s)
        self._interval_s = min(self._interval_s * config.multiplier, ceiling_s)
        elapsed_s = now - self._started
        if config.max_elapsed_time and elapsed_s + wait_s > config.max_elapsed_time:
            return None
        return wait_s
