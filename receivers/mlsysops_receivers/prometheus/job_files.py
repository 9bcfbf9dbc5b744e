"""Jobs in files of their own (`scrape_config_files`), read when the receiver starts."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING

from mlsysops_pipeline.config.decode import decode
from mlsysops_pipeline.config.problems import NOWHERE, Position, Problem, error, has_errors
from mlsysops_pipeline.config.reading import Reader, read_bytes
from mlsysops_pipeline.config.schema import ComponentConfig
from mlsysops_pipeline.errors import ConfigError
from mlsysops_receivers.prometheus.scrape_config import ScrapeConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_receivers.prometheus.config import PrometheusConfig


class JobFile(ComponentConfig):
    """One file of `scrape_config_files`."""

    scrape_configs: tuple[ScrapeConfig, ...] = ()
    """The jobs."""


def all_jobs(config: PrometheusConfig) -> tuple[list[ScrapeConfig], list[Problem]]:
    """The jobs of the configuration and of its files, and warnings. It blocks.

    Raises `ConfigError` with everything that is wrong with the files.
    """
    jobs = list(config.scrape_configs)
    names = {str(job.job_name): "the configuration" for job in jobs}
    problems: list[Problem] = []
    for path in _paths(config.scrape_config_files):
        found, wrong = _read(path)
        problems += wrong
        for index, job in enumerate(found):
            place = ("scrape_configs", index)
            name = str(job.job_name)
            if name in names:
                message = f'found multiple scrape configs with job name "{name}"'
                hint = f"the other one is in {names[name]}"
                problems.append(error(Position(path), (*place, "job_name"), message, hint))
            names[name] = path
            problems += [
                error(Position(path), (*place, *finding.path), finding.message)
                for finding in job.check_against(config.defaults)
            ]
        jobs += found
    if has_errors(problems):
        raise ConfigError(problems)
    return jobs, problems


def _paths(patterns: Iterable[str]) -> list[str]:
    paths: list[str] = []
    for pattern in patterns:
        is_many = glob.has_magic(pattern)
        found = sorted(glob.glob(pattern)) if is_many else [pattern]  # noqa: PTH207  as written
        paths += [path for path in found if path not in paths]
    return paths


def _read(path: str) -> tuple[tuple[ScrapeConfig, ...], list[Problem]]:
    reader = Reader(path)
    try:
        node = reader.read_bytes(read_bytes(Path(path)))
    except OSError as failure:
        message = f"{path}: {failure.strerror or failure}"
        return (), [error(NOWHERE, ("config", "scrape_config_files"), message)]
    if node is None or reader.problems:
        return (), reader.problems
    found, problems = decode(JobFile, node)
    return (() if found is None else found.scrape_configs), problems
