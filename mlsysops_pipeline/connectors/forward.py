"""Passes a signal on from the pipelines that end in it to those that begin with it (A8).

Used to merge pipelines, or to fan one out into several with processors of their own. It holds
nothing: what a pipeline behind it refuses goes back to the sender, as in any fan-out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Factory, Kind, PipelineID, Settings, Stability
from mlsysops_pipeline.config.schema import ComponentConfig
from mlsysops_pipeline.fanout import prompt_of_all
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.component import Entry, Rest
    from mlsysops_pipeline.pdata.payload import Payload


class Config(ComponentConfig):
    """No keys."""


class ForwardConnector:
    """Implements `Connector`."""

    def __init__(self, entries: Mapping[PipelineID, Entry]) -> None:
        self._targets = {
            signal: [entry for id_, entry in entries.items() if id_.signal is signal]
            for signal in Signal
        }
        self._accepts = {
            signal: prompt_of_all(targets) for signal, targets in self._targets.items()
        }

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing is held."""

    async def consume(self, payload: Payload) -> None:
        """Give the payload to every pipeline of its signal behind this connector."""
        rest = self.accept_now(payload)
        if rest is not None:
            await rest()

    def accept_now(self, payload: Payload) -> Rest | None:
        """See `PromptConsumer`."""
        return self._accepts[payload.signal](payload)

    def __repr__(self) -> str:
        counts = {str(signal): len(targets) for signal, targets in self._targets.items() if targets}
        return f"<ForwardConnector pipelines={counts}>"


def _create(
    config: Config,  # noqa: ARG001  the factory's contract
    settings: Settings,  # noqa: ARG001
    next_: Mapping[PipelineID, Entry],
) -> ForwardConnector:
    return ForwardConnector(next_)


FACTORY = Factory(
    kind=Kind.CONNECTOR,
    type="forward",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    pairs=frozenset((signal, signal) for signal in Signal),
    stability=Stability.BETA,
)
