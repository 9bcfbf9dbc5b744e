"""The detector `system`: what the machine says about itself.

Values are those of the Collector on Linux. Whatever may wait for a name server runs in a thread of
its own that nobody waits for longer than its share of the timeout, so that of two sources of the
host name the second is asked in time. What cannot be read is left out and said in the log.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.functions.worker import Worker
from mlsysops_processors.resource_detection import machine, names
from mlsysops_processors.resource_detection.detection import DetectionError, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.component import Settings
    from mlsysops_processors.resource_detection.config import SystemConfig
    from mlsysops_processors.resource_detection.detection import Found


class SystemDetector:
    """Implements `Detector`. ``timeout_s``: what all sources of the host name may take."""

    has_schema = True

    def __init__(self, config: SystemConfig, timeout_s: float, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._wanted = config.wanted
        self._sources = config.hostname_sources or ("dns", "os")
        # A little less than an equal share, for what there is to do besides.
        self._share_s = 0.9 * timeout_s / len(self._sources)

    async def detect(self) -> Found:
        """Ask the machine. Raises `DetectionError` if no source has a host name."""
        # As in the Collector, a machine without a name is one about which nothing is said.
        name = await self._host_name()
        found: Found = {"host.name": name} if "host.name" in self._wanted else {}
        wanted = self._wanted - {"host.name"}
        facts, missing = await self._aside("facts", partial(machine.facts, wanted))
        for reason in missing:
            self._settings.logger.warning("system detector: %s", reason)
        found.update(facts)
        return found

    def known(self) -> Found:
        """Nothing."""
        return {}

    async def _host_name(self) -> str:
        reasons = []
        for source in self._sources:
            try:
                async with within(self._settings.clock, self._share_s):
                    name: str = await self._aside(source, names.SOURCES[source])
                    return name
            except TimeoutError:
                reasons.append(f"{source}: no answer within {self._share_s:.1f} s")
            except OSError as error:
                reasons.append(f"{source}: {error}")
            self._settings.logger.debug("no host name: %s", reasons[-1])
        message = f"all hostname sources failed to get hostname: {'; '.join(reasons)}"
        raise DetectionError(message, is_passing=True, is_fatal=True)

    async def _aside(self, name: str, function: Callable[[], Any]) -> Any:
        """What ``function`` returns or raises, in a thread that can be left behind."""
        worker = Worker(f"detect {name}")
        try:
            return await worker.call(function)
        finally:
            worker.leave()
