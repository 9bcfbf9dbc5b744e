"""What each component sees of the collector around it, and the settings it is created with."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.component import ComponentID, Kind, Settings, Status
from mlsysops_pipeline.memory import MemoryAccount
from mlsysops_pipeline.meter import Meter
from mlsysops_pipeline.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mlsysops_pipeline.clock import Clock
    from mlsysops_pipeline.component import ComponentStatus, Extension, PipelineID
    from mlsysops_pipeline.ledger import PipelineLedger
    from mlsysops_pipeline.pdata.signal import Signal
    from mlsysops_pipeline.service.status import StatusBoard

_LOGGER = logging.getLogger("mlsysops_pipeline")


@dataclass(slots=True)
class Surroundings:
    """What all components of one collector share."""

    clock: Clock
    statuses: StatusBoard
    meter: Meter = field(default_factory=Meter)
    memory: MemoryAccount = field(default_factory=MemoryAccount)
    extensions: dict[ComponentID, Extension] = field(default_factory=dict)
    tasks: list[Tasks] = field(default_factory=list)
    folders: tuple[Path, ...] = ()
    is_ready: bool = False

    def settings(
        self,
        kind: Kind,
        id_: ComponentID,
        *,
        signals: Iterable[Signal] = (),
        pipeline: PipelineID | None = None,
        ledger: PipelineLedger | None = None,
    ) -> Settings:
        """The settings of one component, with a logger, host and task supervisor of its own."""
        host = ComponentHost(self, kind, id_)
        logger = _logger(kind, id_, pipeline)
        tasks = Tasks(logger, host.task_failed, host.task_recovered)
        self.tasks.append(tasks)
        return Settings(
            id=id_,
            kind=kind,
            logger=logger,
            meter=self.meter,
            clock=self.clock,
            tasks=tasks,
            memory=self.memory,
            host=host,
            signals=frozenset(signals),
            pipeline=pipeline,
            ledger=ledger,
            folders=self.folders,
        )


class ComponentHost:
    """Implements `Host` for one component."""

    __slots__ = ("_around", "_id", "_kind")

    def __init__(self, around: Surroundings, kind: Kind, id_: ComponentID) -> None:
        self._around = around
        self._kind = kind
        self._id = id_

    def extension(self, id_: ComponentID) -> Extension:
        """See `Host.extension`."""
        return self._around.extensions[id_]

    def report_status(self, status: Status, message: str = "") -> None:
        """See `Host.report_status`."""
        self._around.statuses.report(self._kind, self._id, status, message)

    def statuses(self) -> tuple[ComponentStatus, ...]:
        """See `Host.statuses`."""
        return self._around.statuses.all()

    @property
    def is_ready(self) -> bool:
        """See `Host.is_ready`."""
        return self._around.is_ready

    def task_failed(self, name: str, error: BaseException) -> None:
        """A background task of the component failed and was logged."""
        message = f"task {name!r} failed: {type(error).__name__}: {error}"
        self.report_status(Status.RECOVERABLE_ERROR, message)

    def task_recovered(self, name: str) -> None:  # noqa: ARG002  the supervisor's argument
        """A background task that had failed has been running for a while."""
        self.report_status(Status.OK)


def _logger(
    kind: Kind, id_: ComponentID, pipeline: PipelineID | None
) -> logging.LoggerAdapter[Any]:
    extra = {"otelcol.component.id": str(id_), "otelcol.component.kind": kind.value}
    if pipeline is not None:
        extra["otelcol.pipeline.id"] = str(pipeline)
        extra["otelcol.signal"] = str(pipeline.signal)
    name = f"{kind.value}.{str(id_).replace('.', '_')}"
    return logging.LoggerAdapter(_LOGGER.getChild(name), {"fields": extra})
