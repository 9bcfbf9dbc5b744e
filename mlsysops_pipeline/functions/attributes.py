"""Attributes as a mapping of Python values, over any view, opened or closed."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata import any_values
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Attributes(MutableMapping[str, Any]):
    """The attributes of a resource, point, log record or span, written through to the message.

    Values are `str`, `bool`, `int`, `float`, `bytes`, lists, dicts or ``None``; NumPy scalars are
    taken as the numbers they are. Lists and dicts that are read are copies: assign to change them.
    Of equal keys the first counts, and changing one removes the others. Where the view has the
    attributes closed they are opened when first looked at. Raises `ValueError` for what OTLP
    cannot hold, and `MalformedError` for bytes that are no attribute.
    """

    __slots__ = ("_container", "_is_closed", "_opened")

    def __init__(self, owner: Any) -> None:
        self._container = owner.attributes
        self._is_closed = owner.DESCRIPTOR.fields_by_name["attributes"].message_type is None
        self._opened: list[Any] | None = None

    def _pairs(self) -> Sequence[Any]:
        if not self._is_closed:
            opened: Sequence[Any] = self._container
            return opened
        if self._opened is None:
            self._opened = [_opened(pair) for pair in self._container]
        return self._opened

    def __getitem__(self, key: str) -> Any:
        wanted = key.encode()
        for pair in self._pairs() if self._opened or not self._is_closed else self._with(wanted):
            if pair.key == wanted:
                return to_python(pair.value)
        raise KeyError(key)

    def _with(self, wanted: bytes) -> Iterator[Any]:
        """Closed attributes that may be those of a key: the others are not opened for it."""
        for pair in self._container:
            if wanted in pair:
                yield _opened(pair)

    def __setitem__(self, key: str, value: Any) -> None:
        content = from_python(value)
        wanted = key.encode()
        found = [index for index, pair in enumerate(self._pairs()) if pair.key == wanted]
        self._remove(found[1:])
        if self._is_closed:
            pair = any_values.key_value(wanted, content)
            if found:
                self._container[found[0]] = pair
            else:
                self._container.append(pair)
            self._opened = None
        elif found:
            self._container[found[0]].value.ParseFromString(content)
        else:
            added = self._container.add(key=wanted)
            added.value.ParseFromString(content)

    def __delitem__(self, key: str) -> None:
        wanted = key.encode()
        found = [index for index, pair in enumerate(self._pairs()) if pair.key == wanted]
        if not found:
            raise KeyError(key)
        self._remove(found)

    def _remove(self, indexes: Sequence[int]) -> None:
        for index in reversed(indexes):
            del self._container[index]
            if self._opened is not None:
                del self._opened[index]

    def __iter__(self) -> Iterator[str]:
        keys = dict.fromkeys(pair.key for pair in self._pairs())
        return iter([key.decode(errors="replace") for key in keys])

    def __len__(self) -> int:
        return len({pair.key for pair in self._pairs()})

    def __repr__(self) -> str:
        return f"<Attributes {dict(self)}>"


def _opened(pair: bytes) -> Any:
    try:
        return view(Signal.METRICS, Depth.FULL, "KeyValue").FromString(pair)
    except DecodeError as error:
        raise MalformedError(f"no protobuf attribute: {error}") from error


def to_python(value: Any) -> Any:
    """An ``AnyValue`` of a view as a Python value."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    content = getattr(value, kind)
    if kind == "string_value":
        return content.decode(errors="replace")
    if kind == "array_value":
        return [to_python(inner) for inner in content.values]
    if kind == "kvlist_value":
        pairs = reversed(content.values)
        return {pair.key.decode(errors="replace"): to_python(pair.value) for pair in pairs}
    return content


def from_python(value: Any) -> bytes:
    """A Python value as a serialized ``AnyValue``. Raises `ValueError`."""
    plain = (str, bool, int, float, bytes, list, tuple, dict)
    if value is not None and not isinstance(value, plain) and hasattr(value, "item"):
        value = value.item()  # a scalar of NumPy or of a library like it
    return any_values.serialize(value)
