"""Picking attributes of some keys out of closed ones, so that a decision is made once a value.

Attributes come again and again as the same bytes: whether one has a wanted key is remembered by
them. What has none of the keys is never opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_KNOWN_MAX = 8_192
_BYTES_MAX = 512
"""Longer attributes are looked at anew each time: what is remembered stays below 6 MB."""


class Picker:
    """Finds the attributes of ``keys`` among serialized ``KeyValue``s."""

    __slots__ = ("_keys", "_known")

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._keys = frozenset(keys)
        self._known: dict[bytes, bool] = {}

    def pick(self, wires: Sequence[bytes]) -> tuple[bytes, ...]:
        """Those that have one of the keys, in order. Raises `MalformedError`."""
        known = self._known
        try:
            return tuple([wire for wire in wires if known[wire]])
        except KeyError:
            return tuple([wire for wire in wires if self._is_wanted(wire)])

    def _is_wanted(self, wire: bytes) -> bool:
        found = self._known.get(wire)
        if found is None:
            found = key_of(wire) in self._keys
            if len(wire) <= _BYTES_MAX:
                if len(self._known) >= _KNOWN_MAX:
                    self._known.clear()
                self._known[wire] = found
        return found


def key_of(wire: bytes) -> bytes:
    """The key of a serialized ``KeyValue``. Raises `MalformedError`."""
    # As encoders write it: key, value, and nothing else.
    if len(wire) > 3 and wire[0] == 0x0A and wire[1] < 0x80:
        at = 2 + wire[1]
        if at + 1 < len(wire) and wire[at] == 0x12 and at + 2 + wire[at + 1] == len(wire):
            return wire[2:at]
    key: bytes = opened(wire).key
    return key


def opened(wire: bytes) -> Any:
    """A ``KeyValue``, all of it. Raises `MalformedError`."""
    try:
        return view(Signal.METRICS, Depth.FULL, "KeyValue").FromString(wire)
    except DecodeError as error:
        raise MalformedError(f"broken attributes or item: {error}") from error
