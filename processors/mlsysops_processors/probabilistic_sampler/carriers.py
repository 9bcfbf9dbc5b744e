"""Where an item carries its randomness and threshold: a span's ``tracestate``, a log's attributes.

Both have the same shape: made of an opened item (`ValueError` if what it carries is broken), they
have ``randomness`` and ``threshold``, which may be ``None`` and are changed, and ``write()``.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from mlsysops_pipeline.functions.attributes import Attributes
from mlsysops_processors.probabilistic_sampler.numbers import (
    read_randomness,
    read_threshold,
    write_randomness,
    write_threshold,
)

_STATE_BYTES_MAX, _MEMBERS_MAX, _OTEL_BYTES_MAX = 1024, 32, 256
_KEY = r"[a-z][a-z0-9\-*/_]{0,255}|[a-z0-9][a-z0-9\-*/_]{0,240}@[a-z][a-z0-9\-*/_]{0,13}"
_MEMBER = re.compile(rf"({_KEY})=([ -+\--<>-~]{{0,255}}[!-+\--<>-~])")
_OTEL_MEMBER = re.compile(r"([a-z][a-z0-9]*):([a-zA-Z0-9._\-]*)")
THRESHOLD, RANDOMNESS = "sampling.threshold", "sampling.randomness"


class Carrier(Protocol):
    """See the module."""

    randomness: int | None
    threshold: int | None

    def write(self) -> None:
        """Put both into the item."""


class TraceState:
    """What a span carries in the member ``ot`` of its ``tracestate``."""

    __slots__ = ("_more", "_others", "_span", "randomness", "threshold")

    def __init__(self, span: Any) -> None:
        self._span = span
        self.randomness: int | None = None
        self.threshold: int | None = None
        self._others: list[str] = []
        self._more: list[str] = []
        raw = span.trace_state
        if raw:
            self._read(raw)

    def _read(self, raw: bytes) -> None:
        text = raw.decode("ascii")  # a UnicodeDecodeError is a ValueError
        if len(text) > _STATE_BYTES_MAX:
            raise ValueError("the tracestate is too long")
        members = [member for part in text.split(",") if (member := part.strip(" \t"))]
        if len(members) > _MEMBERS_MAX:
            raise ValueError("the tracestate has too many members")
        for member in members:
            found = _MEMBER.fullmatch(member)
            if found is None:
                raise ValueError(f"{member!r} is no member of a tracestate")
            if found[1] == "ot":
                self._read_otel(found[2])
            else:
                self._others.append(member)

    def _read_otel(self, text: str) -> None:
        if len(text) > _OTEL_BYTES_MAX:
            raise ValueError("the member ot of the tracestate is too long")
        for member in text.split(";"):
            found = _OTEL_MEMBER.fullmatch(member)
            if found is None:
                raise ValueError(f"{member!r} is not of the member ot of a tracestate")
            if found[1] == "rv":
                self.randomness = read_randomness(found[2])
            elif found[1] == "th":
                self.threshold = read_threshold(found[2])
            else:
                self._more.append(member)

    def write(self) -> None:
        """Write the ``tracestate``, with ``ot`` first as the W3C wants of who changed it."""
        own = list(self._more)
        if self.threshold is not None:
            own.insert(0, f"th:{write_threshold(self.threshold)}")
        if self.randomness is not None:
            own.insert(0, f"rv:{write_randomness(self.randomness)}")
        members = [f"ot={';'.join(own)}", *self._others] if own else self._others
        self._span.trace_state = ",".join(members).encode()


class RecordAttributes:
    """What a log record carries in two attributes."""

    __slots__ = ("_attributes", "randomness", "threshold")

    def __init__(self, record: Any) -> None:
        self._attributes = attributes = Attributes(record)
        threshold, randomness = attributes.get(THRESHOLD), attributes.get(RANDOMNESS)
        self.threshold = (
            read_threshold(threshold) if threshold and isinstance(threshold, str) else None
        )
        self.randomness = (
            read_randomness(randomness) if randomness and isinstance(randomness, str) else None
        )

    def write(self) -> None:
        """Set the attributes to what there is; take the threshold away if there is none."""
        if self.randomness is not None:
            self._attributes[RANDOMNESS] = write_randomness(self.randomness)
        if self.threshold is not None:
            self._attributes[THRESHOLD] = write_threshold(self.threshold)
        else:
            self._attributes.pop(THRESHOLD, None)
