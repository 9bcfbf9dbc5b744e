"""Changes the attributes of resources, for one by appending to lists.

Component reference: C2; the action `append` is ours. Only the resource of each group is opened,
never what it describes, and the same resource comes again and again, so its result is remembered by
its bytes. Whatever OTLP may add is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from mlsysops_pipeline.attribute_config import ActionConfig, Actions
from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.config.schema import ComponentConfig, Finding
from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.byte_cache import ByteCache
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, serialize, view
from mlsysops_pipeline.pdata.wire import fields, length_prefix, message_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.pdata.attribute_actions import BoundActions
    from mlsysops_pipeline.pdata.payload import Payload

_GROUPS, _RESOURCE = 1, 1
"""Field numbers: of ``Resource{Metrics,Logs,Spans}`` in a request, of ``resource`` in those."""
_FIRST_MESSAGE = message_tag(1)
"""The tag of both. A field of that number with another tag is unknown to OTLP."""
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


def apply_to_resource(actions: BoundActions, resource: bytes) -> bytes:
    """A serialized ``Resource`` after the actions. Raises `MalformedError`."""
    # Resources are the same message in every signal.
    try:
        message = view(Signal.METRICS, Depth.RESOURCE, "Resource").FromString(resource)
    except DecodeError as error:
        raise MalformedError(f"no protobuf resource: {error}") from error
    actions.apply(message.attributes)  # type: ignore[attr-defined]  # a class built at run time
    return serialize(message)


def rewrite_resources(wire: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A request with every group's serialized resource changed; ``wire`` itself if none was.

    A missing resource is an empty one, and stays missing if it stays empty. One that is there
    more than once is merged, as protobuf says, so that receivers which do not merge get it all.
    Raises `MalformedError` where a request or a group ends within a field.
    """
    pieces: list[bytes | memoryview] = []
    whole = memoryview(wire)  # so that what is kept is copied once, by the join
    done = 0
    for tag, start, content, end in fields(wire, 0, len(wire)):
        if tag == _FIRST_MESSAGE:
            body = _rewrite_group(wire, content, end, change)
            if body is not None:
                length = sum(map(len, body))
                pieces.append(whole[done:start])
                pieces.append(length_prefix(_GROUPS, length))
                pieces += body
                done = end
    if not done:
        return wire
    pieces.append(whole[done:])
    return b"".join(pieces)


def _rewrite_group(
    wire: bytes, begin: int, end: int, change: Callable[[bytes], bytes]
) -> list[bytes | memoryview] | None:
    """The pieces of a group's new content; ``None`` if it stays as it is."""
    found = [
        (start, content, stop)
        for tag, start, content, stop in fields(wire, begin, end)
        if tag == _FIRST_MESSAGE
    ]
    before = b"".join([wire[content:stop] for _, content, stop in found])
    after = change(before)
    if after == before and len(found) < 2:
        return None
    pieces: list[bytes | memoryview] = [length_prefix(_RESOURCE, len(after)), after]
    whole = memoryview(wire)
    for start, _, stop in found:
        pieces.append(whole[begin:start])
        begin = stop
    pieces.append(whole[begin:end])
    return pieces


def _create(config: Config, settings: Settings, next_: None) -> ResourceProcessor:  # noqa: ARG001
    return ResourceProcessor(config, settings)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="resource",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
)
