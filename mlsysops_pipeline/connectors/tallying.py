"""What the connectors `count` and `sum` have in common: configuration, and running."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.conditions import ConditionError, compile_condition
from mlsysops_pipeline.config.schema import ComponentConfig, Finding
from mlsysops_pipeline.connectors.tallies import KINDS, Look, Rule, default_value, tally
from mlsysops_pipeline.delivery.causes import CauseLog
from mlsysops_pipeline.errors import DropReason, MalformedError, PeerError, PermanentError
from mlsysops_pipeline.fanout import give_to_all
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlsysops_pipeline.component import Entry, PipelineID, Settings

_OPEN_FACTOR = 3
_CONTEXTS = {"metrics": "metric", "datapoints": "datapoint", "logs": "log", "spans": "span"}
PAIRS = frozenset((signal, Signal.METRICS) for signal in Signal)
"""What both connectors join."""


class AttributeConfig(ComponentConfig):
    """One attribute by which results are told apart."""

    key: str = ""
    """The attribute, of the item, its scope or its resource."""
    default_value: Any = None
    """What stands for it where it is missing, of the type that YAML reads. Not set: an item
    without it is left out."""


class ResultConfig(ComponentConfig):
    """One result."""

    description: str = ""
    """The description of the metric."""
    conditions: tuple[str, ...] = ()
    """Conditions of which one must hold; none: every item is taken."""
    attributes: tuple[AttributeConfig, ...] = ()
    """The attributes that the points have, and by which items are told apart."""

    def check(self) -> Iterable[Finding]:
        """Every attribute has a key, and a default value that OTLP can hold."""
        for index, attribute in enumerate(self.attributes):
            if not attribute.key:
                yield Finding(("attributes", index, "key"), "attribute key missing")
            try:
                default_value(attribute.default_value)
            except ValueError as error:
                yield Finding(("attributes", index, "default_value"), str(error))


def check_results(kind: str, results: Mapping[str, ResultConfig]) -> Iterable[Finding]:
    """Names, conditions, and what only some kinds can have."""
    for name, result in results.items():
        if not name:
            yield Finding((kind,), f"{kind}: metric name missing")
        if kind == "metrics" and result.attributes:
            message = f'metrics attributes not supported: metric "{name}"'
            yield Finding((kind, name, "attributes"), message)
        if kind not in _CONTEXTS and result.conditions:
            message = "conditions on events of spans are not supported"
            yield Finding((kind, name, "conditions"), message)
            continue
        for index, text in enumerate(result.conditions):
            try:
                compile_condition(text, _CONTEXTS[kind])
            except ConditionError as error:
                yield Finding((kind, name, "conditions", index), str(error))


def rule_of(kind: str, name: str, result: ResultConfig, **more: Any) -> Rule:
    """The same for a `Tally`. ``more``: ``source`` and ``amount``."""
    return Rule(
        name,
        result.description,
        tuple(compile_condition(text, _CONTEXTS[kind]) for text in result.conditions),
        tuple((a.key.encode(), default_value(a.default_value)) for a in result.attributes),
        **more,
    )


class TallyConnector:
    """Implements `Connector`: hands on what it adds up to every pipeline behind it."""

    def __init__(
        self,
        rules: Mapping[str, Sequence[Rule]],
        scope: str,
        settings: Settings,
        entries: Mapping[PipelineID, Entry],
    ) -> None:
        self._looks = {kind: Look.of(of_kind) for kind, of_kind in rules.items()}
        self._scope = scope
        self._settings = settings
        self._entries = list(entries.values())
        self._causes = CauseLog(settings.logger, settings.clock)
        meter, labels = settings.meter, {"connector": str(settings.id)}
        self._taken = meter.counter(
            "mlsysops_connector_taken_items", "{item}", "Items that a connector has looked at"
        ).bind(labels)
        self._made = meter.counter(
            "mlsysops_connector_made_items", "{item}", "Points that a connector has made of them"
        ).bind(labels)
        self._left_out = meter.counter(
            "mlsysops_connector_left_out_items", "{item}", "Items that could not be added up"
        ).bind(labels)

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing is held."""

    async def consume(self, payload: Payload) -> None:
        """Add up, and hand on; what is refused goes back to the sender."""
        try:
            items = payload.items
            with self._settings.memory.held(_OPEN_FACTOR * payload.size):
                wire, points, left_out = self._tally(payload)
        except PeerError as error:
            reason = DropReason.MALFORMED
            raise PermanentError(error.message, code=error.code, reason=reason) from error
        if wire:
            result = Payload(Signal.METRICS, wire, payload.metadata, items=points)
            await give_to_all(self._entries, result)
        self._taken.add(items)
        self._made.add(points)
        if left_out:
            self._left_out.add(left_out)
            self._causes.say("room", logging.WARNING, "items were left out", items=left_out)

    def _tally(self, payload: Payload) -> tuple[bytes, int, int]:
        """See `tally`. Of several members the malformed ones are left out, and said to be."""
        now = self._settings.clock.unix_ns()
        try:
            return tally(payload, self._looks, self._scope, now)
        except MalformedError:
            if len(payload.wires) == 1:
                raise
        results = []
        for wire in payload.wires:
            member = payload.with_wires(wire)
            try:
                results.append(tally(member, self._looks, self._scope, now))
            except MalformedError as error:
                results.append((b"", 0, member.items))
                self._causes.say(
                    "malformed", logging.ERROR, f"not added up: {error}", items=member.items
                )
        wires, points, left_out = zip(*results, strict=True)
        return b"".join(wires), sum(points), sum(left_out)

    def __repr__(self) -> str:
        return f"<TallyConnector {self._settings.id} made={self._made.value:.0f}>"


def kinds() -> list[str]:
    """Every kind of item, as the configuration calls it."""
    return [kind for signal in Signal for kind in KINDS[signal]]
