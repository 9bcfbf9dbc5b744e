"""Putting the items of one request under other resources, in a record view. Pure.

Items stay the bytes they are unless one of the keys is in them. What stands around an item (all
fields of its resource, scope and metric, also those that OTLP does not name) is copied with it, and
items are put together only where all of that is equal; resource attributes may come in any order.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.metrics.closed import rest_of
from mlsysops_pipeline.pdata.picking import Picker, key_of, opened
from mlsysops_pipeline.pdata.sieve import GROUP_NAMES, POINT_NAMES
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, serialize, view

if TYPE_CHECKING:
    from collections.abc import Callable

_SPLIT = re.compile(rb"((?:[\x09\x11\x19\x21\x29\x31\x39\x41].{8})*)(.*)", re.DOTALL)
"""The fixed 64-bit fields, of the numbers 1 to 8, that a point begins with, and the rest."""
_SERIES_MAX = 16_384
_EXTRAS_MAX = 4_096
_SERIES_BYTES_MAX = 512
"""What is remembered of series stays below 24 MB: longer ones are opened each time."""

Extra = tuple[tuple[bytes, bytes], ...]
"""Keys and serialized ``KeyValue``s, in the order of the configuration."""
Moved = tuple[bytes, Extra]
"""An item without the attributes of the keys, and these."""


class Extractor:
    """Takes the attributes of the keys out of items of one signal, and remembers series."""

    def __init__(self, signal: Signal, keys: tuple[bytes, ...]) -> None:
        self._signal = signal
        self._picker = Picker(keys)
        self._extras: dict[tuple[bytes, ...], Extra] = {}
        self._order = {key: index for index, key in enumerate(keys)}
        self._touched = re.compile(b"|".join(map(re.escape, keys))).search if keys else None
        self._known: dict[bytes, Moved] = {}

    def touches(self, wire: bytes) -> bool:
        """Whether an item in there may have one of the keys."""
        return self._touched is not None and self._touched(wire) is not None

    def moved(self, message: str, item: bytes) -> Moved:
        """An item taken apart. Raises `MalformedError`."""
        if message != "NumberDataPoint":
            return self._opened(message, item) if self.touches(item) else (item, ())
        # Time stamps and values come first; what follows repeats from request to request.
        rest = rest_of(item)
        if rest is None:
            head, rest = _SPLIT.match(item).groups()  # type: ignore[union-attr]  # always found
        else:
            head = item[: len(item) - len(rest)]
        found = self._known.get(rest)
        if found is None:
            found = self._opened(message, rest) if self.touches(rest) else (rest, ())
            if len(rest) <= _SERIES_BYTES_MAX:
                if len(self._known) >= _SERIES_MAX:
                    self._known.clear()
                self._known[rest] = found
        return (head + found[0], found[1]) if found[1] else (item, ())

    def _opened(self, message: str, item: bytes) -> Moved:
        opened_: Any = _parsed(view(self._signal, Depth.POINT, message).FromString, item)
        wires = opened_.attributes[:]
        picked = self._picker.pick(wires)
        if not picked:
            return item, ()
        gone = set(picked)
        del opened_.attributes[:]
        opened_.attributes.extend([wire for wire in wires if wire not in gone])
        return serialize(opened_), self._extra(picked)

    def _extra(self, picked: tuple[bytes, ...]) -> Extra:
        """Attributes as the resource gets them; the first of equal keys counts."""
        extra = self._extras.get(picked)
        if extra is None:
            found: dict[bytes, bytes] = {}
            for wire in picked:
                pair = opened(wire)
                found.setdefault(pair.key, serialize(pair))
            extra = tuple((key, found[key]) for key in sorted(found, key=self._order.__getitem__))
            if len(self._extras) >= _EXTRAS_MAX:
                self._extras.clear()
            if sum(map(len, picked)) <= _SERIES_BYTES_MAX:
                self._extras[picked] = extra
        return extra


class Regrouping:
    """One request on its way to other groups. ``grouped``: items that had one of the keys."""

    def __init__(self, signal: Signal, extractor: Extractor) -> None:
        self._signal = signal
        self._name = GROUP_NAMES[signal]
        self._members = "log_records" if signal is Signal.LOGS else self._name
        self._extractor = extractor
        self._request: Any = None
        self._groups: dict[tuple[Any, ...], _Place] = {}
        self._origins: dict[bytes, _Origin] = {}
        self.grouped = 0

    @property
    def groups(self) -> int:
        """Resource groups of the result."""
        return len(self._groups)

    def run(self, wire: bytes) -> bytes:
        """The request in its new groups. Raises `MalformedError`."""
        source = parse(self._signal, Depth.RECORD, wire)
        old = getattr(source, f"resource_{self._name}")
        groups = list(old)
        # What the request itself has beside its groups stays with the result.
        self._request = type(source)()
        for group in groups:
            self._move_group(group)
        del old[:]
        self._request.MergeFrom(source)
        return serialize(self._request)

    def _move_group(self, group: Any) -> None:
        scopes = getattr(group, f"scope_{self._name}")
        taken = [self._take_scope(scope_group) for scope_group in scopes]
        del scopes[:]
        wire = serialize(group)
        origin = self._origins.get(wire)
        if origin is None:
            origin = self._origins[wire] = _Origin(group, key_of)

        def target(extra: Extra) -> _Place:
            place = origin.places.get(extra)
            if place is None:
                place = origin.places[extra] = self._place(origin, extra)
            return place

        if not taken:
            target(())
        for shell, children in taken:
            if not children:
                self._scope(target(()), shell)
            for metric, kind, items in children:
                if metric is not None and not items:
                    self._scope(target(()), shell).message.metrics.add().MergeFromString(metric)
                    continue
                message = POINT_NAMES[kind] if metric is not None else kind
                for extra, moved in self._by_extra(message, items).items():
                    scope = self._scope(target(extra), shell)
                    if metric is None:
                        getattr(scope.message, self._members).extend(moved)
                    else:
                        self._points(scope, metric, kind).extend(moved)

    def _by_extra(self, message: str, items: list[bytes]) -> dict[Extra, list[bytes]]:
        """Items without the attributes of the keys, by these."""
        take_apart = self._extractor.moved
        found: dict[Extra, list[bytes]] = {}
        for item in items:
            rest, extra = take_apart(message, item)
            there = found.get(extra)
            if there is None:
                there = found[extra] = []
            there.append(rest)
        self.grouped += len(items) - len(found.get((), ()))
        return found

    def _take_scope(
        self, scope_group: Any
    ) -> tuple[bytes, list[tuple[bytes | None, str, list[bytes]]]]:
        """What is in a scope group, and its serialized rest.

        Of each metric its serialized rest, the kind of its data, and its points; of logs and spans
        ``None``, the name of the message, and all of them.
        """
        children: list[tuple[bytes | None, str, list[bytes]]] = []
        members = getattr(scope_group, self._members)
        if self._signal is Signal.METRICS:
            for metric in members:
                kind = metric.WhichOneof("data")
                points: list[bytes] = []
                if kind is not None:
                    held = getattr(metric, kind).data_points
                    points = list(held)
                    del held[:]
                children.append((serialize(metric), kind or "", points))
        elif len(members):
            message = "LogRecord" if self._signal is Signal.LOGS else "Span"
            children.append((None, message, list(members)))
        del members[:]
        return serialize(scope_group), children

    def _place(self, origin: _Origin, extra: Extra) -> _Place:
        """Where items of a group go that have these attributes for their resource."""
        attributes = origin.attributes
        if extra:
            keys = {key for key, _ in extra}
            attributes = [(key, pair) for key, pair in attributes if key not in keys]
            attributes += extra
        pairs = [pair for _, pair in attributes]
        # With attributes there is a resource, whether there was one before or not.
        identity = (tuple(sorted(pairs)), origin.with_resource if pairs else origin.rest)
        place = self._groups.get(identity)
        if place is None:
            made = getattr(self._request, f"resource_{self._name}").add()
            made.MergeFromString(origin.rest)
            if pairs:
                made.resource.attributes.extend(pairs)
            place = self._groups[identity] = _Place(made)
        return place

    def _scope(self, place: _Place, shell: bytes) -> _Place:
        scope = place.inner.get(shell)
        if scope is None:
            made = getattr(place.message, f"scope_{self._name}").add()
            made.MergeFromString(shell)
            scope = place.inner[shell] = _Place(made)
        return scope

    @staticmethod
    def _points(scope: _Place, metric: bytes, kind: str) -> Any:
        found = scope.inner.get(metric)
        if found is None:
            made = scope.message.metrics.add()
            made.MergeFromString(metric)
            found = scope.inner[metric] = _Place(getattr(made, kind).data_points)
        return found.message


class _Origin:
    """A resource group that items come from, taken apart once, and the places they go to."""

    __slots__ = ("attributes", "places", "rest", "with_resource")

    def __init__(self, group: Any, key_of: Callable[[bytes], bytes]) -> None:
        """``group`` has no scopes any more, and is used up."""
        self.attributes = [(key_of(pair), pair) for pair in group.resource.attributes]
        if group.HasField("resource"):
            del group.resource.attributes[:]
        self.rest = serialize(group)
        group.resource.SetInParent()
        self.with_resource = serialize(group)
        self.places: dict[Extra, _Place] = {}


class _Place:
    """A message of the result, and what is in it by its serialized rest."""

    __slots__ = ("inner", "message")

    def __init__(self, message: Any) -> None:
        self.message = message
        self.inner: dict[bytes, _Place] = {}


def _parsed(parse_: Callable[[bytes], Any], wire: bytes) -> Any:
    try:
        return parse_(wire)
    except DecodeError as error:
        raise MalformedError(f"broken attributes or item: {error}") from error
