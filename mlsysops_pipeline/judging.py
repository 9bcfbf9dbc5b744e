"""Asking a question of every part of a request that conditions choose among.

Only what the question needs is opened: for a question about resources nothing below them, for one
about metrics no data point. The same resource comes again and again, so what was answered, or what
was read of it, is remembered by its bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from google.protobuf.message import DecodeError

from mlsysops_pipeline.conditions import Level, Scene, attributes_of
from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.metrics.closed import attributes, rest_of
from mlsysops_pipeline.pdata.picking import Picker, opened
from mlsysops_pipeline.pdata.sieve import resources
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlsysops_pipeline.pdata.payload import Metadata
    from mlsysops_pipeline.pdata.sieve import Opened

T = TypeVar("T")
_NAME_ONLY = frozenset({Level.METRIC})
_ITEM_ONLY = frozenset({Level.ITEM})
_NAMES_MAX = 10_000
_NAME_BYTES_MAX = 256
_KNOWN_MAX = 1_024
_ANSWERS_MAX = 16_384
"""Of items; each takes 400 bytes or so."""
_RESOURCE_BYTES_MAX = 8_192
"""Longer resources are read anew each time, so that what is remembered stays below 8 MiB."""


class Judge(Generic[T]):
    """One question about the parts of requests of one signal.

    ``level``: the parts that are asked about. ``needs``: what of a `Scene` has to be filled.
    ``decide``: the question; it must depend on the scene alone. ``keys``: the attributes of items
    that it asks for.
    """

    def __init__(
        self,
        signal: Signal,
        level: Level,
        needs: frozenset[Level],
        decide: Callable[[Scene], T],
        keys: frozenset[bytes] = frozenset(),
    ) -> None:
        self._signal = signal
        self._level = level
        self._needs = needs
        self._decide = decide
        self._picker = Picker(keys)
        self._answers: dict[bytes, T] = {}
        self._by_name: dict[bytes, T] = {}
        self._by_item: dict[Any, T] = {}
        self._read: dict[tuple[bytes, ...], dict[str, Any]] = {}

    def of_groups(self, wire: bytes, metadata: Metadata) -> list[T]:
        """The answer for each resource group. Raises `MalformedError`."""
        is_constant = Level.REQUEST not in self._needs
        found = []
        for resource in resources(wire):
            if is_constant and resource in self._answers:
                found.append(self._answers[resource])
                continue
            scene = Scene(metadata, _resource_attributes(resource))
            answer = self._decide(scene)
            found.append(answer)
            if is_constant and len(resource) <= _RESOURCE_BYTES_MAX:
                _make_room(self._answers)
                self._answers[resource] = answer
        return found

    def of_lists(self, opened_: Opened, metadata: Metadata) -> list[T]:
        """The answer for each metric or each item, by the level. Raises `MalformedError`."""
        scene = Scene(metadata)
        needs = self._needs
        found: list[T] = []
        is_alone = needs == _ITEM_ONLY
        for group, scope_group in opened_.scopes():
            known = self._by_item if is_alone else {}
            if Level.RESOURCE in needs:
                scene.resource = self._closed(group.resource.attributes)
            if Level.SCOPE in needs:
                scene.scope = self._closed(scope_group.scope.attributes)
            if self._level is Level.METRIC:
                self._ask_by_name(scope_group.metrics, scene, found)
            else:
                for metric, items, message in opened_.lists(scope_group):
                    if metric is not None and Level.METRIC in needs:
                        scene.name = metric.name.decode(errors="replace")
                        known = {}
                    self._ask_each(items, message, scene, found, known)
        return found

    def _ask_by_name(self, metrics: Any, scene: Scene, found: list[T]) -> None:
        """Ask once for each name: of a metric, no question sees more.

        Names repeat from request to request, so answers that depend on nothing else are kept.
        """
        known = self._by_name if self._needs <= _NAME_ONLY else {}
        for metric in metrics:
            name = metric.name
            answer = known.get(name)
            if answer is None:
                scene.name = name.decode(errors="replace")
                answer = self._decide(scene)
                if len(name) <= _NAME_BYTES_MAX:
                    if len(known) >= _NAMES_MAX:
                        del known[next(iter(known))]
                    known[name] = answer
            found.append(answer)

    def _ask_each(
        self, items: Any, message: str, scene: Scene, found: list[T], known: dict[Any, T]
    ) -> None:
        """Ask about each item, once for each set of values of the wanted attributes.

        ``known``: the answers that depend on nothing else than is the same for all these items.
        """
        if not items:
            return
        if Level.ITEM not in self._needs:
            found += [self._decide(scene)] * len(items)
            return
        parse = view(self._signal, Depth.POINT, message).FromString
        pick = self._picker.pick
        is_number = message == "NumberDataPoint"
        names = self._signal is Signal.TRACES
        for wire in items:
            key: Any = rest_of(wire) if is_number else None
            answer = known.get(key) if key is not None else None
            if answer is None:
                item: Any = _parsed(parse, wire)
                pairs = pick(item.attributes[:])
                if names:
                    pairs = (item.name, *pairs)
                answer = known.get(pairs)
                if answer is None:
                    if names:
                        scene.name, pairs = pairs[0].decode(errors="replace"), pairs[1:]
                    scene.item = attributes_of([opened(pair) for pair in pairs])
                    answer = self._decide(scene)
                    _remember(known, (item.name, *pairs) if names else pairs, answer)
                if key is not None and attributes(key) is not None:
                    _remember(known, key, answer)
            found.append(answer)

    def _closed(self, pairs: Iterable[bytes]) -> dict[str, Any]:
        """Attributes that a record view keeps closed."""
        key = tuple(pairs)
        known = self._read.get(key)
        if known is None:
            known = attributes_of([opened(pair) for pair in key])
            if sum(map(len, key)) <= _RESOURCE_BYTES_MAX:
                _make_room(self._read)
                self._read[key] = known
        return known


def _resource_attributes(resource: bytes) -> dict[str, Any]:
    # Resources are the same message in every signal.
    parse = view(Signal.METRICS, Depth.RESOURCE, "Resource").FromString
    return attributes_of(_parsed(parse, resource).attributes)


def _parsed(parse: Callable[[bytes], Any], wire: bytes) -> Any:
    try:
        return parse(wire)
    except DecodeError as error:
        raise MalformedError(f"broken attributes or item: {error}") from error


def _make_room(known: dict[Any, Any]) -> None:
    if len(known) >= _KNOWN_MAX:
        del known[next(iter(known))]


def _remember(known: dict[Any, T], key: Any, answer: T) -> None:
    """Keep an answer, if it is one of few about short things."""
    if len(known) >= _ANSWERS_MAX:
        known.clear()
    size = len(key) if isinstance(key, bytes) else sum(map(len, key))
    if size <= _NAME_BYTES_MAX:
        known[key] = answer
