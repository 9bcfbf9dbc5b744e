"""Escaping of UTF-8 names for readers that know only ``[a-zA-Z0-9_:]`` (conformance ES-1).

Where the implementation of Prometheus and its specification differ, this is the specification:
``values`` writes code points in upper case, ``dots`` puts one underscore for any other character.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LEGACY = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LEGACY_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_FIRST = re.compile(r"^[^a-zA-Z_:]")
_OTHER = re.compile(r"[^a-zA-Z0-9_:]")


class Escaping(enum.StrEnum):
    """The schemes, by the names that they have in ``Accept`` and ``Content-Type``."""

    UNDERSCORES = "underscores"
    DOTS = "dots"
    VALUES = "values"
    ALLOW_UTF_8 = "allow-utf-8"


def is_legacy_name(name: str) -> bool:
    """Whether every reader understands a metric of this name (remote write: R1-4)."""
    return _LEGACY.fullmatch(name) is not None


def is_legacy_label(name: str) -> bool:
    """Whether every reader understands a label of this name (remote write: R1-4)."""
    return _LEGACY_LABEL.fullmatch(name) is not None


def escape(name: str, scheme: Escaping) -> str:
    """A metric or label name in ``scheme``.

    Equal for `Escaping.ALLOW_UTF_8`. For `Escaping.UNDERSCORES` and `Escaping.VALUES` names that
    every reader understands stay as they are.
    """
    return _SCHEMES[scheme](name)


def _underscores(name: str) -> str:
    return _OTHER.sub("_", _FIRST.sub("_", name))


def _dots(name: str) -> str:
    escaped = name.replace("_", "__").replace(".", "_dot_")
    return _OTHER.sub("_", _FIRST.sub("_", escaped))


def _values(name: str) -> str:
    if not name or is_legacy_name(name):
        return name
    first = name[0]
    start = f"_{ord(first):X}_" if _FIRST.match(name) else first.replace("_", "__")
    rest = _OTHER.sub(lambda found: f"_{ord(found[0]):X}_", name[1:].replace("_", "__"))
    return f"U__{start}{rest}"


def _same(name: str) -> str:
    return name


_SCHEMES: dict[Escaping, Callable[[str], str]] = {
    Escaping.UNDERSCORES: _underscores,
    Escaping.DOTS: _dots,
    Escaping.VALUES: _values,
    Escaping.ALLOW_UTF_8: _same,
}
