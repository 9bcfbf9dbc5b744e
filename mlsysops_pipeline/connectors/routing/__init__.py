"""Sends data to this or that pipeline, by its attributes or by what its sender's headers say.

Component reference: D1. Rows by resource cut the request's bytes at the groups and never open a
data point; rows by metric, data point, log record or span open as much as their conditions ask
for. Differences from the Collector: conditions are comparisons of attributes (`conditions` says
which), one connector serves several signals, each by the rows whose pipelines are of its signal,
and what no row moves is counted as dropped (``no_route``) where there is no default.

What one pipeline refuses goes back to the sender, after every other has been given its part: the
sender repeats all of it, so nothing is lost, and what the others took can come twice.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Factory, Kind, PipelineID, Settings, Stability
from mlsysops_pipeline.config.problems import NOWHERE
from mlsysops_pipeline.config.problems import error as problem
from mlsysops_pipeline.connectors.routing.config import Config
from mlsysops_pipeline.connectors.routing.table import REST, Row, Table
from mlsysops_pipeline.errors import Code, ConfigError, DropReason, MalformedError, PermanentError
from mlsysops_pipeline.fanout import give_parts, prompt, prompt_of_all
from mlsysops_pipeline.ledger import PipelineLedger
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlsysops_pipeline.component import Entry, Rest
    from mlsysops_pipeline.connectors.routing.table import Parts
    from mlsysops_pipeline.fanout import Accept
    from mlsysops_pipeline.pdata.payload import Payload

_OPEN_FACTOR = 3
"""What an open view is charged, in sizes of the wire (see "Payload and views" in the design)."""


class RoutingConnector:
    """Implements `Connector`. ``ledger``: what came, what went on, what had no route."""

    def __init__(
        self, config: Config, settings: Settings, entries: Mapping[PipelineID, Entry]
    ) -> None:
        self._settings = settings
        self._tables: dict[Signal, Table] = {}
        self._accepts: dict[tuple[Signal, int], tuple[Accept, int]] = {}
        for signal in {id_.signal for id_ in entries}:
            rows = []
            for number, route in enumerate(config.table):
                if self._bind(signal, number, route.pipelines, entries):
                    rows.append(Row(number, route.compiled(), route.action == "move"))
            self._bind(signal, REST, config.default_pipelines, entries)
            self._tables[signal] = Table(signal, rows)
        self.ledger = PipelineLedger()
        self._observe()

    def _bind(
        self,
        signal: Signal,
        number: int,
        pipelines: tuple[PipelineID, ...],
        entries: Mapping[PipelineID, Entry],
    ) -> bool:
        """Remember where a row leads to for one signal; whether it leads anywhere."""
        targets = [entries[id_] for id_ in pipelines if id_.signal is signal]
        if targets:
            accept = prompt(targets[0]) if len(targets) == 1 else prompt_of_all(targets)
            self._accepts[signal, number] = accept, len(targets)
        return bool(targets)

    def _observe(self) -> None:
        meter, ledger = self._settings.meter, self.ledger
        labels = {"connector": str(self._settings.id)}
        name = "mlsysops_connector_{}_items".format
        meter.counter(name("received"), "{item}", "Items that a connector accepted").observe(
            labels, lambda: ledger.received
        )
        meter.counter(name("handed_on"), "{item}", "Items handed on, once per destination").observe(
            labels, lambda: ledger.handed_on
        )
        dropped = meter.counter(name("dropped"), "{item}", "Items lost in a connector, by reason")

        def reader(reason: DropReason) -> Callable[[], float | None]:
            return lambda: ledger.dropped[reason] or None

        for reason in (DropReason.NO_ROUTE, DropReason.MALFORMED):
            dropped.observe({**labels, "reason": reason.value}, reader(reason))

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing is held."""

    async def consume(self, payload: Payload) -> None:
        """Give every part of the payload to the pipelines of its row."""
        rest = self.accept_now(payload)
        if rest is not None:
            await rest()

    def accept_now(self, payload: Payload) -> Rest | None:
        """See `PromptConsumer`: at once where all goes one way, which is usual."""
        lost: list[Payload] = []
        parts = self._parts(payload, lost)
        if len(parts) == 1 and not lost:
            ((number, part),) = parts.items()
            target = self._accepts.get((payload.signal, number))
            rest = None if target is None else target[0](part)
            if rest is not None:
                return partial(self._finish, rest, payload, parts)
            self._count(payload, parts, lost)
            return None
        return partial(self._give, payload, parts, lost)

    async def _finish(self, rest: Rest, payload: Payload, parts: Parts) -> None:
        await rest()
        self._count(payload, parts, [])

    async def _give(self, payload: Payload, parts: Parts, lost: list[Payload]) -> None:
        signal = payload.signal
        given = [
            (self._accepts[signal, number][0], part)
            for number, part in parts.items()
            if (signal, number) in self._accepts
        ]
        await give_parts(given)
        self._count(payload, parts, lost)

    def _parts(self, payload: Payload, lost: list[Payload]) -> Parts:
        table = self._tables.get(payload.signal)
        if table is None:
            return {REST: payload}

        def malformed(member: Payload, message: str) -> None:
            lost.append(member)
            self._settings.logger.error(
                "dropped malformed data from %s: %s", payload.metadata.peer or "?", message
            )

        charge = _OPEN_FACTOR * payload.size if table.opens else 0
        try:
            with self._settings.memory.held(charge):
                return table.parts(payload, malformed)
        except MalformedError as error:
            raise PermanentError(
                error.message, code=Code.INVALID_ARGUMENT, reason=DropReason.MALFORMED
            ) from error

    def _count(self, payload: Payload, parts: Parts, lost: list[Payload]) -> None:
        """Keep the ledger, now that every part was taken."""
        ledger = self.ledger
        bad = sum(member.items for member in lost)
        taken = 0
        for number, part in parts.items():
            target = self._accepts.get((payload.signal, number))
            if target is None:
                ledger.drop(DropReason.NO_ROUTE, part.items)
                taken += part.items
            else:
                ledger.handed_on += part.items * target[1]
                taken += part.items * target[1]
        if bad:
            ledger.drop(DropReason.MALFORMED, bad)
        ledger.received += payload.items
        ledger.created += taken + bad - payload.items

    def __repr__(self) -> str:
        dropped = self.ledger.dropped.total()
        return f"<RoutingConnector {self._settings.id} dropped={dropped}>"


def _create(
    config: Config, settings: Settings, next_: Mapping[PipelineID, Entry]
) -> RoutingConnector:
    problems = [
        problem(
            NOWHERE,
            ("connectors", str(settings.id), *path),
            f'pipeline "{pipeline}" does not have this connector as a receiver',
        )
        for path, pipeline in config.sends_to()
        if pipeline not in next_
    ]
    if problems:
        raise ConfigError(problems)
    return RoutingConnector(config, settings, next_)


FACTORY = Factory(
    kind=Kind.CONNECTOR,
    type="routing",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    pairs=frozenset((signal, signal) for signal in Signal),
    stability=Stability.ALPHA,
)
