"""One detection: every detector at the same time, tried again, all within a limit.

What each finds is a dict of attribute names and values. `DetectionError` is how a detector fails;
what becomes of a failure is decided here, in one place.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from mlsysops_pipeline.delivery.retry import RetrySchedule
from mlsysops_pipeline.errors import CollectorError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from mlsysops_pipeline.clock import Clock
    from mlsysops_pipeline.component import Settings
    from mlsysops_processors.resource_detection.config import Config

Found = dict[str, Any]
"""Values by the names of attributes."""

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.40.0"
"""Of the semantic conventions that the names of attributes are of."""
_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30)


class DetectionError(CollectorError):
    """A detector did not find what it should.

    ``is_passing``: it may find it later. ``is_fatal``: the configuration or the machine is wrong,
    and the collector does not start. ``found``: what it found nevertheless.
    """

    def __init__(
        self,
        message: str,
        *,
        is_passing: bool = False,
        is_fatal: bool = False,
        found: Found | None = None,
    ) -> None:
        super().__init__(message)
        self.is_passing = is_passing
        self.is_fatal = is_fatal
        self.found: Found = found or {}


class Detector(Protocol):
    """Finds attributes of where the collector runs."""

    has_schema: bool
    """Whether its names are those of `SCHEMA_URL`."""

    async def detect(self) -> Found:
        """What there is, at this moment. Raises `DetectionError`; is cancelled when it is late."""

    def known(self) -> Found:
        """What is known without asking anybody, for when there is no answer in time."""


@dataclass(slots=True)
class Detected:
    """What all detectors found. ``failures``: why some did not, by detector."""

    found: Found = field(default_factory=dict)
    has_schema: bool = False
    failures: dict[str, DetectionError] = field(default_factory=dict)


@asynccontextmanager
async def within(clock: Clock, seconds: float) -> AsyncIterator[None]:
    """`asyncio.timeout` by a `Clock`. 0: no limit. Raises `TimeoutError` when time is up."""
    async with asyncio.timeout(None) as limit:
        timer = None
        if seconds:
            loop = asyncio.get_running_loop()
            timer = clock.call_later(seconds, lambda: limit.reschedule(loop.time()))
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()


class Detection:
    """Runs detectors, as often as asked. ``detectors``: in the order in which they count."""

    def __init__(
        self, detectors: Mapping[str, Detector], config: Config, settings: Settings
    ) -> None:
        self._detectors = detectors
        self._config = config
        self._settings = settings
        meter = settings.meter
        name = "otelcol_resourcedetection.detector."
        self._results = meter.counter(f"{name}results", "{detection}", "Results of detectors")
        self._durations = meter.histogram(f"{name}duration", _BOUNDS, "s", "Time of detectors")

    async def run(self) -> Detected:
        """Ask everybody, within the limit.

        Raises `DetectionError` if the collector must not run with what was found.
        """
        last: dict[str, DetectionError] = {}
        tasks = {
            name: self._settings.tasks.spawn(f"detect {name}", self._attempts(name, last))
            for name in self._detectors
        }
        try:
            async with within(self._settings.clock, self._config.limit_s):
                await asyncio.wait(tasks.values())
        except TimeoutError:
            pass  # told below, for each that is not done
        finally:
            for task in tasks.values():
                task.cancel()
        detected = Detected()
        for name, task in tasks.items():
            detector = self._detectors[name]
            found = None
            if task.done() and not task.cancelled():
                found = task.result()
            if found is None:
                error = last.get(name) or self._late(detector)
                detected.failures[name] = error
                found = error.found
            detected.has_schema |= detector.has_schema and bool(found)
            for key, value in found.items():
                detected.found.setdefault(key, value)
        self._judge(detected)
        return detected

    def _late(self, detector: Detector) -> DetectionError:
        message = f"no answer within {self._config.limit_s:g} s"
        return DetectionError(message, is_passing=True, found=detector.known())

    def _judge(self, detected: Detected) -> None:
        """Say what failed. Raises the first failure with which nothing may run."""
        wrong = [
            f"{name}: {error}"
            for name, error in detected.failures.items()
            if error.is_fatal or self._config.fail_on_missing_metadata
        ]
        if wrong:
            raise DetectionError(f"resource detection failed: {'; '.join(wrong)}", is_fatal=True)
        for name, error in detected.failures.items():
            known = f"with {', '.join(error.found)} only" if error.found else "without it"
            self._settings.logger.warning(
                "detector %s found nothing more, data goes on %s: %s", name, known, error
            )

    async def _attempts(self, name: str, last: dict[str, DetectionError]) -> Found | None:
        """What the detector found, at last; ``None`` if nothing, and why is in ``last``."""
        settings, retry = self._settings, self._config.retry
        clock = settings.clock
        started = clock.monotonic()
        schedule = RetrySchedule(retry, started, random.random)
        outcome = "failure"
        try:
            while True:
                try:
                    found = await self._attempt(name)
                except DetectionError as error:
                    last[name] = error
                    wait_s = self._wait_s(error, schedule)
                    if wait_s is None:
                        return None
                    settings.logger.warning("detector %s failed, will retry: %s", name, error)
                else:
                    outcome = "success"
                    return found
                await clock.sleep(wait_s)
        finally:
            labels = {"detector": name, "outcome": outcome}
            self._durations.bind_distribution(labels).record(clock.monotonic() - started)
            if outcome == "failure":
                labels["error.type"] = "DetectionError" if name in last else "TimeoutError"
            self._results.bind(labels).add(1)

    async def _attempt(self, name: str) -> Found:
        detector, config = self._detectors[name], self._config
        limit_s = config.timeout if config.retry.max_elapsed_time else 0.0
        try:
            async with within(self._settings.clock, limit_s):
                return await detector.detect()
        except TimeoutError as error:
            message = f"no answer within {limit_s:g} s"
            raise DetectionError(message, is_passing=True, found=detector.known()) from error

    def _wait_s(self, error: DetectionError, schedule: RetrySchedule) -> float | None:
        """How long to wait before the next attempt; ``None`` if there is none."""
        config = self._config
        # Who wants to wait for metadata waits for a socket or a token to be there, too.
        may_help = error.is_passing or (config.fail_on_missing_metadata and not error.is_fatal)
        if not config.retry.enabled or not may_help:
            return None
        return schedule.next_wait_s(self._settings.clock.monotonic())

    def __repr__(self) -> str:
        return f"<Detection detectors={','.join(self._detectors)}>"
