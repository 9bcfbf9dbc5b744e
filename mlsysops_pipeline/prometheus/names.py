"""Prometheus names of OTLP metrics, attributes and units (conformance PO-1 to PO-4).

Names come out as those of the Go collector (prometheus/otlptranslator) but for two units, where the
written specification has other words: ``kBy`` is kilobytes and ``TiBy`` tebibytes.
"""

from __future__ import annotations

import enum
import re

_UNITS = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tebibytes",
    "kBy": "kilobytes",
    "KBy": "kilobytes",  # not in UCUM, but in the table of the Go collector
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "1": "",
    "%": "percent",
}
_PER = {
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "mo": "month",
    "y": "year",
}
_UCUM = {
    **{word: unit for unit, word in reversed(_UNITS.items()) if word and unit != "KBy"},
    "ratio": "1",
}
_PER_UCUM = {word: unit for unit, word in _PER.items()}
_TOKEN = re.compile(r"[a-zA-Z0-9:]+")
_WORD = re.compile(r"[a-zA-Z0-9:_]+")
_NO_WORD = re.compile(r"[^a-zA-Z0-9:]+")
_NO_LABEL = re.compile(r"[^a-zA-Z0-9]+")
_DIGITS = frozenset("0123456789")


class Strategy(enum.StrEnum):
    """How OTLP names become Prometheus names (PO-17); the values are what users write."""

    UNDERSCORES_WITH_SUFFIXES = "UnderscoreEscapingWithSuffixes"
    UNDERSCORES_WITHOUT_SUFFIXES = "UnderscoreEscapingWithoutSuffixes"
    UTF8_WITH_SUFFIXES = "NoUTF8EscapingWithSuffixes"
    NO_TRANSLATION = "NoTranslation"

    @property
    def escapes(self) -> bool:
        """Whether names are made of ``[a-zA-Z0-9_:]`` only."""
        return self in {
            Strategy.UNDERSCORES_WITH_SUFFIXES,
            Strategy.UNDERSCORES_WITHOUT_SUFFIXES,
        }

    @property
    def has_suffixes(self) -> bool:
        """Whether the unit and ``_total`` are added to names."""
        return self in {Strategy.UNDERSCORES_WITH_SUFFIXES, Strategy.UTF8_WITH_SUFFIXES}


class Kind(enum.Enum):
    """What an OTLP metric is."""

    __hash__ = object.__hash__  # members are keys where it counts, and the default is slow

    GAUGE = "gauge"
    COUNTER = "counter"
    """A monotonic sum of any temporality."""
    UP_DOWN_COUNTER = "up_down_counter"
    HISTOGRAM = "histogram"
    EXPONENTIAL_HISTOGRAM = "exponential_histogram"
    SUMMARY = "summary"


def is_nameable(name: str, strategy: Strategy) -> bool:
    """Whether anything of a metric's own name would be left, beside what is added to it."""
    return _TOKEN.search(name) is not None if strategy.escapes else bool(name)


def metric_name(
    name: str,
    unit: str,
    kind: Kind,
    *,
    strategy: Strategy = Strategy.UNDERSCORES_WITH_SUFFIXES,
    namespace: str = "",
) -> str:
    """The Prometheus name of a metric; empty if none can be made of it.

    With suffixes, a name ends in its unit and then, for counters, in ``_total`` (PO-2, PO-3), or
    for gauges of unit ``1`` in ``_ratio`` (PO-4). ``namespace`` and an underscore come first.
    """
    if not strategy.escapes:
        return _untouched_name(name, unit, kind, strategy, namespace)
    if strategy.has_suffixes:
        found = _suffixed_name(name, unit, kind, namespace)
    else:
        found = "_".join(_WORD.findall(name))
        if namespace:
            found = "_".join([*_WORD.findall(namespace), found])
        if found[:1] in _DIGITS:
            found = f"_{found}"
    # A name of nothing but underscores says nothing, unless its owner called it so.
    return found if found == name or found.strip("_") else ""


def _suffixed_name(name: str, unit: str, kind: Kind, namespace: str) -> str:
    tokens = _TOKEN.findall(name)
    parts = [_clean_unit(part).removesuffix("_") for part in _split_unit(unit)]
    tokens += [part for part in parts if part not in {"", "per", *tokens}]
    for is_wanted, suffix in (
        (kind is Kind.COUNTER, "total"),
        (kind is Kind.GAUGE and unit == "1", "ratio"),
    ):
        if is_wanted:
            tokens = [*(token for token in tokens if token != suffix), suffix]
    tokens = [*_WORD.findall(namespace), *tokens]
    found = "_".join(tokens)
    return f"_{found}" if found[:1] in _DIGITS else found


def _untouched_name(name: str, unit: str, kind: Kind, strategy: Strategy, namespace: str) -> str:
    if namespace:
        name = f"{namespace}_{name}"
    if not strategy.has_suffixes:
        return name
    endings = []
    if kind is Kind.GAUGE and unit == "1":
        endings.append("ratio")
    if kind is Kind.COUNTER:
        endings.append("total")
    main, per = _split_unit(unit)
    if per:
        endings.append(per)
    for ending in endings:
        name = _without_ending(name, ending)
    if main and not name.endswith(main):
        name = f"{name}_{main}"
    for ending in reversed(endings):
        name = f"{name}_{ending}"
    return name


def _without_ending(name: str, ending: str) -> str:
    """The name without the ending and the one character, whatever it is, that sets it off."""
    if name.endswith(ending) and len(name) > len(ending) + 1:
        return name[: -len(ending) - 1]
    return name


def unit_name(unit: str, *, strategy: Strategy = Strategy.UNDERSCORES_WITH_SUFFIXES) -> str:
    """The unit as UNIT metadata: ``By/s`` is ``bytes_per_second``. Empty where there is none."""
    main, per = _split_unit(unit)
    if strategy.escapes:
        main, per = _clean_unit(main), _clean_unit(per)
    found = "_".join(part for part in (main, per) if part not in {"", "per_"})
    return found.removeprefix("_").removesuffix("_")


def ucum_unit(word: str) -> str:
    """The unit for what UNIT metadata says (PI-1): ``bytes_per_second`` is ``By/s``.

    Words that are not in the table stay.
    """
    main, _, per = word.partition("_per_")
    found = _UCUM.get(main, main)
    return f"{found}/{_PER_UCUM.get(per, per)}" if per else found


def _split_unit(unit: str) -> tuple[str, str]:
    """The words for what stands before and after the slash; annotations in braces are none."""
    main, _, per = unit.partition("/")
    main, per = main.strip(), per.strip()
    main = "" if "{" in main or "}" in main else _UNITS.get(main, main)
    per = "" if "{" in per or "}" in per else _PER.get(per, per)
    return main, f"per_{per}" if per else ""


def _clean_unit(unit: str) -> str:
    return _NO_WORD.sub("_", unit).removeprefix("_")


def label_name(key: str, *, strategy: Strategy = Strategy.UNDERSCORES_WITH_SUFFIXES) -> str:
    """The label for an attribute key (PO-12); empty if none can be made of it.

    Without escaping, keys stay as they are.
    """
    if not strategy.escapes:
        return key
    found = _NO_LABEL.sub("_", key)
    if found[:1] in _DIGITS:
        return f"key_{found}"
    # A name of nothing but underscores says nothing, unless its owner called it so.
    return found if found == key or found.strip("_") else ""
