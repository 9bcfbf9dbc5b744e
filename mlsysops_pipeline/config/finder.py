"""Component types: the factory of one, or why there is none and what to use instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.config.wording import did_you_mean
from mlsysops_pipeline.registry import Registry, RegistryError

if TYPE_CHECKING:
    from collections.abc import Mapping

_REMOVED: Mapping[tuple[Kind, str], str] = {
    (Kind.EXPORTER, "logging"): (
        "the logging exporter has been deprecated, use the debug exporter instead"
    ),
    (Kind.EXPORTER, "jaeger"): "the jaeger exporter was removed; use otlp_grpc, Jaeger takes OTLP",
    (Kind.EXPORTER, "opencensus"): "the opencensus exporter was removed; use otlp_grpc",
    (Kind.PROCESSOR, "routing"): "the routing processor was removed; use the routing connector",
}
"""What users still paste (components, section 0)."""


def find_factory(registry: Registry, kind: Kind, type_name: str) -> Factory | tuple[str, str]:
    """The factory of a type, or what is wrong with it and a suggestion."""
    try:
        factory = registry.lookup(kind, type_name)
    except RegistryError as failure:
        return str(failure), ""
    if factory is not None:
        return factory
    removed = _REMOVED.get((kind, type_name))
    if removed is not None:
        return removed, ""
    message = f'unknown type "{type_name}": there is no such {kind.value} here'
    others = [other for other in Kind if type_name in registry.types(other)]
    if others:
        return message, f"it is {_article(others[0].value)}"
    return message, did_you_mean(type_name, registry.types(kind))


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
