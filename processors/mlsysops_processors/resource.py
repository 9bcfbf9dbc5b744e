"""Changes the attributes of resources, for one by appending to lists.

Component reference: C2; the action `append` is ours. Only the resource of each group is opened,
never what it describes, and the same resource comes again and again, so its result is remembered by
its bytes. Whatever OTLP may add is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.attribute_config import ActionConfig, Actions
from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.config.schema import ComponentConfig, Finding
from mlsysops_pipeline.pdata.byte_cache import ByteCache
from mlsysops_pipeline.pdata.resources import apply_to_resource, rewrite_resources
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.pdata.payload import Payload

_CACHE_BYTES_MAX = 4 << 20


class Config(ComponentConfig):
    """At least one action."""

    attributes: tuple[ActionConfig, ...] = ()
    """The actions, in order."""

    def check(self) -> Iterable[Finding]:
        """Without an action the processor is a mistake."""
        if not self.attributes:
            yield Finding(("attributes",), "at least one action is needed")


class ResourceProcessor:
    """Implements `Processor`."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._settings = settings
        self._actions = Actions(config.attributes)
        self._cache = ByteCache(_CACHE_BYTES_MAX)

    async def start(self) -> None:
        """Nothing to acquire."""

    async def shutdown(self) -> None:
        """Nothing to release."""

    def process(self, payload: Payload) -> Payload:
        """Change every resource. Raises `MalformedError` for broken framing."""
        actions = self._actions.bind(payload.metadata)

        def changed(resource: bytes) -> bytes:
            key = resource + actions.mark
            result = self._cache.get(key)
            if result is None:
                result = apply_to_resource(actions, resource)
                self._cache.put(key, result)
            return result

        wires = tuple(rewrite_resources(wire, changed) for wire in payload.wires)
        if wires == payload.wires:  # the same objects unless something changed
            return payload
        return payload.with_wires(wires, items=payload.items)

    def __repr__(self) -> str:
        return f"<ResourceProcessor {self._settings.id} known={len(self._cache)}>"


def _create(config: Config, settings: Settings, next_: None) -> ResourceProcessor:  # noqa: ARG001
    return ResourceProcessor(config, settings)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="resource",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
)
