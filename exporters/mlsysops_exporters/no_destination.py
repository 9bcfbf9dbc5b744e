"""The end of a pipeline that leads nowhere yet: everything is accepted, counted and dropped.

`--mode` uses it while no `--export-to` is given, so that the collector can be tried without a
destination and still says what became of the data: the reason is `no_destination`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import ExportResult, Factory, Kind, Settings, Stability
from mlsysops_pipeline.config.schema import ComponentConfig
from mlsysops_pipeline.errors import DropReason
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from mlsysops_pipeline.pdata.payload import Payload


class Config(ComponentConfig):
    """No keys."""


class NoDestination:
    """Implements `Exporter`; rejects every item of every payload."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def start(self) -> None:
        """Say once that nothing leaves this process."""
        self._settings.logger.warning(
            "no destination: data is accepted, counted as dropped (reason no_destination) and "
            "goes nowhere; give --export-to HOST:PORT"
        )

    async def shutdown(self) -> None:
        """Nothing to release."""

    async def export(self, payload: Payload) -> ExportResult:
        """Reject everything, by name."""
        return ExportResult(payload.items, reason=DropReason.NO_DESTINATION)


def _create(config: Config, settings: Settings, next_: None) -> NoDestination:  # noqa: ARG001
    return NoDestination(settings)


FACTORY = Factory(
    kind=Kind.EXPORTER,
    type="no_destination",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    stability=Stability.STABLE,
)
