"""How a reader deep inside a request says what is wrong, and where."""

from __future__ import annotations

import json
from typing import Any

_SHOWN_MAX = 40


class ValueProblem(Exception):  # noqa: N818  it becomes a `MalformedError` at the top
    """A JSON value that cannot be what its place wants.

    ``path`` is filled on the way out, innermost step first: keys and indexes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.path: list[str | int] = []

    @classmethod
    def unexpected(cls, expected: str, value: Any) -> ValueProblem:
        """``value`` is not what is ``expected`` ("a string")."""
        return cls(f"expected {expected}, got {describe(value)}")

    def __str__(self) -> str:
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path[::-1])
        return f"${''.join(steps)}: {self.message}"


def describe(value: Any) -> str:
    """A JSON value in an error message: its kind, and as much of it as fits."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        shown = value if len(value) <= _SHOWN_MAX else value[:_SHOWN_MAX] + "..."
        return f"the string {json.dumps(shown)}"
    if isinstance(value, tuple):
        return "an object"
    if isinstance(value, list):
        return "an array"
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_MAX else f"a number of {len(shown)} digits"
