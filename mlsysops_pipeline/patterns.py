"""Regular expressions from configuration: RE2, as in the Collector, so matching is linear in time.

Patterns and texts are UTF-8 bytes, because views keep strings as bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Match(Protocol):
    """Where a pattern was found."""

    def group(self, number: int) -> bytes | None:
        """The text of one group; 0 is all that matched."""

    def groups(self) -> Sequence[bytes | None]:
        """The text of every group, from the first; ``None`` where a group took no part."""


class Pattern(Protocol):
    """A compiled pattern (the part of google-re2 that is used here)."""

    @property
    def groups(self) -> int:
        """The number of groups."""

    @property
    def groupindex(self) -> Mapping[bytes, int]:
        """The numbers of the named groups."""

    def search(self, text: bytes) -> Match | None:
        """The first match anywhere in the text."""


def compile_pattern(text: str) -> Pattern:
    """A pattern, ready to search. Raises `ValueError` that says what is wrong with it."""
    import re2  # noqa: PLC0415  only configurations with patterns need it

    options = re2.Options()
    options.log_errors = False  # it would write to stderr; the error below says the same
    try:
        compiled: Pattern = re2.compile(text.encode(), options)
    except re2.error as error:
        reason = error.args[0]
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from error
    return compiled
