"""`load_configuration`: sources to a checked configuration, or everything that is wrong."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.checks import check
from mlsysops_pipeline.config.decode import Decoder
from mlsysops_pipeline.config.document import (
    ComponentSection,
    Configuration,
    PipelineConfig,
    ServiceConfig,
)
from mlsysops_pipeline.config.expand import UNSET, Expander
from mlsysops_pipeline.config.leaving_out import NO_ENDPOINT
from mlsysops_pipeline.config.outline import Outline, read_outline
from mlsysops_pipeline.config.problems import Problem, Severity, has_errors, in_file_order
from mlsysops_pipeline.config.sources import Merger
from mlsysops_pipeline.config.telemetry import TelemetryConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlsysops_pipeline.config.nodes import Node
    from mlsysops_pipeline.config.sources import ConfigurationSource
    from mlsysops_pipeline.ids import ComponentID
    from mlsysops_pipeline.registry import Registry


def load_configuration(
    sources: Iterable[ConfigurationSource],
    registry: Registry,
    environment: Mapping[str, str] | None = None,
) -> tuple[Configuration | None, list[Problem]]:
    """Read, merge, expand and check. The configuration is ``None`` iff a problem is an error.

    All problems are returned at once, in file order. Never raises for what the sources contain.
    ``environment`` is that of the process unless given. Imports the modules of the components that
    are named, and reads files; does no other I/O.
    """
    variables = os.environ if environment is None else environment
    merger = Merger(variables)
    merged = merger.merge(sources)
    if has_errors(merger.problems):
        return None, in_file_order(merger.problems)
    expander = Expander(variables)
    root = expander.expand(merged)
    decoder = Decoder()
    outline = read_outline(root, registry, decoder)
    checked = check(outline, variables)
    found = (*decoder.problems, *checked.problems)
    follows = [p for p in found if not expander.failed_at(p.path)]
    problems = [*merger.problems, *expander.problems, *follows]
    problems = in_file_order(_without_repetition(problems))
    if has_errors(problems):
        return None, problems
    return _configuration(checked.outline, root, checked.loops), problems


def _without_repetition(problems: list[Problem]) -> list[Problem]:
    """Without warnings about variables whose emptiness is spoken of already."""
    wrong = {p.position for p in problems if p.severity is Severity.ERROR or p.code == NO_ENDPOINT}
    return [p for p in problems if p.code != UNSET or p.position not in wrong]


def _configuration(outline: Outline, root: Node, loops: frozenset[ComponentID]) -> Configuration:
    sections = {
        kind: {
            id_: ComponentSection(id_, defined.config, defined.factory)
            for id_, defined in outline.components[kind].items()
            if defined.factory is not None
        }
        for kind in Kind
    }
    pipelines = {
        id_: PipelineConfig(p.ids("receivers"), p.ids("processors"), p.ids("exporters"))
        for id_, p in outline.pipelines.items()
    }
    extensions = tuple(dict.fromkeys(reference.id for reference in outline.extensions))
    telemetry = outline.telemetry or TelemetryConfig()
    return Configuration(
        sections[Kind.RECEIVER],
        sections[Kind.PROCESSOR],
        sections[Kind.EXPORTER],
        sections[Kind.CONNECTOR],
        sections[Kind.EXTENSION],
        ServiceConfig(pipelines, extensions, telemetry),
        loops,
        root,
    )
