"""Prometheus text pages, 0.0.4 and OpenMetrics 1.0: the samples of one metric. No I/O, no clock.

Only lines that may belong to the wanted metric are taken apart; of the others nothing is checked,
so that one odd metric does not hide the rest of the page. A line of the wanted metric that cannot
be read is an error: a missing series must not look like one that is not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.prometheus.exposition import ExpositionError, grammar_of
from mlsysops_pipeline.query.errors import AnswerError, NoAnswerError
from mlsysops_pipeline.query.results import Sample, Vector

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PageReader", "Wanted"]

LINE_CHARS_MAX: Final = 64 << 10
_TIME_S_MAX: Final = 9e9

_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


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

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a series is asked for."""
        return name == self.name and all(
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
        self._grammar = grammar_of("application/openmetrics-text" if is_open_metrics else "")
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
        line = text.encode("utf-8", "replace")
        try:
            name, pairs, end = self._grammar.head(line)
            value, time_ms, _ = self._grammar.tail(line, end)
        except ExpositionError as error:
            raise AnswerError(f"line {number} of the page is no sample: {error}") from error
        # A label without a value is none to Prometheus.
        labels = {label: value for label, value in pairs if value}
        if not self._wanted.matches(name, labels):
            return
        time_s = self._now_s if time_ms is None else time_ms / 1e3
        if not abs(time_s) <= _TIME_S_MAX:
            raise AnswerError(f"line {number} of the page has no time but {time_ms} ms")
        key = frozenset(labels.items())
        former = self._found.get(key)
        # A page may have several times of a series; of two with the same time the last one counts.
        if former is None or time_s >= former.timestamp_s:
            self._found[key] = Sample({"__name__": name, **labels}, time_s, value)
