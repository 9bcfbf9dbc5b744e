"""Sends data to this or that exporter of its pipeline, as in files from before the connector.

Component reference: C6; the Collector has removed it, and new files use the connector `routing`.
Every row that matches gets the data, the default exporters what no row matched; without them that
is dropped and counted as ``no_route``. Processors behind it in the pipeline see nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from mlsysops_pipeline.attribute_config import ActionConfig, Actions
from mlsysops_pipeline.component import ComponentID, Factory, Kind, Stability
from mlsysops_pipeline.conditions import Condition, ConditionError, Level
from mlsysops_pipeline.config.problems import NOWHERE, Path
from mlsysops_pipeline.config.problems import error as problem
from mlsysops_pipeline.config.schema import ComponentConfig, Finding
from mlsysops_pipeline.connectors.routing.config import compile_statement
from mlsysops_pipeline.connectors.routing.table import REST, Row, Table
from mlsysops_pipeline.errors import Code, ConfigError, DropReason, MalformedError, PermanentError
from mlsysops_pipeline.fanout import give_parts, prompt
from mlsysops_pipeline.pdata.resources import apply_to_resource, rewrite_resources
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlsysops_pipeline.component import Consumer, Settings
    from mlsysops_pipeline.conditions import Scene
    from mlsysops_pipeline.connectors.routing.table import Parts
    from mlsysops_pipeline.fanout import Accept
    from mlsysops_pipeline.pdata.payload import Payload

_OPEN_FACTOR = 3
"""What an open view is charged, in sizes of the wire (see "Payload and views" in the design)."""


class RouteConfig(ComponentConfig):
    """One row of the table: which data, and where to."""

    value: str = ""
    """The value of ``from_attribute`` that is meant."""
    statement: str = ""
    """Instead of a value: ``route() where CONDITION``."""
    exporters: tuple[ComponentID, ...] = ()
    """Where to: exporters of the same pipeline."""

    def check(self) -> Iterable[Finding]:
        """A value or a statement, and an exporter."""
        if bool(self.value) is bool(self.statement):
            yield Finding((), "one of value and statement is needed")
        if not self.exporters:
            yield Finding(("exporters",), "invalid route: no exporters defined")
        if self.statement:
            try:
                compile_statement(self.statement)
            except ConditionError as error:
                yield Finding(("statement",), str(error))


class Config(ComponentConfig):
    """A table of at least one row, and where the rest goes."""

    from_attribute: str = ""
    """The header (``attribute_source: context``; needs ``include_metadata`` on the receiver) or
    resource attribute that rows with a value look at."""
    attribute_source: Literal["context", "resource"] = "context"
    """Where ``from_attribute`` is."""
    drop_resource_routing_attribute: bool = False
    """Whether the resource attribute is removed from what goes on."""
    default_exporters: tuple[ComponentID, ...] = ()
    """Where data goes that no row matched. None: it is dropped and counted as ``no_route``."""
    error_mode: Literal["ignore", "silent", "propagate"] = "propagate"
    """What to do when a condition fails; those that are supported here never do."""
    table: tuple[RouteConfig, ...] = ()
    """The rows; all that match get the data."""

    def check(self) -> Iterable[Finding]:
        """A table is needed, and for values, where they are."""
        if not self.table:
            yield Finding(("table",), "invalid routing table: the routing table is empty")
        if not self.from_attribute and any(route.value for route in self.table):
            yield Finding(("from_attribute",), "is missing: rows with a value need it")

    def sends_to(self) -> Iterable[tuple[Path, ComponentID]]:
        """The exporters of every row, and those for the rest."""
        for number, route in enumerate(self.table):
            for index, exporter in enumerate(route.exporters):
                yield ("table", number, "exporters", index), exporter
        for index, exporter in enumerate(self.default_exporters):
            yield ("default_exporters", index), exporter

    def rows(self) -> list[Row]:
        """The rows, ready. The configuration has been checked."""
        return [
            Row(
                number,
                compile_statement(route.statement)
                if route.statement
                else self._equals(route.value),
                moves=False,
            )
            for number, route in enumerate(self.table)
        ]

    def _equals(self, value: str) -> Condition:
        name = self.from_attribute
        if self.attribute_source == "resource":

            def in_resource(scene: Scene) -> bool:
                found = scene.resource.get(name)
                return isinstance(found, str) and found == value

            return Condition("resource", frozenset({Level.RESOURCE}), frozenset(), in_resource)

        header = name.lower()

        def in_context(scene: Scene) -> bool:
            return next(iter(scene.metadata.headers.get(header, ())), None) == value

        return Condition("request", frozenset({Level.REQUEST}), frozenset(), in_context)


class RoutingProcessor:
    """Implements `HoldingProcessor`, of which it only routes."""

    def __init__(
        self, config: Config, settings: Settings, exporters: Mapping[ComponentID, Consumer]
    ) -> None:
        self._settings = settings
        self._ledger = settings.pipeline_ledger
        self._accepts: dict[int, list[Accept]] = {
            number: [prompt(exporters[id_]) for id_ in ids]
            for number, ids in (
                (REST, config.default_exporters),
                *((number, route.exporters) for number, route in enumerate(config.table)),
            )
        }
        rows = config.rows()
        self._tables = {
            signal: Table(signal, rows, rest_is_untaken=True) for signal in settings.signals
        }
        self._dropped_attribute: Actions | None = None
        if config.drop_resource_routing_attribute and config.attribute_source == "resource":
            action = ActionConfig(key=config.from_attribute, action="delete")
            self._dropped_attribute = Actions((action,))

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing is held."""

    async def consume(self, payload: Payload) -> None:
        """Give every part of the payload to the exporters of its rows."""
        lost: list[Payload] = []
        parts = self._parts(payload, lost)
        given = [
            (accept, part) for number, part in parts.items() for accept in self._accepts[number]
        ]
        await give_parts(given)
        self._count(payload, parts, lost)

    def _parts(self, payload: Payload, lost: list[Payload]) -> Parts:
        table = self._tables[payload.signal]

        def malformed(member: Payload, message: str) -> None:
            lost.append(member)
            self._settings.logger.error(
                "dropped malformed data from %s: %s", payload.metadata.peer or "?", message
            )

        charge = _OPEN_FACTOR * payload.size if table.opens else 0
        try:
            with self._settings.memory.held(charge):
                parts = table.parts(payload, malformed)
            if self._dropped_attribute is None:
                return parts
            return {number: self._without(part) for number, part in parts.items()}
        except MalformedError as error:
            raise PermanentError(
                error.message, code=Code.INVALID_ARGUMENT, reason=DropReason.MALFORMED
            ) from error

    def _without(self, part: Payload) -> Payload:
        """A part without the attribute that it was routed by."""
        assert self._dropped_attribute is not None  # noqa: S101  our own invariant
        change = partial(apply_to_resource, self._dropped_attribute.bind(part.metadata))
        wires = tuple(rewrite_resources(wire, change) for wire in part.wires)
        return part if wires == part.wires else part.with_wires(wires, items=part.items)

    def _count(self, payload: Payload, parts: Parts, lost: list[Payload]) -> None:
        """Keep the ledger, now that every part was taken."""
        bad = sum(member.items for member in lost)
        out = bad
        for number, part in parts.items():
            copies = len(self._accepts[number])
            if copies:
                self._ledger.handed_on += part.items * copies
                out += part.items * copies
            else:
                self._ledger.drop(DropReason.NO_ROUTE, part.items)
                out += part.items
        if bad:
            self._ledger.drop(DropReason.MALFORMED, bad)
        self._ledger.created += out - payload.items

    def __repr__(self) -> str:
        return f"<RoutingProcessor {self._settings.id} rows={len(self._accepts) - 1}>"


def _create(
    config: Config, settings: Settings, next_: Mapping[ComponentID, Consumer]
) -> RoutingProcessor:
    where = ("processors", str(settings.id))
    problems = [
        problem(
            NOWHERE,
            (*where, *path),
            f'exporter "{id_}" is not in pipeline "{settings.pipeline}", where this processor is',
        )
        for path, id_ in config.sends_to()
        if id_ not in next_
    ]
    if problems:
        raise ConfigError(problems)
    return RoutingProcessor(config, settings, next_)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="routing",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    stability=Stability.DEPRECATED,
    chooses_exporters=True,
)
