"""Text 0.0.4 (conformance TX-1, TX-2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.prometheus.exposition.entries import (
    Comment,
    ExpositionError,
    Head,
    Tail,
    Topic,
)
from mlsysops_pipeline.prometheus.exposition.labels import described, unescaped
from mlsysops_pipeline.prometheus.exposition.numbers import read_number

if TYPE_CHECKING:
    from mlsysops_pipeline.prometheus.exposition.entries import Grammar

__all__ = ["TEXT"]

_QUOTED: Final = rb'"((?:[^"\\]|\\.)*+)"'
_BLANK: Final = rb"[ \t]*+"
_START: Final = re.compile(
    _BLANK + rb"([a-zA-Z_:][a-zA-Z0-9_:]*+)?+" + _BLANK + rb"(\{)?", re.DOTALL
)
_LABEL: Final = re.compile(
    _BLANK + rb"(?:([a-zA-Z_][a-zA-Z0-9_]*+)|" + _QUOTED + rb")"  # 1 or 2 the name
    rb""
    + _BLANK
    + rb"(?:="
    + _BLANK
    + _QUOTED
    + _BLANK
    + rb",?+|(,|(?=\})))",  # 3 the value; 4 none
    re.DOTALL,
)
_CLOSED: Final = re.compile(_BLANK + rb"\}" + _BLANK)
_TAIL: Final = re.compile(rb"([^{ \t]++)(?:[ \t]++([0-9]++))?+[ \t]*+")
_COMMENT: Final = re.compile(
    _BLANK + rb"#[ \t]++(HELP|TYPE)[ \t]++(?:" + _QUOTED + rb"|([a-zA-Z_:][a-zA-Z0-9_:]*+))?+(.*+)",
    re.DOTALL,
)
_TYPES: Final = frozenset({b"counter", b"gauge", b"histogram", b"summary"})
_INT64_MAX: Final = (1 << 63) - 1


class _Text:
    """See `Grammar`. White space may stand between any two words, and a comma may be missing."""

    needs_end = False

    def is_sample(self, line: bytes) -> bool:
        return bool(line) and line.lstrip(b" \t")[:1] not in {b"", b"#"}

    def comment(self, line: bytes) -> Comment | None:
        found = _COMMENT.match(line)
        if found is None:
            return None
        topic, quoted, plain, text = found.groups()
        if quoted is None and plain is None:
            raise ExpositionError(f"no name after {topic.decode()}")
        name = plain.decode() if quoted is None else unescaped(quoted)
        text = text[1:]
        if topic == b"HELP":
            return Comment(Topic.HELP, name, described(text))
        if text in _TYPES:
            return Comment(Topic.TYPE, name, text.decode())
        if text == b"untyped":
            return Comment(Topic.TYPE, name, "unknown")
        raise ExpositionError(f"no type of a metric: {text[:100]!r}")

    def head(self, line: bytes) -> Head:
        found = _START.match(line)
        if found is None:
            raise ExpositionError("no sample")  # cannot be: the pattern matches nothing as well
        plain, opened = found.groups()
        end = found.end()
        if opened is None:
            if plain is None:
                raise ExpositionError(f"a line that begins with {line[:100]!r}")
            return Head(plain.decode(), (), end)
        name = None if plain is None else plain.decode()
        labels = []
        while (label := _LABEL.match(line, end)) is not None:
            word, quoted, value, _ = label.groups()
            end = label.end()
            key = word.decode() if quoted is None else unescaped(quoted)
            if value is not None:
                labels.append((key, unescaped(value)))
            elif name is not None or quoted is None:
                raise ExpositionError(f"a label without a value: {key[:100]!r}")
            else:
                name = key
        closed = _CLOSED.match(line, end)
        if closed is None:
            raise ExpositionError(f"no label: {line[end : end + 100]!r}")
        if name is None:
            raise ExpositionError("a sample without the name of a metric")
        return Head(name, tuple(labels), closed.end())

    def tail(self, line: bytes, at: int) -> Tail:
        found = _TAIL.fullmatch(line, at)
        if found is None:
            raise ExpositionError(f"no value and time: {line[at : at + 100]!r}")
        text, time = found.groups()
        value = read_number(text)
        if time is None:
            return Tail(value, None, None)
        # Nobody needs more digits, and many cost much.
        time = time.lstrip(b"0") or b"0"
        if len(time) > 19 or int(time) > _INT64_MAX:
            raise ExpositionError(f"a time out of range: {time[:100]!r}")
        return Tail(value, int(time), None)


TEXT: Final[Grammar] = _Text()
"""Text 0.0.4."""
