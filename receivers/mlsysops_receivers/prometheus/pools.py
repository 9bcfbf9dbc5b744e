"""The targets of one job as they come and go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.transport.complaints import Complaints
from mlsysops_receivers.prometheus.discovery.files import FileDiscovery
from mlsysops_receivers.prometheus.discovery.http import HttpDiscovery
from mlsysops_receivers.prometheus.discovery.problems import Problems
from mlsysops_receivers.prometheus.fetch.client import Fetcher
from mlsysops_receivers.prometheus.loops import Around, TargetLoop
from mlsysops_receivers.prometheus.targets import Group, find_targets

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from mlsysops_pipeline.component import Settings
    from mlsysops_receivers.prometheus.board import Board
    from mlsysops_receivers.prometheus.intake import Intake
    from mlsysops_receivers.prometheus.jobs import Job
    from mlsysops_receivers.prometheus.schedule import Schedule

TARGETS_MAX: Final = 100_000
"""Targets of one job, whatever target_limit says."""


class Pool:
    """One job: its sources of targets, and a `TargetLoop` for each target."""

    def __init__(
        self,
        job: Job,
        settings: Settings,
        schedule: Schedule,
        intake: Intake,
        board: Board,
        *,
        seed: bytes,
        first_delay_s: float,
    ) -> None:
        self.job = job
        self.loops: dict[bytes, TargetLoop] = {}
        self._settings = settings
        self._schedule = schedule
        self._board = board
        self._seed = seed
        self._first_delay_s = first_delay_s
        self._complaints = Complaints(settings.logger, settings.clock)
        self._fetcher = Fetcher(job.config, settings)
        self._fetchers = [self._fetcher]
        self._around = Around(job, self._fetcher, intake, board, settings)
        self._groups: dict[int, tuple[Group, ...]] = {}
        self._is_stopped = False
        attributes = {"receiver": str(settings.id), "job": job.name}
        failures = settings.meter.counter("mlsysops_receiver_discovery_failures", "{failure}")
        self._dropped = settings.meter.gauge("mlsysops_receiver_dropped_targets", "{target}").bind(
            attributes
        )
        self.problems = Problems(job.name, settings.logger, failures.bind(attributes), board.report)

    async def start(self) -> None:
        """Begin with the targets of the configuration, and look for others.

        Raises `OSError` that names a file which the configuration needs and which cannot be read.
        """
        await self._fetcher.open()
        await self._discover()
        statics = [
            Group("static_configs", tuple(map(str, config.targets)), _texts(config.labels))
            for config in self.job.config.static_configs
        ]
        self._publisher(-1)(tuple(statics))

    async def _discover(self) -> None:
        config, clock = self.job.config, self._settings.clock
        sources: list[FileDiscovery | HttpDiscovery] = [
            FileDiscovery(files, clock, self.problems, self._publisher(index))
            for index, files in enumerate(config.file_sd_configs)
        ]
        for server in config.http_sd_configs:
            fetcher = Fetcher(server, self._settings)
            await fetcher.open()
            self._fetchers.append(fetcher)
            publish = self._publisher(len(sources))
            sources.append(HttpDiscovery(server, fetcher, clock, self.problems, publish))
        for source in sources:
            self._settings.tasks.spawn_forever(f"discovery of {self.job.name}", source.run)

    def _publisher(self, source: int) -> Callable[[tuple[Group, ...]], None]:
        def publish(groups: tuple[Group, ...]) -> None:
            self._groups[source] = groups
            self._update()

        return publish

    def _update(self) -> None:
        """Begin with targets that are new, and end with those that are gone."""
        if self._is_stopped:
            return
        groups = [group for source in sorted(self._groups) for group in self._groups[source]]
        found = find_targets(self.job, groups, self._seed)
        self._dropped.set(found.dropped)
        for problem in found.problems:
            self._complaints.say(problem, f"job {self.job.name!r}: not a target: {problem}")
        limit, count = self.job.target_limit, len(found.targets)
        self._around.excess = ""
        if limit and count > limit:
            self._around.excess = (
                f"target_limit exceeded (number of targets: {count}, limit: {limit})"
            )
        gone = [loop for key, loop in self.loops.items() if key not in found.targets]
        for loop in gone:
            del self.loops[loop.target.key]
            if loop.place is not None:
                loop.place.remove()
        if gone:
            self._settings.tasks.spawn("targets that are gone", self._leave(gone))
        for key, target in found.targets.items():
            if key not in self.loops and len(self.loops) < TARGETS_MAX:
                loop = self.loops[key] = TargetLoop(target, self._around)
                loop.place = self._schedule.add(
                    loop, target.interval_s, target.offset, self._first_delay_s
                )

    async def _leave(self, loops: list[TargetLoop]) -> None:
        def left(loop: TargetLoop) -> Coroutine[None, None, None]:
            return loop.leave(lambda: loop.target.key in self.loops)

        await asyncio.gather(*[left(loop) for loop in loops])

    async def stop(self) -> None:
        """No more scrapes, no more discovery. Nothing is marked as stale: we go, not they."""
        self._is_stopped = True
        await asyncio.gather(*[loop.stop() for loop in self.loops.values()])

    def release(self) -> None:
        """Close connections."""
        for fetcher in self._fetchers:
            fetcher.close()

    def __repr__(self) -> str:
        return f"<Pool {self.job.name} targets={len(self.loops)}>"


def _texts(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: str(value) for name, value in labels.items()}
