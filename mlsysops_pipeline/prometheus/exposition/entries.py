"""What a line of a page says."""

from __future__ import annotations

import enum
from typing import NamedTuple, Protocol

__all__ = ["Comment", "Exemplar", "ExpositionError", "Grammar", "Head", "Sample", "Tail", "Topic"]


class ExpositionError(ValueError):
    """A page, or a line, that is no exposition. Says what is wrong; of a page, in which line."""


class Topic(enum.StrEnum):
    """What a comment with a meaning is about."""

    HELP = "HELP"
    TYPE = "TYPE"
    UNIT = "UNIT"
    EOF = "EOF"
    """The end of a page; without a name."""


class Comment(NamedTuple):
    """A comment with a meaning. ``text`` of a type: OpenMetrics' word (``unknown``)."""

    topic: Topic
    name: str
    text: str


class Exemplar(NamedTuple):
    """An exemplar. ``timestamp_s``: ``None`` if it has none."""

    labels: tuple[tuple[str, str], ...]
    value: float
    timestamp_s: float | None


class Head(NamedTuple):
    """What a sample line begins with. ``end``: where in the line the value begins.

    ``labels``: as they stand in the line; neither sorted nor freed of empty and repeated ones.
    """

    name: str
    labels: tuple[tuple[str, str], ...]
    end: int


class Tail(NamedTuple):
    """The rest of a sample line. ``timestamp_ms``: ``None`` if it has none.

    NaN is an ordinary one.
    """

    value: float
    timestamp_ms: int | None
    exemplar: Exemplar | None


class Sample(NamedTuple):
    """A sample line."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float
    timestamp_ms: int | None
    exemplar: Exemplar | None


class Grammar(Protocol):
    """How a format writes lines. Lines are without their line feed. All raise `ExpositionError`."""

    @property
    def needs_end(self) -> bool:
        """Whether a page has to end with ``# EOF``, and a line with a line feed."""

    def comment(self, line: bytes) -> Comment | None:
        """Read a line that is no sample: ``None`` for an empty line or a comment for people."""

    def is_sample(self, line: bytes) -> bool:
        """Whether a line is for `head` and `tail`, and not for `comment`."""

    def head(self, line: bytes) -> Head:
        """Read the begin of a sample line."""

    def tail(self, line: bytes, at: int) -> Tail:
        """Read a sample line from its value on."""
