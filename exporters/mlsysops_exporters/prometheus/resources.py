"""Which resource attributes become labels of every series. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlsysops_exporters.prometheus.config import SERVICE_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_exporters.prometheus.config import Config


def resource_labels(config: Config) -> Callable[[str], bool] | None:
    """Which resource attributes become labels; ``None`` for none."""
    conversion, labels = config.resource_to_telemetry_conversion, config.resource_constant_labels
    if conversion.enabled:
        excluded = SERVICE_ATTRIBUTES if conversion.exclude_service_attributes else frozenset()
        return lambda key: key not in excluded
    if labels is None:
        return None
    is_included, is_excluded = matcher(labels.included), matcher(labels.excluded)
    return lambda key: is_included(key) and not is_excluded(key)


def matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a key matches one of the patterns, in which ``*`` is any text, ``?`` a character."""
    compiled = [
        re.compile(
            "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern),
            re.DOTALL,
        )
        for pattern in patterns
    ]
    return lambda key: any(pattern.fullmatch(key) for pattern in compiled)
