"""A receiver that receives nothing (A10): a pipeline needs one even if only tests feed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Factory, Kind, Settings, Stability
from mlsysops_pipeline.config.schema import ComponentConfig
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.component import Entry


class Config(ComponentConfig):
    """No keys."""


class NopReceiver:
    """Implements `Receiver`."""

    async def start(self) -> None:
        """Nothing to listen to."""

    async def shutdown(self) -> None:
        """Nothing to release."""


def _create(
    config: Config,  # noqa: ARG001  the factory's contract
    settings: Settings,  # noqa: ARG001
    next_: Mapping[Signal, Entry],  # noqa: ARG001
) -> NopReceiver:
    return NopReceiver()


FACTORY = Factory(
    kind=Kind.RECEIVER,
    type="nop",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    stability=Stability.BETA,
)
