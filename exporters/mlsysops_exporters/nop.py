"""The end of a pipeline whose data nobody wants: everything is accepted and forgotten (A10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Factory, Kind, Settings, Stability
from mlsysops_pipeline.config.schema import ComponentConfig
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from mlsysops_pipeline.pdata.payload import Payload


class Config(ComponentConfig):
    """No keys."""


class NopExporter:
    """Implements `Exporter`."""

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing to release."""

    async def export(self, payload: Payload) -> None:
        """Done already."""


def _create(config: Config, settings: Settings, next_: None) -> NopExporter:  # noqa: ARG001
    return NopExporter()


FACTORY = Factory(
    kind=Kind.EXPORTER,
    type="nop",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    stability=Stability.BETA,
)
