"""Changes the attributes of data points, log records and spans, never those of resources.

Component reference: C1. How little is opened for it is said in `items`; which data is meant, in
`matching`; the actions themselves are `mlsysops_pipeline.pdata.attribute_actions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.attribute_config import ActionConfig, Actions
from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.config.problems import NOWHERE
from mlsysops_pipeline.config.problems import error as problem
from mlsysops_pipeline.config.schema import ComponentConfig, Finding, Section
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.pdata.byte_cache import ByteCache
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_processors.attributes.items import Rewriter
from mlsysops_processors.attributes.matching import MatchConfig, Selection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.pdata.payload import Payload

_CACHE_BYTES_MAX = 16 << 20
_OPEN_FACTOR = 3
"""What an open view is charged, in sizes of the wire (see "Payload and views" in the design)."""


class Config(ComponentConfig):
    """At least one action, and which data is meant."""

    actions: tuple[ActionConfig, ...] = ()
    """The actions, in order."""
    include: Section[MatchConfig] = None
    """Only this data is changed."""
    exclude: Section[MatchConfig] = None
    """This data is not changed, even if it is included."""

    def check(self) -> Iterable[Finding]:
        """Without an action the processor is a mistake."""
        if not self.actions:
            yield Finding(("actions",), "at least one action is needed")


class AttributesProcessor:
    """Implements `Processor`."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._settings = settings
        self._actions = Actions(config.actions)
        self._selection = Selection(config.include, config.exclude)
        self._cache = ByteCache(_CACHE_BYTES_MAX)

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing to release."""

    def process(self, payload: Payload) -> Payload:
        """Change the attributes of every item that is meant. Raises `MalformedError`."""
        actions = self._actions.bind(payload.metadata)
        rewriter = Rewriter(payload.signal, actions, self._selection, self._cache)
        with self._settings.memory.held(_OPEN_FACTOR * payload.size):
            wires = tuple(map(rewriter.rewrite, payload.wires))
        if all(map(_is, wires, payload.wires)):
            return payload
        return payload.with_wires(wires, items=payload.items)

    def __repr__(self) -> str:
        return f"<AttributesProcessor {self._settings.id} known={len(self._cache)}>"


def _is(one: object, other: object) -> bool:
    return one is other


def _create(config: Config, settings: Settings, next_: None) -> AttributesProcessor:  # noqa: ARG001
    problems = [
        problem(
            NOWHERE,
            ("processors", str(settings.id), name, criterion),
            f"cannot be used for {signal}",
        )
        for name in ("include", "exclude")
        for signal in sorted(settings.signals, key=str)
        if (match := getattr(config, name)) is not None
        for criterion in match.not_allowed(signal)
    ]
    if problems:
        raise ConfigError(problems)
    return AttributesProcessor(config, settings)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="attributes",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
)
