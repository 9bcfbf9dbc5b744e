"""OpenMetrics 1.0 (conformance OM-1 to OM-5).

As strict as Prometheus is, which is less than the specification says.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.prometheus.exposition.entries import (
    Comment,
    Exemplar,
    ExpositionError,
    Head,
    Tail,
    Topic,
)
from mlsysops_pipeline.prometheus.exposition.labels import unescaped
from mlsysops_pipeline.prometheus.exposition.numbers import (
    read_number,
    read_seconds,
    to_milliseconds,
)

if TYPE_CHECKING:
    from mlsysops_pipeline.prometheus.exposition.entries import Grammar

__all__ = ["OPEN_METRICS"]

_QUOTED: Final = rb'"((?:[^"\\]|\\.)*+)"'
_START: Final = re.compile(rb"([a-zA-Z_:][a-zA-Z0-9_:]*+)?+(\{)?+")
_LABEL: Final = re.compile(
    rb"(?:([a-zA-Z_][a-zA-Z0-9_]*+)|" + _QUOTED + rb")"  # 1 or 2 the name
    rb"(?:=" + _QUOTED + rb"(?:,|(?=\}))|(,|(?=\})))",  # 3 the value; 4 none
    re.DOTALL,
)
_TAIL: Final = re.compile(rb"([^ ]++)(?: (?!# \{)([^ ]++))?+(?: # \{(.*+))?+", re.DOTALL)
_END_OF_EXEMPLAR: Final = re.compile(rb"\} ([^ ]++)(?: ([^ ]++))?+")
_COMMENT: Final = re.compile(
    rb"# (?:(EOF)|(HELP|TYPE|UNIT) (?:" + _QUOTED + rb"|([a-zA-Z_:][a-zA-Z0-9_:]*+)) (.*+))",
    re.DOTALL,
)
_TYPES: Final = frozenset(
    {
        b"counter",
        b"gauge",
        b"histogram",
        b"gaugehistogram",
        b"summary",
        b"info",
        b"stateset",
        b"unknown",
    }
)


class _OpenMetrics:
    """See `Grammar`. One space where the format has one, and none anywhere else."""

    needs_end = True

    def is_sample(self, line: bytes) -> bool:
        return bool(line) and line[0] != 0x23  # a number sign

    def comment(self, line: bytes) -> Comment | None:
        found = _COMMENT.fullmatch(line)
        if found is None:
            raise ExpositionError(f"a line that is no HELP, TYPE, UNIT or EOF: {line[:100]!r}")
        end, word, quoted, plain, text = found.groups()
        if end is not None:
            return Comment(Topic.EOF, "", "")
        name = plain.decode() if quoted is None else unescaped(quoted)
        topic = Topic(word.decode())
        if topic is Topic.TYPE:
            if text not in _TYPES:
                raise ExpositionError(f"no type of a metric: {text[:100]!r}")
            return Comment(topic, name, text.decode())
        written = unescaped(text)
        if topic is Topic.UNIT and written and not name.endswith("_" + written):
            raise ExpositionError(f"{name[:100]} does not end in its unit {written[:100]}")
        return Comment(topic, name, written)

    def head(self, line: bytes) -> Head:
        found = _START.match(line)
        plain, opened = found.groups() if found is not None else (None, None)
        end = found.end() if found is not None else 0
        name = None if plain is None else plain.decode()
        labels: tuple[tuple[str, str], ...] = ()
        if opened is not None:
            name, labels, end = _labels(line, end, name)
            end += 1
        if name is None:
            raise ExpositionError(f"a sample without the name of a metric: {line[:100]!r}")
        if line[end : end + 1] != b" ":
            raise ExpositionError(f"no space before the value: {line[end : end + 100]!r}")
        return Head(name, labels, end + 1)

    def tail(self, line: bytes, at: int) -> Tail:
        found = _TAIL.fullmatch(line, at)
        if found is None:
            raise ExpositionError(f"no value, time and exemplar: {line[at : at + 100]!r}")
        text, time, _ = found.groups()
        value = read_number(text)
        at_ms = None if time is None else to_milliseconds(read_seconds(time))
        begin = found.start(3)
        return Tail(value, at_ms, None if begin < 0 else _exemplar(line, begin))


def _labels(
    line: bytes, at: int, name: str | None
) -> tuple[str | None, tuple[tuple[str, str], ...], int]:
    """The name, the labels and where the brace is that closes them."""
    labels = []
    while (label := _LABEL.match(line, at)) is not None:
        word, quoted, value, _ = label.groups()
        at = label.end()
        key = word.decode() if quoted is None else unescaped(quoted)
        if value is not None:
            labels.append((key, unescaped(value)))
        elif name is not None or quoted is None:
            raise ExpositionError(f"a label without a value: {key[:100]!r}")
        else:
            name = key
    if line[at : at + 1] != b"}":
        raise ExpositionError(f"no label: {line[at : at + 100]!r}")
    return name, tuple(labels), at


def _exemplar(line: bytes, at: int) -> Exemplar:
    _, labels, end = _labels(line, at, "")
    found = _END_OF_EXEMPLAR.fullmatch(line, end)
    if found is None:
        raise ExpositionError(f"no value and time of an exemplar: {line[end : end + 100]!r}")
    text, time = found.groups()
    return Exemplar(labels, read_number(text), None if time is None else read_seconds(time))


OPEN_METRICS: Final[Grammar] = _OpenMetrics()
"""OpenMetrics 1.0."""
