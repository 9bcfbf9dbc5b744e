"""A series of a target: what is remembered of the head of a line."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

__all__ = ["DROPPED", "REJECTED", "Ident", "Kind", "Place", "Scope", "Series", "ident_of"]


class Scope(NamedTuple):
    """An instrumentation scope. ``attributes``: sorted."""

    name: str
    version: str
    schema_url: str = ""
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where in a request the points of a series stand. One object for each place of a target."""

    job: str
    instance: str
    scope: Scope


class Kind(enum.IntEnum):
    """What the value of a line is for."""

    IGNORED = 0
    """Nothing: it is only checked."""
    NUMBER = 1
    """It is the number of a point: ``at`` is its place in ``target``, the chunks of a metric."""
    MEMBER = 2
    """It is a part of a histogram or summary: ``at`` is its place in the values of ``target``."""
    DYNAMIC = 3
    """It can have a time or an exemplar, so its metric is written anew each time."""
    FIXED = 4
    """It decides what stands elsewhere (a start time): if it changes, all is assembled anew."""


class Series:
    """One head of a line and what became of it. Identity counts, not content.

    ``head``: the bytes of the line up to the value. ``attributes``: those of a point, each as
    `encoding.attribute` gives it, without ``le`` and ``quantile``. ``seen``: the serial number of
    the last page in which it was looked up. ``last_ms``: the last explicit time.
    """

    __slots__ = (
        "at",
        "attributes",
        "head",
        "index",
        "kind",
        "last_ms",
        "le",
        "name",
        "place",
        "quantile",
        "seen",
        "target",
    )

    def __init__(
        self,
        head: bytes,
        place: Place | None,
        name: str,
        attributes: tuple[bytes, ...] = (),
        *,
        le: str | None = None,
        quantile: str | None = None,
    ) -> None:
        self.head = head
        self.place = place
        self.name = name
        self.attributes = attributes
        self.le = le
        self.quantile = quantile
        self.kind = Kind.IGNORED
        self.target: Any = None  # of these, by kind: list[bytes] | Group | None
        self.at = 0
        self.index = 0
        self.seen = 0
        self.last_ms: int | None = None


Ident = tuple[str, tuple[bytes, ...], "Place | None", "str | None", "str | None"]
"""What makes series the same: their labels, not how a line writes them."""


def ident_of(series: Series) -> Ident:
    """What makes a series the same as another."""
    return (series.name, series.attributes, series.place, series.le, series.quantile)


DROPPED: Final = ""
"""The name of a series that relabelling dropped; it has no place."""
REJECTED: Final = "!"
"""The name of a series that is no series: a label occurs twice; it has no place."""
