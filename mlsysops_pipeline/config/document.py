"""A whole configuration: what `load_configuration` returns when nothing is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.config.nodes import Node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.config.telemetry import TelemetryConfig
    from mlsysops_pipeline.ids import ComponentID, PipelineID


@dataclass(frozen=True, slots=True)
class ComponentSection:
    """One component: its id, its checked model and the factory of its type."""

    id: ComponentID
    config: Any
    factory: Factory


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """The components of one pipeline. Only processors have an order that matters."""

    receivers: tuple[ComponentID, ...]
    processors: tuple[ComponentID, ...]
    exporters: tuple[ComponentID, ...]


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What runs: pipelines, extensions, and what the collector tells about itself."""

    pipelines: Mapping[PipelineID, PipelineConfig]
    extensions: tuple[ComponentID, ...]
    telemetry: TelemetryConfig


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration without errors. Every reference in it is defined and of the right kind.

    ``loops``: exporters whose data would come back to this process for ever. ``root``: everything
    that was written, merged and expanded, with its places.
    """

    receivers: Mapping[ComponentID, ComponentSection]
    processors: Mapping[ComponentID, ComponentSection]
    exporters: Mapping[ComponentID, ComponentSection]
    connectors: Mapping[ComponentID, ComponentSection]
    extensions: Mapping[ComponentID, ComponentSection]
    service: ServiceConfig
    loops: frozenset[ComponentID] = frozenset()
    root: Node = field(default_factory=lambda: Node({}), repr=False, compare=False)

    def sections(self, kind: Kind) -> Mapping[ComponentID, ComponentSection]:
        """The components of one kind, used or not."""
        return {
            Kind.RECEIVER: self.receivers,
            Kind.PROCESSOR: self.processors,
            Kind.EXPORTER: self.exporters,
            Kind.CONNECTOR: self.connectors,
            Kind.EXTENSION: self.extensions,
        }[kind]

    def folders(self) -> tuple[Path, ...]:
        """Where the files are in which processors are written, absolute, in order."""
        section = self.root.child("processors")
        nodes = section.value if section is not None and isinstance(section.value, dict) else {}
        written = [Path(node.at.source) for node in nodes.values()]
        found = [path.resolve().parent for path in written if path.is_file()]
        return tuple(dict.fromkeys(found))

    def __repr__(self) -> str:
        counts = " ".join(f"{kind.section}={len(self.sections(kind))}" for kind in Kind)
        return f"<Configuration pipelines={len(self.service.pipelines)} {counts}>"
