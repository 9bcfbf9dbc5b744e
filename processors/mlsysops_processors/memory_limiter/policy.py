"""When to refuse, and when to collect garbage. Pure: times and readings are arguments.

Two measures. *Bytes in flight* are exact and immediate, so admission is decided by them, message
by message. *Resident memory* is what the system charges us for, but Python gives it back late, so
it is judged at intervals, after a collection, and it alone cannot keep the door shut for ever:
refusing ends when few bytes are in flight and resident memory has stopped growing. What is still
resident then is the process itself; refusing more data would not make it smaller. That level is
tolerated, and only growth beyond it by the spike limit is pressure again.

Between two looks resident memory grows by what comes in, at least. So no more comes in than there
was room for at the last look, or than the spike limit, if that is more: the process itself takes
memory too, of which bytes in flight alone know nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

_EFFECTIVE_SHARE = 0.05
"""A collection that frees less than this share was of no use (component reference, A3)."""
_LOW_SHARE = 0.5
"""Bytes in flight below this share of the soft limit are few: Python's objects around the bytes
cannot be what fills memory up to the limit."""
_LOW_SHARE_ABOVE_HARD = 0.125
"""The same where the hard limit is passed, and there is less to risk."""
_STEADY_BYTES = 1 << 20
"""Resident memory that grew by less than this since the last look does not grow."""
_COLLECTING_SHARE_MAX = 0.05
"""Collecting stops the event loop; it never gets more of the time than this."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The two limits, in bytes: refusal begins at ``soft``; at ``hard`` collecting gets eager."""

    soft: int
    hard: int

    @property
    def spike(self) -> int:
        """What may come in between two looks."""
        return self.hard - self.soft


class Pressure(enum.IntEnum):
    """Where resident memory stands."""

    NONE = 0
    SOFT = 1
    HARD = 2


@dataclass(slots=True)
class Gate:
    """How long to wait between two collections: from ``min_s``, doubled while they are useless.

    ``max_s`` caps the doubling; 0 means that it never doubles.
    """

    min_s: float
    max_s: float
    check_interval_s: float
    wait_s: float = 0.0

    def __post_init__(self) -> None:
        self.wait_s = self.min_s

    def learn(self, *, useful: bool) -> bool:
        """Take note of a collection; says whether the wait became longer because of it."""
        if useful or not self.max_s:
            self.wait_s = self.min_s
            return False
        first_s = max(self.min_s, 0.95 * self.check_interval_s)
        previous_s, self.wait_s = self.wait_s, min(max(2 * self.wait_s, first_s), self.max_s)
        return self.wait_s > previous_s


class Policy:
    """The state of one limiter: whether it refuses, and when it collected last."""

    __slots__ = (
        "_collected_s",
        "_collecting_s",
        "_gates",
        "_in_flight_before",
        "_resident_before",
        "_tolerated",
        "limits",
        "refusing",
    )

    def __init__(self, limits: Limits, soft: Gate, hard: Gate) -> None:
        self.limits = limits
        self.refusing = False
        self._gates = {Pressure.SOFT: soft, Pressure.HARD: hard}
        self._collected_s = float("-inf")
        self._collecting_s = 0.0
        self._in_flight_before = 0
        self._resident_before = 0
        self._tolerated = 0

    def begin(self, resident: int) -> None:
        """Note what is resident before any data came: the program around us, not our data."""
        self._tolerated = resident if resident >= self.limits.soft else 0
        self._resident_before = resident

    def admits(self, size: int, in_flight: int) -> bool:
        """Whether ``size`` more bytes may come in now (between two looks as well)."""
        limits = self.limits
        after = in_flight + size
        if self.refusing or in_flight >= limits.soft or after > limits.hard:
            return False
        room = max(limits.hard - self._resident_before, limits.spike)
        if after <= self._in_flight_before + room:
            return True
        # A message that is larger than the room would never get in: when little else is in flight.
        return in_flight <= limits.spike // 2

    def keeps(self, in_flight: int) -> bool:
        """Whether what is in flight already may go on."""
        return not self.refusing and in_flight <= self.limits.hard

    def pressure(self, resident: int) -> Pressure:
        """How full memory is."""
        if resident < self.limits.soft:
            return Pressure.NONE
        return Pressure.SOFT if resident < self.limits.hard else Pressure.HARD

    def wants_collection(self, now_s: float, resident: int) -> Pressure:
        """Whether to collect garbage now, and because of which limit."""
        pressure = self.pressure(resident)
        if pressure is Pressure.NONE:
            return pressure
        pause_s = max(
            self._gates[pressure].wait_s,
            self._collecting_s / _COLLECTING_SHARE_MAX,
        )
        return pressure if now_s - self._collected_s >= pause_s else Pressure.NONE

    def collected(
        self, pressure: Pressure, now_s: float, took_s: float, before: int, after: int
    ) -> bool:
        """Take note of a collection. False: it was of no use, and the next one is put off."""
        self._collected_s = now_s
        self._collecting_s = took_s
        useful = after < self.limits.soft or before - after >= _EFFECTIVE_SHARE * before
        return not self._gates[pressure].learn(useful=useful)

    def judge(self, in_flight: int, resident: int) -> bool:
        """Decide until the next look. Call once an interval, after collecting."""
        refused_before = self.refusing
        self.refusing = self._must_refuse(in_flight, resident)
        if resident < self.limits.soft:
            self._tolerated = 0
        elif not self.refusing:
            # It sinks with what is given back; only a refusal lets it rise.
            self._tolerated = resident if refused_before else min(self._tolerated, resident)
        self._in_flight_before = in_flight
        self._resident_before = resident
        return self.refusing

    def _must_refuse(self, in_flight: int, resident: int) -> bool:
        if in_flight >= self.limits.soft:
            return True
        if resident < self.limits.soft:
            return False
        if self.refusing:
            is_steady = resident <= self._resident_before + _STEADY_BYTES
            share = _LOW_SHARE if resident < self.limits.hard else _LOW_SHARE_ABOVE_HARD
            return not (is_steady and in_flight <= share * self.limits.soft)
        return not self._tolerated or resident > self._tolerated + self.limits.spike

    def __repr__(self) -> str:
        state = "refusing" if self.refusing else "accepting"
        return f"<Policy {state} soft={self.limits.soft} hard={self.limits.hard}>"
