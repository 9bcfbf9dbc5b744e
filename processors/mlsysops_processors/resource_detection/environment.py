"""The detector `env`: what the environment of the process says about it.

``OTEL_RESOURCE_ATTRIBUTES``, or ``OTEL_RESOURCE`` as older files write it: ``key=value`` pairs with
commas between, values in percent-encoding where a plus is a space. All values are text.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from mlsysops_processors.resource_detection.detection import DetectionError

if TYPE_CHECKING:
    from mlsysops_processors.resource_detection.detection import Found

_NAMES: Final = ("OTEL_RESOURCE_ATTRIBUTES", "OTEL_RESOURCE")
_SIDE_CHARS_MAX: Final = 256
_BAD_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")


class EnvironmentDetector:
    """Implements `Detector`."""

    has_schema = False

    async def detect(self) -> Found:
        """The pairs. Raises `DetectionError`, fatal: nobody else mends what is written there."""
        for name in _NAMES:
            text = os.environ.get(name, "").strip()
            if text:
                return read_pairs(text)
        return {}

    def known(self) -> Found:
        """Nothing besides."""
        return {}


def read_pairs(text: str) -> Found:
    """The attributes in a text that is not empty. Raises `DetectionError`."""
    found: Found = {}
    pieces = text.split(",")
    if not pieces[-1].strip():
        pieces.pop()  # one comma may end the list
    for piece in pieces:
        key, equals, value = (part.strip() for part in piece.partition("="))
        if not equals or not key or not piece.isascii():
            raise DetectionError(f"invalid resource format: {piece!r} in {text!r}", is_fatal=True)
        if max(len(key), len(value)) > _SIDE_CHARS_MAX:
            message = f"invalid resource format: a side has more than {_SIDE_CHARS_MAX} characters"
            raise DetectionError(f"{message}: {piece[:60]!r}", is_fatal=True)
        if _BAD_ESCAPE.search(value):
            message = f"invalid resource format in attribute: {piece!r}: invalid URL escape"
            raise DetectionError(message, is_fatal=True)
        found[key] = unquote_to_bytes(value.replace("+", " ")).decode("utf-8", "replace")
    if not found:
        raise DetectionError(f"invalid resource format: {text!r}", is_fatal=True)
    return found
