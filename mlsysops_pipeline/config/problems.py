"""What is wrong with a configuration, and where."""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mlsysops_pipeline.config.values import without_password

if TYPE_CHECKING:
    from collections.abc import Iterable

Path: TypeAlias = "tuple[str | int, ...]"
"""How to reach a value from the top: keys of maps and indexes (from 0) of lists."""

SET_OPTION = "--set"
_CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]
_ESCAPES = {code: chr(code).encode("unicode_escape").decode() for code in _CONTROLS}
"""What would break a line or move a terminal's cursor."""


class Severity(enum.Enum):
    """Whether a problem prevents running."""

    ERROR = "error"
    """It does."""
    LEFT_OUT = "left out"
    """It does not, but a pipeline does not run because of it: logged as an error."""
    WARNING = "warning"
    """It does not."""


_LABELS = {Severity.ERROR: "", Severity.LEFT_OUT: "error: ", Severity.WARNING: "warning: "}


class Position(NamedTuple):
    """Where a value stands: ``line`` and ``column`` count from 1; line 0 means "somewhere in".

    ``source`` is a file's path as the user gave it, ``env:NAME``, ``yaml:``, ``--set`` (its
    ``line`` is the number of the option) or the name of a Python dict.
    """

    source: str
    line: int = 0
    column: int = 0
    order: int = 0
    """The rank of the source: problems are listed by it first."""

    def __str__(self) -> str:
        if not self.line:
            return self.source
        separator = " " if self.source == SET_OPTION else ":"
        return f"{self.source}{separator}{self.line}:{self.column}"


NOWHERE = Position("config")


def path_text(path: Iterable[str | int]) -> str:
    """A path as people write it: ``receivers.otlp.protocols`` or ``service.extensions[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. ``str()`` is one line: ``FILE:LINE:COLUMN: path: message (hint)``.

    ``suggestion`` says what would be right and stands in parentheses. ``code`` marks problems
    that callers treat specially: ``unused``, ``unset``.
    """

    severity: Severity
    position: Position
    path: Path
    message: str
    suggestion: str = ""
    code: str = ""

    def __str__(self) -> str:
        return self._text("")

    @property
    def level(self) -> int:
        """The level at which a collector that runs all the same logs it."""
        return logging.WARNING if self.severity is Severity.WARNING else logging.ERROR

    def line(self) -> str:
        """As `str()`, with ``warning`` after the position if it is only one.

        ``error`` stands there if part of the configuration runs in spite of it.
        """
        return self._text(_LABELS[self.severity])

    def _text(self, label: str) -> str:
        path = f"{path_text(self.path)}: " if self.path else ""
        hint = f" ({self.suggestion})" if self.suggestion else ""
        message = without_password(self.message)
        return f"{self.position}: {label}{path}{message}{hint}".translate(_ESCAPES)

    def concerns_unused_in(self, folder: str) -> bool:
        """Whether it only says that something defined by a file in ``folder`` is not used."""
        return self.code == "unused" and self.position.source.startswith(folder)


def has_errors(problems: Iterable[Problem]) -> bool:
    """Whether any of the problems prevents running."""
    return any(problem.severity is Severity.ERROR for problem in problems)


def in_file_order(problems: Iterable[Problem]) -> list[Problem]:
    """The problems as a reader meets them: by source, line and column. Repetitions are dropped."""
    unique = dict.fromkeys(problems)
    return sorted(
        unique,
        key=lambda p: (p.position.order, p.position.source, p.position.line, p.position.column),
    )


def error(position: Position, path: Path, message: str, suggestion: str = "") -> Problem:
    """A problem that prevents running."""
    return Problem(Severity.ERROR, position, path, message, suggestion)


def warning(position: Position, path: Path, message: str, suggestion: str = "") -> Problem:
    """A problem that does not."""
    return Problem(Severity.WARNING, position, path, message, suggestion)
