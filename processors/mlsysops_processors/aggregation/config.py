"""What is written about aggregation, and what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from mlsysops_pipeline.config.schema import ComponentConfig, Duration, Finding, Severity
from mlsysops_pipeline.patterns import compile_pattern
from mlsysops_pipeline.pdata import any_values

if TYPE_CHECKING:
    from collections.abc import Iterable

WINDOWS_MAX = 1000
"""Windows that may have to be open at a time because of the lateness that is allowed."""
_INTERVAL_MIN_S = 0.001
_INTERVAL_MAX_S = 86_400.0 * 366
SERIES_MAX = 5_000_000
"""The largest ``max_series``."""
NAMED = ("sum", "mean", "min", "max", "count", "last", "first", "stddev", "rate", "increase")
"""The functions that are no quantiles."""
_ALLOWED = f"use {', '.join(NAMED)} or a quantile such as p99 (above p0, below p100)"
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_PLACEHOLDERS = {"{name}", "{function}"}


@dataclass(frozen=True, slots=True)
class Function:
    """The name of a function; ``fraction``: of quantiles, above 0 and below 1."""

    name: str
    fraction: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """A function as it is written. Raises `ValueError`."""
        if text in NAMED:
            return cls(text)
        found = re.fullmatch(r"p(\d{1,3}(?:\.\d{1,6})?)", text)
        if found is None:
            raise ValueError(f'"{text}" is no function: {_ALLOWED}')
        percent = float(found[1])
        if not 0 < percent < 100:
            raise ValueError(f'"{text}" is no quantile above p0 and below p100: {_ALLOWED}')
        return cls(text, percent / 100)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern over whole names: ``*`` is any text, ``?`` one character, ``[ab]`` one of them."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """A pattern as it is written. Raises `ValueError`."""
        glob = cls(text)
        if not text:
            raise ValueError("is empty; use * for every metric")
        try:
            compile_pattern(glob.expression)
        except ValueError as error:
            raise ValueError(f'"{text}" is no glob: {error}') from error
        return glob

    @property
    def expression(self) -> str:
        """The same as a regular expression. Raises `ValueError`."""
        pieces = []
        at = 0
        while at < len(self.text):
            letter = self.text[at]
            at += 1
            if letter == "*":
                pieces.append(".*")
            elif letter == "?":
                pieces.append(".")
            elif letter == "[":
                piece, at = self._set(at)
                pieces.append(piece)
            else:
                pieces.append(re.escape(letter))
        return "".join(pieces)

    def _set(self, at: int) -> tuple[str, int]:
        """What stands in brackets, from ``at`` on, and where it ends."""
        end = self.text.find("]", at + 1 + self.text.startswith("!", at))
        if end < 0:
            raise ValueError('a "[" has no "]"; write [[] for the character itself')
        inner = self.text[at:end]
        negation = "^" if inner.startswith("!") else ""
        members = inner.removeprefix("!")
        escaped = re.sub(r"([\\\[\]^])", r"\\\1", members)
        return f"[{negation}{escaped}]", end + 1

    def __str__(self) -> str:
        return self.text


class RuleConfig(ComponentConfig):
    """Which metrics are aggregated, over which attributes, and how."""

    metrics: tuple[Glob, ...]
    """Globs over metric names: ``*`` any text, ``?`` one character, ``[ab]`` one of them."""
    match: dict[str, Any] = Field(default_factory=dict)
    """Only series with all of these attributes, of the point or else of the resource, equal in type
    and value. Without: all series."""
    by: tuple[str, ...] | None = None
    """The attributes that are kept; series that agree in them are aggregated. An attribute that a
    series does not have is left out. Neither ``by`` nor ``without``: one result of all series."""
    without: tuple[str, ...] | None = None
    """The attributes that are left out, of points and resources; all others are kept."""
    functions: tuple[Function, ...]
    """sum, mean, min, max, count, last, first, stddev, rate, increase, or quantiles: p50, p99.9."""
    rename: str = ""
    """The name of results; ``{name}`` is that of the metric, ``{function}`` the function. Of
    several functions, ``.{function}`` is appended where it is not in it. Without: ``{name}``."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        if self.by is not None and self.without is not None:
            yield Finding(("without",), 'use either "by" or "without", not both')
        for attribute, value in self.match.items():
            try:
                any_values.serialize(value)
            except ValueError as error:
                yield Finding(("match", attribute), str(error))
        yield from self._check_template()
        for key in ("by", "without"):
            yield from _repeated(key, getattr(self, key) or ())
            for index, attribute in enumerate(getattr(self, key) or ()):
                if not attribute:
                    yield Finding((key, index), "is empty: an attribute has a name")
        # Last come those that must be there: of one that is wrong there is nothing to judge.
        yield from _repeated("metrics", self.metrics)
        if not self.metrics:
            yield Finding(("metrics",), "is empty: name the metrics, or use * for all of them")
        yield from _repeated("functions", self.functions)
        if not self.functions:
            yield Finding(("functions",), f"is empty: {_ALLOWED}")

    def _check_template(self) -> Iterable[Finding]:
        if not self.rename:
            return
        rest = _PLACEHOLDER.sub("", self.rename)
        for unknown in sorted(set(_PLACEHOLDER.findall(self.rename)) - _PLACEHOLDERS):
            yield Finding(("rename",), f'"{unknown}" is unknown: use {{name}} and {{function}}')
        if "{" in rest or "}" in rest:
            yield Finding(("rename",), "a brace has no partner: use {name} and {function}")
        elif not rest.strip() and not _PLACEHOLDER.search(self.rename):
            yield Finding(("rename",), "is blank: a metric has a name")

    @property
    def template(self) -> str:
        """``rename`` with its default, and with the function where there are several."""
        template = self.rename or "{name}"
        if len(self.functions) > 1 and "{function}" not in template:
            template += ".{function}"
        return template


def _repeated(key: str, values: Iterable[Any]) -> Iterable[Finding]:
    seen = set()
    for index, value in enumerate(values):
        if value in seen:
            yield Finding((key, index), f'"{value}" stands here twice')
        seen.add(value)


class Config(ComponentConfig):
    """Windows, limits and rules."""

    acknowledges_from_memory: ClassVar[bool] = True

    interval: Duration = 60.0
    """Seconds of event time in a window, which begins at a multiple of it since 1970."""
    allowed_lateness: Duration = 5.0
    """Seconds for which a window stays open after its end. 0: it closes at its end."""
    late: Literal["drop", "forward"] = "drop"
    """Points of closed windows, and those more than an interval ahead: ``drop`` them (reason
    ``late``), or ``forward`` them as they are. They are counted either way."""
    max_series: int = 200_000
    """Input series that are told apart. Those beyond it go into one result of each metric, with the
    attributes ``otel.metric.overflow`` and ``aggregation.overflow.label``, which names what makes
    the series. What cumulative ones of these grow by from window to window is missing there."""
    max_stale: Duration = 300.0
    """Seconds of silence after which an input series or a result is forgotten, at least two
    windows. 0: never."""
    keep_original: bool = False
    """Hand all points on as well, as they came."""
    partial_windows: Literal["flag", "withhold"] = "flag"
    """Results of windows that began before this processor: ``flag`` gives them the attribute
    ``aggregation.partial``, ``withhold`` does not hand them on."""
    unmergeable: Literal["pass", "drop"] = "pass"
    """What no function of a rule can be computed of, such as summaries: ``pass`` hands it on as it
    is, ``drop`` drops it (reason ``unconvertible``)."""
    rules: tuple[RuleConfig, ...]
    """What is aggregated. Every rule that means a metric aggregates it; other metrics pass."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        if not _INTERVAL_MIN_S <= self.interval <= _INTERVAL_MAX_S:
            yield Finding(("interval",), "must be at least 1ms and at most 366 days")
        elif self.allowed_lateness > self.interval * WINDOWS_MAX:
            message = f"must be at most {WINDOWS_MAX} intervals: so many windows would be open"
            yield Finding(("allowed_lateness",), message)
        if not 0 < self.max_series <= SERIES_MAX:
            yield Finding(("max_series",), f"must be at least 1 and at most {SERIES_MAX}")
        if not self.rules:
            yield Finding(("rules",), "is empty: nothing would be aggregated")
        yield from self._check_clashes()

    def _check_clashes(self) -> Iterable[Finding]:
        """Rules that certainly give results of the same name and attributes."""
        seen: dict[tuple[Any, ...], int] = {}
        for index, rule in enumerate(self.rules):
            kept = (frozenset(rule.by or ()), frozenset(rule.without or ()), rule.without is None)
            match = repr(sorted(rule.match.items(), key=repr))
            clashing = set()
            for glob in rule.metrics:
                for function in rule.functions:
                    name = rule.template.replace("{function}", function.name)
                    if "{name}" not in name or "*" not in glob.text:
                        name = name.replace("{name}", glob.text)
                    other = seen.setdefault((glob.text, name, kept, match), index)
                    if other != index:
                        clashing.add(other)
            for other in sorted(clashing):
                message = (
                    f"gives results of the same name and attributes as rule {other}: two writers of"
                    " one stream; rename one of them"
                )
                yield Finding(("rules", index), message, Severity.WARNING)
