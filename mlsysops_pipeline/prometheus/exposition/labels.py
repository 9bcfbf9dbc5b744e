"""The texts of names, labels and descriptions."""

from __future__ import annotations

import re
from typing import Final

from mlsysops_pipeline.prometheus.exposition.entries import ExpositionError

__all__ = ["described", "unescaped", "utf8"]

_ESCAPE: Final = re.compile(rb'\\([\\n"])')
_ESCAPE_OF_HELP: Final = re.compile(rb"\\([\\n])")


def utf8(text: bytes) -> str:
    """The bytes as text. Raises `ExpositionError`."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise ExpositionError(f"no valid UTF-8: {text[:100]!r}") from error


def unescaped(text: bytes) -> str:
    """What stood in quotes. A backslash before any other sign stands for itself."""
    return utf8(_ESCAPE.sub(_meant, text) if b"\\" in text else text)


def described(text: bytes) -> str:
    r"""A HELP of text 0.0.4, where ``\"`` is no escape."""
    return utf8(_ESCAPE_OF_HELP.sub(_meant, text) if b"\\" in text else text)


def _meant(found: re.Match[bytes]) -> bytes:
    return b"\n" if found[1] == b"n" else found[1]
