"""Values as files of Prometheus write them: its durations, sizes and texts.

Prometheus reads a number where it wants a text, so all of these take scalars of any kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final, Self

_UNITS_MS: Final = (
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
)
_DURATION: Final = re.compile("".join(f"(?:([0-9]+){unit})?" for unit, _ in _UNITS_MS))
_DURATION_MAX_MS: Final = (1 << 63) // 1_000_000
_EXAMPLE: Final = "such as 15s, 1m30s, 500ms or 1d"
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([A-Za-z]*)")
_SIZE_UNITS: Final = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": 1024 ** (power + 1)
    for power, prefix in enumerate("kmgtpe")
    for suffix in ("b", "ib")
}
_SIZE_MAX: Final = (1 << 63) - 1


def parse_seconds(text: str) -> float:
    """Seconds of a Prometheus duration. Raises `ValueError` that says what one looks like."""
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"not a valid duration string: {text!r}{_hint(text)}")
    total_ms = sum(
        int(count) * unit_ms
        for count, (_, unit_ms) in zip(match.groups(), _UNITS_MS, strict=True)
        if count
    )
    if total_ms > _DURATION_MAX_MS:
        raise ValueError(f"{text!r} is too long a duration")
    return total_ms / 1_000


def _hint(text: str) -> str:
    if text.isascii() and text.isdigit():
        return f"; write {text}s if seconds are meant"
    if re.fullmatch(r"[0-9]*\.[0-9]+(?:ms|[smhdwy])", text):
        return "; it has no fractions: write 1s500ms instead of 1.5s"
    return f"; a duration has numbers and units, {_EXAMPLE}"


@dataclass(frozen=True, slots=True)
class PromDuration:
    """A duration as Prometheus writes it: ``1d``, ``1m30s``, ``500ms``; ``0`` needs no unit."""

    takes_scalars: ClassVar[bool] = True

    seconds: float
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one. Raises `ValueError`."""
        return cls(parse_seconds(text), text)

    def __bool__(self) -> bool:
        return bool(self.seconds)

    def __str__(self) -> str:
        return self.text or seconds_text(self.seconds)


def seconds_text(seconds: float) -> str:
    """The shortest duration that Prometheus reads as the same, to the millisecond."""
    rest_ms = round(seconds * 1_000)
    if not rest_ms:
        return "0s"
    text = ""
    for unit, unit_ms in _UNITS_MS[2:]:
        count, rest_ms = divmod(rest_ms, unit_ms)
        if count:
            text += f"{count}{unit}"
    return text


@dataclass(frozen=True, slots=True)
class ByteSize:
    """A number of bytes: ``10MB``, ``1GiB`` or a plain number. Units are powers of 1024."""

    takes_scalars: ClassVar[bool] = True

    size: int
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one. Raises `ValueError`."""
        match = _SIZE.fullmatch(text.strip())
        unit = _SIZE_UNITS.get(match[2].lower()) if match else None
        if not match or unit is None or len(match[1]) > 18 or float(match[1]) * unit > _SIZE_MAX:
            raise ValueError(f"{text!r} is no size; write 10MB, 512KB or a number of bytes")
        return cls(int(float(match[1]) * unit), text)

    def __bool__(self) -> bool:
        return bool(self.size)

    def __str__(self) -> str:
        return self.text or str(self.size)


class Text(str):
    """A text, which files may write as a number or a bool, too."""

    takes_scalars: ClassVar[bool] = True
    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a text as it is."""
        return cls(text)


__all__ = ["ByteSize", "PromDuration", "Text", "parse_seconds", "seconds_text"]
