"""Which resource attributes become labels: the keys that both Prometheus exporters have for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlsysops_pipeline.config.schema import ComponentConfig, Finding
from mlsysops_pipeline.prometheus.labels import SERVICE_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class ResourceConversionConfig(ComponentConfig):
    """Whether resource attributes become labels: the older way to say it."""

    enabled: bool = False
    """Whether every resource attribute becomes a label of every series."""
    exclude_service_attributes: bool = False
    """Except service.name, service.namespace and service.instance.id, which are in job and
    instance."""


class ResourceLabelsConfig(ComponentConfig):
    """Which resource attributes become labels. In patterns ``*`` is any text, ``?`` a character."""

    included: tuple[str, ...] = ("*",)
    """Patterns of those that do."""
    excluded: tuple[str, ...] = ()
    """Patterns of those that do not, although they are included."""


def check_resource_labels(
    conversion: ResourceConversionConfig, labels: ResourceLabelsConfig | None
) -> Iterable[Finding]:
    """What is wrong with both keys together."""
    if labels is not None and conversion.enabled:
        yield Finding(
            ("resource_to_telemetry_conversion",),
            "says the same as resource_constant_labels; write one of them",
        )


def resource_labels(
    conversion: ResourceConversionConfig, labels: ResourceLabelsConfig | None
) -> Callable[[str], bool] | None:
    """Which resource attributes become labels; ``None`` for none."""
    if conversion.enabled:
        excluded = SERVICE_KEYS if conversion.exclude_service_attributes else frozenset()
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
