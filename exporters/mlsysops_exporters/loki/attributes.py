"""Attributes of resources, scopes and records, opened one by one and as structured metadata.

Names of structured metadata must be label names, so different attributes can end up with the same
one. `Names` knows which do: only those need to be looked at record by record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from mlsysops_exporters.loki.encoding import pair
from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.any_values import as_json, as_text, quoted
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view
from mlsysops_pipeline.prometheus.names import label_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Pairs = list[tuple[str, bytes]]
"""Structured metadata: names, and the fields of an entry that hold them."""

_NAMES_MAX: Final = 10_000
"""Names that are watched; then they are forgotten. A program has dozens."""
_FIELDS: Final = "field"


class Attribute:
    """One attribute. ``name``: what its label is called. ``value``: an ``AnyValue`` of a view."""

    __slots__ = ("_member", "key", "name", "value")

    def __init__(self, key: str, name: str, value: Any) -> None:
        self.key = key
        self.name = name
        self.value = value
        self._member = ""

    @property
    def member(self) -> str:
        """The attribute as it stands in a JSON object."""
        if not self._member:
            self._member = f"{quoted(self.key)}:{as_json(self.value)}"
        return self._member


class Names:
    """What attributes are called in Loki, and whether two of one record may be called the same.

    ``owner``: ``record``, ``scope`` or ``resource``. What the exporter itself adds is ``reserved``.
    """

    def __init__(self, reserved: Iterable[str]) -> None:
        self._reserved = tuple(reserved)
        self._names: dict[str, str] = {}
        self._owners: dict[str, tuple[str, str]] = {}
        self._contested: set[str] = set()
        self._is_new = False
        self._forget()

    def _forget(self) -> None:
        self._owners = {name: (_FIELDS, name) for name in self._reserved}
        self._contested.clear()
        self._names.clear()
        self._is_new = True

    def name(self, key: str) -> str:
        """The label name for a key; for one without a letter or digit an underscore."""
        found = self._names.get(key)
        if found is None:
            if len(self._names) >= _NAMES_MAX:
                self._names.clear()
            found = self._names[key] = label_name(key) or "_"
        return found

    def is_contested(self, owner: str, key: str, name: str) -> bool:
        """Whether another attribute has been called ``name``, too, so that one must give way."""
        if name in self._contested:
            return True
        known = self._owners.setdefault(name, (owner, key))
        if known == (owner, key):
            if len(self._owners) > _NAMES_MAX:
                self._forget()
            return False
        self._contested.add(name)
        self._is_new = True
        return True

    def has_new_contest(self) -> bool:
        """Whether what was known not to be contested is not known any more, since the last time."""
        is_new, self._is_new = self._is_new, False
        return is_new


def opened(names: Names, raw: bytes) -> Attribute:
    """A serialized ``KeyValue``. Raises `MalformedError`."""
    try:
        message: Any = _key_value().FromString(raw)
    except DecodeError as error:
        raise MalformedError(f"no attribute: {error}") from error
    key = message.key.decode(errors="replace")
    return Attribute(key, names.name(key), message.value)


def _key_value() -> Any:
    return view(Signal.LOGS, Depth.FULL, "KeyValue")


def opened_value(parts: Iterable[bytes]) -> Any:
    """A serialized ``AnyValue``, whose parts protobuf merges. Raises `MalformedError`."""
    try:
        return view(Signal.LOGS, Depth.FULL, "AnyValue").FromString(b"".join(parts))
    except DecodeError as error:
        raise MalformedError(f"no body: {error}") from error


def leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is in a value: maps are opened, and their keys follow that of the map."""
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        for inner in value.kvlist_value.values:
            yield from leaves(f"{key}_{inner.key.decode(errors='replace')}", inner.value)
    elif kind is not None:
        yield key, value


def metadata(names: Names, owner: str, attribute: Attribute) -> tuple[Pairs, bool]:
    """An attribute as structured metadata, and whether a name of it is contested.

    What is empty is left out: Loki does not tell it from what is not there.
    """
    found: Pairs = []
    is_contested = False
    for key, value in leaves(attribute.key, attribute.value):
        text = as_text(value)
        if text:
            name = names.name(key)
            found.append((name, pair(name, text)))
            is_contested |= names.is_contested(owner, key, name)
    return found, is_contested


def without_repeats(*groups: Pairs) -> bytes:
    """The fields of all groups; of equal names the first counts."""
    found: dict[str, bytes] = {}
    for group in groups:
        for name, content in group:
            found.setdefault(name, content)
    return b"".join(found.values())
