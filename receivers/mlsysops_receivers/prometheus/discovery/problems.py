"""What is wrong with lists of targets: counted always, logged once until it is over or changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging

    from mlsysops_pipeline.meter import Number


class Problems:
    """The problems of the sources of one job, by source."""

    def __init__(
        self, job: str, logger: logging.LoggerAdapter[Any], failures: Number, on_change: Any
    ) -> None:
        self._job = job
        self._logger = logger
        self._failures = failures
        self._on_change = on_change
        self.current: dict[str, str] = {}

    def note(self, source: str, message: str) -> None:
        """A source could not be used this time."""
        self._failures.add(1)
        if self.current.get(source) == message:
            return
        self.current[source] = message
        self._logger.warning("discovery of job %r: %s", self._job, message)
        self._on_change()

    def settle(self, source: str) -> None:
        """A source is well."""
        if self.current.pop(source, None) is not None:
            self._logger.info("discovery of job %r: %s can be used again", self._job, source)
            self._on_change()

    def __repr__(self) -> str:
        return f"<Problems {self._job} {len(self.current)}>"
