"""JSON text that arrives in pieces (RFC 8259), read from front to back. No I/O, no clock.

Methods that may need more text are generators: a bare ``yield`` asks for the next piece, which is
given by `feed` before the generator is continued. What is small is decoded by the C decoder of the
standard library; what may be large is walked through by the caller, element by element.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from mlsysops_pipeline.query.errors import AnswerError, NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")
Reading: TypeAlias = "Generator[None, None, T]"
"""A reading that yields when it needs more text, and returns a ``T``."""

VALUE_CHARS_MAX: Final = 256 << 10
"""Of a value that is decoded at once, which bounds how long that takes."""

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_TOKEN_CHARS: Final = 12
"""The longest token that the decoder rejects at its beginning: an escaped pair of surrogates."""

_SHOWN_CHARS: Final = 60


def _no_constant(text: str) -> float:
    """The decoder would accept ``NaN`` and ``Infinity``, which JSON has not."""
    raise ValueError(text)


_scan: Final = json.JSONDecoder(parse_constant=_no_constant).scan_once  # type: ignore[attr-defined]  # typeshed lacks it


class JsonText:
    """The text that came and was not read yet. ``text[at]`` is the next character."""

    __slots__ = ("_dropped", "_is_complete", "at", "text")

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self._dropped = 0
        self._is_complete = False

    def feed(self, text: str) -> None:
        """Add a piece, and forget what has been read."""
        self._dropped += self.at
        self.text = self.text[self.at :] + text
        self.at = 0

    def end(self) -> None:
        """No more pieces: what is missing now is missing."""
        self._is_complete = True

    def peek(self) -> Reading[str]:
        """The next character that is no space, without reading it."""
        while True:
            # A single comparison in the usual case: servers write no spaces.
            if self.at < len(self.text) and self.text[self.at] > " ":
                return self.text[self.at]
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]  # always matches
            if self.at == len(self.text):
                if self._is_complete:
                    raise self._ended()
                yield
            elif self.text[self.at] <= " ":
                raise self.error("a value")

    def take(self, wanted: str) -> Reading[None]:
        """Read one character that must come next."""
        if (yield from self.peek()) != wanted:
            raise self.error(repr(wanted))
        self.at += 1

    def another(self, closing: str) -> Reading[bool]:
        """After an element: whether there is one more. Reads the comma or the end."""
        character = yield from self.peek()
        if character not in {",", closing}:
            raise self.error(f"',' or {closing!r}")
        self.at += 1
        return character == ","

    def is_empty(self, closing: str) -> Reading[bool]:
        """After the opening: whether nothing is in there. Reads the end then."""
        if (yield from self.peek()) != closing:
            return False
        self.at += 1
        return True

    def key(self) -> Reading[str]:
        """The key of a member and its colon."""
        if (yield from self.peek()) != '"':
            raise self.error("a key")
        key = yield from self.value()
        yield from self.take(":")
        return str(key)

    def value(self) -> Reading[Any]:
        """Decode a whole value. Raises `AnswerError` above `VALUE_CHARS_MAX`."""
        yield from self.peek()
        while True:
            try:
                value, end = _scan(self.text, self.at)
            except (StopIteration, ValueError) as problem:
                # Either wrong or not complete yet; what comes tells.
                if self._is_complete:
                    is_cut = _stopped_at(problem) > len(self.text) - _TOKEN_CHARS
                    raise (self._ended() if is_cut else self.error("a value")) from None
            except RecursionError:
                raise AnswerError("the answer is nested too deeply") from None
            else:
                # A number may go on in the next piece.
                if end < len(self.text) or self._is_complete:
                    self.at = end
                    return value
            yield from self._at_least(2 * (len(self.text) - self.at))

    def small(self, end: int) -> dict[str, Any] | None:
        """The object that seems to end at ``end``; nothing is read if it does not."""
        try:
            value, stop = _scan(self.text, self.at)
        except (StopIteration, ValueError, RecursionError):
            return None
        if stop != end or type(value) is not dict:
            return None
        self.at = stop
        return value

    def _at_least(self, count: int) -> Reading[None]:
        """Wait for more text: twice of it each time, so that all attempts together stay linear."""
        if len(self.text) - self.at > VALUE_CHARS_MAX:
            raise AnswerError(f"the answer has a value of more than {VALUE_CHARS_MAX} characters")
        while len(self.text) - self.at < count and not self._is_complete:
            yield

    def nothing_more(self) -> Reading[None]:
        """Read to the end, where only space may stand."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]  # always matches
            if self.at < len(self.text):
                raise self.error("the end")
            if self._is_complete:
                return
            yield

    def error(self, wanted: str) -> AnswerError:
        """What is wrong here."""
        found = self.text[self.at : self.at + _SHOWN_CHARS]
        return AnswerError(
            f"the answer is no such JSON: {wanted} expected"
            f" at character {self._dropped + self.at}, not {found!r}"
        )

    def _ended(self) -> NoAnswerError:
        count = self._dropped + len(self.text)
        return NoAnswerError(f"the answer ends too early, after {count} characters")


def _stopped_at(problem: Exception) -> float:
    """Where the decoder gave up; infinity if it ran out of text inside a string."""
    if isinstance(problem, StopIteration):
        return int(problem.value)
    if isinstance(problem, json.JSONDecodeError):
        return math.inf if problem.msg.startswith("Unterminated") else problem.pos
    return 0
