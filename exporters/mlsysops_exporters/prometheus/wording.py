"""Numbers and labels as pages have them (conformance TX-1, TX-2, OM-3). Pure."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from mlsysops_pipeline.prometheus.escaping import Escaping, escape, is_legacy_label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.prometheus.points import Labels

_PAIR = re.compile(r'(?:"((?:[^"\\]|\\.)*)"|([^"=,]+))="((?:[^"\\]|\\.)*)",?', re.DOTALL)
_BOUNDS_MAX = 1_000
_NAMES_MAX = 1_000
_EXPONENT_MIN, _EXPONENT_MAX = -4, 6
"""Between these Go writes a float without an exponent."""


def escaped(text: str) -> str:
    """What stands between quotes for ``text``."""
    text = readable(text)
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def readable(text: str) -> str:
    """The text without the one character that Prometheus takes for the end of a page."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def label_text(pairs: Iterable[tuple[str, str]]) -> str:
    """Labels as they stand between braces. Names beyond the old alphabet are quoted (TX-2)."""
    return ",".join([f'{_label_name(name)}="{escaped(value)}"' for name, value in pairs])


def without_le(labels: Labels) -> Labels:
    """Labels of a series that is shown with buckets although it came without: `le` is theirs."""
    if all(name != "le" for name, _ in labels):
        return labels
    taken = {name for name, _ in labels}
    own = "exported_le"
    while own in taken:
        own = f"exported_{own}"
    return tuple(sorted((own if name == "le" else name, value) for name, value in labels))


@lru_cache(_NAMES_MAX)
def _label_name(name: str) -> str:
    return name if is_legacy_label(name) else quoted(name)


def quoted(name: str) -> str:
    """A name that the old alphabet does not have."""
    return f'"{escaped(name)}"'


def label_names(text: str) -> list[tuple[str, str]]:
    """Names and values of a `label_text`; values are still escaped."""
    return [
        (_unescaped(match[1]) if match[2] is None else match[2], match[3])
        for match in _PAIR.finditer(text)
    ]


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text)


def rewritten(text: str, scheme: Escaping) -> str:
    """A `label_text` for a reader that wants its names in ``scheme`` (ES-1).

    What collides then is joined, in the order of the names that it had (PO-12). No label gets the
    name that stands for the metric's.
    """
    if scheme is Escaping.ALLOW_UTF_8 or not text:
        return text
    found: dict[str, str] = {}
    for name, value in label_names(text):
        key = escape(name, scheme)
        if key == "__name__":
            key = f"exported_{key}"
        found[key] = f"{found[key]};{value}" if key in found else value
    return ",".join([f'{name}="{value}"' for name, value in sorted(found.items())])


def special(value: float) -> str:
    """A number that is none."""
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"


def float_word(value: float, *, is_canonical: bool) -> str:
    """A bound or quantile, as Go writes it; ``is_canonical``: as OpenMetrics wants it (OM-3)."""
    if not math.isfinite(value):
        return special(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    if not isinstance(exponent, int) or not any(digits):
        return "0.0" if is_canonical else "0"
    power = len(digits) - 1 + exponent
    if _EXPONENT_MIN <= power < _EXPONENT_MAX:
        word = format(Decimal((sign, digits, exponent)), "f")
        return f"{word}.0" if is_canonical and "." not in word else word
    head = "".join(map(str, digits))
    head = f"{head[0]}.{head[1:]}" if len(head) > 1 else head
    return f"{'-' if sign else ''}{head}e{'-' if power < 0 else '+'}{abs(power):02d}"


@lru_cache(_BOUNDS_MAX)
def bound_words(bounds: tuple[float, ...], *, is_canonical: bool) -> tuple[str, ...]:
    """The words for bounds, and for the infinite one that always follows."""
    return (*(float_word(bound, is_canonical=is_canonical) for bound in bounds), "+Inf")
