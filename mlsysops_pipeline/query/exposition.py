"""Prometheus text pages, 0.0.4 and OpenMetrics 1.0: the samples of one metric. No I/O, no clock.

Only lines that may belong to the wanted metric are taken apart; of the others nothing is checked,
so that one odd metric does not hide the rest of the page. A line of the wanted metric that cannot
be read is an error: a missing series must not look like one that is not there.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from mlsysops_pipeline.query.errors import AnswerError, NoAnswerError
from mlsysops_pipeline.query.results import Sample, Vector

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Line", "PageReader", "Wanted", "parse_line"]

LINE_CHARS_MAX: Final = 64 << 10
_SHOWN_CHARS: Final = 100
_TIME_S_MAX: Final = 9e9

_QUOTED: Final = r'"((?:[^"\\]|\\.)*+)"'
_LINE: Final = re.compile(
    r"[ \t]*(?:([a-zA-Z_:][a-zA-Z0-9_:]*+)[ \t]*)?"  # 1 the name
    r'(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*+")*+)\}[ \t]*)?'  # 2 labels
    r"([^ \t#{\"]++)"  # 3 the value
    r"(?:[ \t]++([^ \t#]++))?"  # 4 the time
    r"[ \t]*(?:#.*)?",  # an exemplar
    re.DOTALL,
)
_LABEL: Final = re.compile(
    r"[ \t]*(?:([a-zA-Z_][a-zA-Z0-9_]*+)|" + _QUOTED + r")"  # 1 or 2 the name
    r"(?:[ \t]*=[ \t]*" + _QUOTED + r")?"  # 3 the value; a name alone is the metric's
    r"[ \t]*(,|$)[ \t]*",
    re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "\\": "\\", '"': '"'}
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]+\.?[0-9]*(?:e[+-]?[0-9]+)?|\.[0-9]+(?:e[+-]?[0-9]+)?|inf(?:inity)?|nan)",
    re.IGNORECASE,
)


class Line(NamedTuple):
    """A sample line. ``time``: the number behind the value, as written; empty without one."""

    name: str
    labels: dict[str, str]
    value: float
    time: str


class Wanted:
    """A metric and the labels that its series must have. Raises `TypeError`, `ValueError`."""

    def __init__(self, name: str, labels: Mapping[str, str]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a metric is a text, not {type(name).__name__}")
        if not name:
            raise ValueError("the name of the metric is empty")
        for label, value in labels.items():
            if not isinstance(value, str):
                raise TypeError(f"the label {label} has a text as value, not {value!r}")
        self.name = name
        self._labels = dict(labels)
        self._quoted = '"' + name.translate(_ESCAPES) + '"'

    def is_within(self, lines: str) -> bool:
        """Whether any of the lines may be of this metric: a quick look that spares most pages."""
        return self.name in lines or self._quoted in lines

    def may_be(self, text: str) -> bool:
        """Whether a line looks like one of this metric."""
        text = text.lstrip(" \t")
        if text.startswith("{"):
            return self._quoted in text
        return text.startswith(self.name) and text[len(self.name) : len(self.name) + 1] in " \t{"

    def matches(self, line: Line) -> bool:
        """Whether a series is asked for."""
        labels = line.labels
        return line.name == self.name and all(
            labels.get(label, "") == value for label, value in self._labels.items()
        )


class PageReader:
    """Reads one page: `feed` the pieces, then ask for the `result`. Both raise `QueryError`s.

    ``now_s``: the time of samples that carry none.
    """

    def __init__(self, wanted: Wanted, now_s: float, *, is_open_metrics: bool) -> None:
        self._wanted = wanted
        self._now_s = now_s
        self._is_open_metrics = is_open_metrics
        self._rest = ""
        self._lines = 0
        self._has_end = False
        self._found: dict[frozenset[tuple[str, str]], Sample] = {}

    def feed(self, text: str) -> None:
        """Read a piece."""
        text = self._rest + text
        end = text.rfind("\n") + 1
        self._rest = text[end:]
        self._take(text[:end])
        if len(self._rest) > LINE_CHARS_MAX:
            raise AnswerError(
                f"line {self._lines + 1} of the page is longer than {LINE_CHARS_MAX} characters"
            )

    def result(self) -> Vector:
        """The page is complete: what it had."""
        self._take(self._rest)
        if self._is_open_metrics and not self._has_end:
            raise NoAnswerError("the page ends too early: it has no # EOF")
        return Vector(tuple(self._found.values()))

    def _take(self, lines: str) -> None:
        """Read whole lines."""
        if lines.startswith("# EOF") or "\n# EOF" in lines:
            self._has_end = True
        if self._wanted.is_within(lines):
            for number, text in enumerate(lines.split("\n"), self._lines + 1):
                if self._wanted.may_be(text):
                    self._keep(number, text.rstrip("\r"))
        self._lines += lines.count("\n")

    def _keep(self, number: int, text: str) -> None:
        line = parse_line(text)
        if line is None:
            raise AnswerError(f"line {number} of the page is no sample: {text[:_SHOWN_CHARS]!r}")
        if not self._wanted.matches(line):
            return
        time_s = self._time_s(line, number)
        key = frozenset(line.labels.items())
        former = self._found.get(key)
        # A page may have several times of a series; of two with the same time the last one counts.
        if former is None or time_s >= former.timestamp_s:
            labels = {"__name__": line.name, **line.labels}
            self._found[key] = Sample(labels, time_s, line.value)

    def _time_s(self, line: Line, number: int) -> float:
        if not line.time:
            return self._now_s
        form, unit_s = (_NUMBER, 1.0) if self._is_open_metrics else (_INTEGER, 1e-3)
        time_s = float(line.time) * unit_s if form.fullmatch(line.time) else math.inf
        if not abs(time_s) <= _TIME_S_MAX:
            raise AnswerError(f"line {number} of the page has no time but {line.time!r}")
        return time_s


def parse_line(text: str) -> Line | None:
    """Take a sample line apart; ``None`` for what is none.

    Labels without a value are left out, as Prometheus has them.
    """
    match = _LINE.fullmatch(text)
    if match is None or not _NUMBER.fullmatch(match[3]):
        return None
    name, labels = match[1] or "", {}
    inside, at = match[2] or "", 0
    while at < len(inside):
        label = _LABEL.match(inside, at)
        if label is None:
            return None
        at = label.end()
        key = label[1] if label[2] is None else _unescaped(label[2])
        if label[3] is not None:
            labels[key] = _unescaped(label[3])
        elif name or label[2] is None:
            return None
        else:
            name = key
    if not name:
        return None
    kept = {key: value for key, value in labels.items() if value}
    return Line(name, kept, float(match[3]), match[4] or "")


def _unescaped(text: str) -> str:
    """Undo the three escapes of the format; other backslashes stand for themselves."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[0]), text)
