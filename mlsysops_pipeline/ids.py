"""The names of components and pipelines (service behaviour, section 1.1)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Self

from mlsysops_pipeline.pdata.signal import Signal

_TYPE = re.compile(r"[a-zA-Z][0-9a-zA-Z_]{0,62}")
_NAME_LENGTH_MAX = 1024


def _split(text: str) -> tuple[str, str]:
    type_, slash, name = text.partition("/")
    type_, name = type_.strip(), name.strip()
    if not type_:
        if slash:
            raise ValueError(f'in "{text}" id: the part before / should not be empty')
        raise ValueError("id must not be empty")
    if slash and not name:
        raise ValueError(f'in "{text}" id: the part after / should not be empty')
    if len(name) > _NAME_LENGTH_MAX:
        raise ValueError(
            f'name "{name[:40]}..." is longer than {_NAME_LENGTH_MAX} characters '
            f"({len(name)} characters)"
        )
    if any(unicodedata.category(character)[0] in "ZCS" for character in name):
        raise ValueError(f'invalid character(s) in name "{name}"')
    return type_, name


@dataclass(frozen=True, slots=True, order=True)
class ComponentID:
    """``type`` or ``type/name``, as the user wrote it."""

    type: str
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an id. Raises `ValueError` with the Collector's message."""
        type_, name = _split(text)
        if not _TYPE.fullmatch(type_):
            raise ValueError(f'invalid character(s) in type "{type_}"')
        return cls(type_, name)

    def __str__(self) -> str:
        return f"{self.type}/{self.name}" if self.name else self.type


@dataclass(frozen=True, slots=True)
class PipelineID:
    """``signal`` or ``signal/name``."""

    signal: Signal
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an id. Raises `ValueError` when the part before the slash is no signal."""
        type_, name = _split(text)
        try:
            return cls(Signal(type_), name)
        except ValueError:
            known = ", ".join(map(str, Signal))
            raise ValueError(f'"{type_}" is no signal; the signals are {known}') from None

    def __str__(self) -> str:
        return f"{self.signal}/{self.name}" if self.name else str(self.signal)
