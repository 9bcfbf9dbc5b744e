"""The receiver object: its jobs, started and stopped together."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.config.wording import counted
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_receivers.prometheus.board import Board
from mlsysops_receivers.prometheus.fetch.deadline import Deadline
from mlsysops_receivers.prometheus.intake import Intake
from mlsysops_receivers.prometheus.job_files import all_jobs
from mlsysops_receivers.prometheus.jobs import resolved
from mlsysops_receivers.prometheus.pools import Pool
from mlsysops_receivers.prometheus.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.component import Entry, Settings
    from mlsysops_receivers.prometheus.config import Config

LAST_SCRAPE_S: Final = 5.0
"""How long the scrapes of `scrape_on_shutdown` may take together."""


class PrometheusReceiver:
    """Implements `Receiver`."""

    def __init__(self, config: Config, settings: Settings, next_: Mapping[Signal, Entry]) -> None:
        self.pools: list[Pool] = []
        self._config = config
        self._settings = settings
        self._board = Board(settings)
        self._board.discovery_problems = self._discovery_problems
        self._intake = Intake(next_[Signal.METRICS], settings)
        self._schedule = Schedule(settings.clock)

    async def start(self) -> None:
        """Begin to scrape. That targets are absent fails nothing here.

        Raises `ConfigError` for files of jobs, and `OSError` for files of secrets and certificates
        that cannot be read.
        """
        config, settings = self._config, self._settings
        jobs, warnings = await asyncio.to_thread(all_jobs, config.config)
        for warning in warnings:
            settings.logger.warning("%s", warning)
        seed = f"{socket.gethostname()} {settings.id}".encode()
        try:
            for job in jobs:
                pool = Pool(
                    resolved(
                        job, config.config.defaults, trims_suffixes=config.trim_metric_suffixes
                    ),
                    settings,
                    self._schedule,
                    self._intake,
                    self._board,
                    seed=seed,
                    first_delay_s=config.initial_scrape_offset,
                )
                self.pools.append(pool)
                await pool.start()
        except BaseException:
            await self._release()
            raise
        count = sum(len(pool.loops) for pool in self.pools)
        settings.logger.info("scraping %d targets of %d jobs", count, len(self.pools))

    def _discovery_problems(self) -> str:
        """The first of the lists of targets that cannot be read."""
        problems = [text for pool in self.pools for text in pool.problems.current.values()]
        if not problems:
            return ""
        lists = counted(len(problems), "list")
        return f"{lists} of targets cannot be used, such as {problems[0]}"

    async def shutdown(self) -> None:
        """No more scrapes, or one last one of each target (`scrape_on_shutdown`)."""
        self._schedule.stop()
        pools = list(self.pools)
        for pool in pools:
            await pool.stop()
        if self._config.scrape_on_shutdown and pools:
            await self._scrape_all(pools)
        await self._release()

    async def _scrape_all(self, pools: list[Pool]) -> None:
        clock, tasks = self._settings.clock, self._settings.tasks
        at_ns = clock.unix_ns()
        last = [
            tasks.spawn("last scrape", loop.scrape(at_ns))
            for pool in pools
            for loop in pool.loops.values()
        ]
        if not last:
            return
        try:
            with Deadline(clock, LAST_SCRAPE_S):
                await asyncio.wait(last)
        except TimeoutError:
            for task in last:
                task.cancel()
            await asyncio.wait(last)

    async def _release(self) -> None:
        pools, self.pools = self.pools, []
        for pool in pools:
            await pool.stop()
            pool.release()

    def __repr__(self) -> str:
        return f"<PrometheusReceiver {self._settings.id} {self._board} jobs={len(self.pools)}>"
