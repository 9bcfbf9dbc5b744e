"""What is wrong between the parts of a configuration: undefined, unused, out of order.

Everything here looks at the outline and adds problems to a list; nothing does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config import advice, connections, leaving_out, network, targets
from mlsysops_pipeline.config.outline import MEMBERS
from mlsysops_pipeline.config.problems import Problem, Severity, error, warning
from mlsysops_pipeline.config.schema import ComponentConfig
from mlsysops_pipeline.config.wording import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlsysops_pipeline.config.convert import Reference
    from mlsysops_pipeline.config.outline import Outline, PipelineOutline
    from mlsysops_pipeline.ids import ComponentID

UNUSED = "unused"
"""The code of problems about what is defined and not used."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found. ``outline``: what can run. ``loops``: exporters to ourselves."""

    problems: list[Problem]
    outline: Outline
    loops: frozenset[ComponentID]


def check(outline: Outline, environment: Mapping[str, str]) -> Checked:
    """Every problem, what can run in spite of them, and whose data would come back for ever."""
    runs, left_out = leaving_out.effective(outline)
    problems = [
        *left_out,
        *_sections(outline),
        *_pipelines(outline),
        *_order_of_processors(runs),
        *connections.check(outline),
        *targets.check(outline, runs),
        *_extensions(runs),
        *_old_spellings(runs),
        *_unused(outline),
        *_switched_off(outline),
        *network.clashes(runs),
        *advice.check(runs, environment),
    ]
    loops, found = network.loops(runs)
    return Checked([*problems, *found], runs, loops)


def _sections(outline: Outline) -> Iterator[Problem]:
    root = outline.root
    for kind in (Kind.RECEIVER, Kind.EXPORTER):
        section = root.child(kind.section)
        if section is None or not section.value:
            at = root.position if section is None else section.at
            message = f"no {kind.value} configuration specified in config"
            yield error(at, () if section is None else (kind.section,), message)
    if not outline.has_pipelines_key:
        node, steps = root.find(("service", "pipelines"))
        path = ("service", "pipelines")[:steps]
        if node.at.order < root.position.order:
            node, path = root, ()  # `service` stands in our defaults, which nobody can look at
        yield error(node.at, path, "service must have at least one pipeline")


def _pipelines(outline: Outline) -> Iterator[Problem]:
    for pipeline in outline.pipelines.values():
        for name, kind in MEMBERS.items():
            if name != "processors" and not pipeline.members[name]:
                node, steps = pipeline.node.find((name,))
                path = (*pipeline.path, name)[: len(pipeline.path) + steps]
                yield error(node.at, path, f"must have at least one {kind.value}")
            yield from _members(outline, pipeline, name)


def _members(outline: Outline, pipeline: PipelineOutline, name: str) -> Iterator[Problem]:
    kind = MEMBERS[name]
    seen: set[ComponentID] = set()
    for member in pipeline.members[name]:
        if member.id in seen:
            message = f'references {kind.value} "{member.id}" multiple times'
            severe = Severity.ERROR if name == "processors" else Severity.WARNING
            yield Problem(severe, member.position, member.path, message)
            continue
        seen.add(member.id)
        component = outline.kind_of_member(name, member.id)
        if component is None:
            if name == "exporters":
                continue  # `leaving_out` speaks about it
            message = f'references {kind.value} "{member.id}" which is not configured'
            hint = leaving_out.undefined_hint(outline, name, member.id)
            yield error(member.position, member.path, message, hint)
        elif leaving_out.is_lenient(component):
            continue
        elif component.factory is not None and component.kind is kind:
            signals = component.factory.signals
            if signals and pipeline.id.signal not in signals:
                known = ", ".join(sorted(map(str, signals)))
                message = f'{kind.value} "{member.id}" does not support {pipeline.id.signal}'
                yield error(member.position, member.path, message, f"only {known}")


def _order_of_processors(outline: Outline) -> Iterator[Problem]:
    for pipeline in outline.pipelines.values():
        yield from _order(outline, pipeline)


def _order(outline: Outline, pipeline: PipelineOutline) -> Iterator[Problem]:
    """Processors that stand where they cannot do what they are for."""
    stored = [
        str(member.id)
        for member in pipeline.members["exporters"]
        if _delivers_from_storage(outline, member)
    ]
    for index, member in enumerate(pipeline.members["processors"]):
        component = outline.components[Kind.PROCESSOR].get(member.id)
        if component is None or component.factory is None:
            continue
        model = component.factory.config
        if index and getattr(model, "belongs_first", False):
            message = f'"{member.id}" should be the first processor'
            first = pipeline.members["processors"][0].id
            hint = f'what "{first}" does in front of it is not protected'
            yield warning(member.position, member.path, message, hint)
        if stored and getattr(model, "acknowledges_from_memory", False):
            message = (
                f'"{member.id}" acknowledges data from memory, so the stored queue of '
                f"{', '.join(stored)} does not protect what it holds"
            )
            hint = "use sending_queue.batch of the exporter instead"
            yield warning(member.position, member.path, message, hint)


def _delivers_from_storage(outline: Outline, member: Reference) -> bool:
    component = outline.components[Kind.EXPORTER].get(member.id)
    config = component.config if component is not None else None
    return isinstance(config, ComponentConfig) and config.delivers_from_storage()


def _extensions(outline: Outline) -> Iterator[Problem]:
    defined = outline.components[Kind.EXTENSION]
    listed: set[ComponentID] = set()
    for reference in outline.extensions:
        if reference.id in listed:
            message = f'references extension "{reference.id}" multiple times'
            yield warning(reference.position, reference.path, message)
        elif reference.id not in defined:
            message = f'references extension "{reference.id}" which is not configured'
            hint = did_you_mean(str(reference.id), map(str, defined))
            yield error(reference.position, reference.path, message, hint)
        listed.add(reference.id)
    for component in outline.used():
        for reference in component.references:
            if reference.id not in defined:
                message = f'references extension "{reference.id}" which is not configured'
                hint = did_you_mean(str(reference.id), map(str, defined))
                yield error(reference.position, reference.path, message, hint)
            elif reference.id not in listed:
                message = f'references extension "{reference.id}" which does not run'
                hint = f"add {reference.id} to service.extensions"
                yield error(reference.position, reference.path, message, hint)


def _old_spellings(outline: Outline) -> Iterator[Problem]:
    for component in outline.used():
        factory = component.factory
        if factory is not None and factory.type != component.id.type:
            message = f'"{component.id.type}" alias is deprecated'
            yield warning(
                component.node.at, component.path, message, f'use "{factory.type}" instead'
            )


def _unused(outline: Outline) -> Iterator[Problem]:
    if not outline.has_pipelines_key:
        return  # an error says so, and a line for each component would hide it
    used = {(component.kind, component.id) for component in outline.used()}
    for kind, components in outline.components.items():
        where = "listed in service.extensions" if kind is Kind.EXTENSION else "in any pipeline"
        for id_, component in components.items():
            if (kind, id_) in used or component.factory is None or component.no_endpoint:
                continue
            message = f"is defined but not used: it is not {where}"
            at = component.node.at
            yield Problem(Severity.WARNING, at, component.path, message, code=UNUSED)


def _switched_off(outline: Outline) -> Iterator[Problem]:
    """A metrics page that one source asks for and an earlier one switched off."""
    telemetry = outline.telemetry
    node, steps = outline.root.find(("service", "telemetry", "metrics", "readers"))
    if telemetry is None or telemetry.metrics.level != "none" or steps < 4 or not node.value:
        return
    level, _ = outline.root.find(("service", "telemetry", "metrics", "level"))
    if node.position.order > level.position.order:
        path = ("service", "telemetry", "metrics", "readers")
        message = f"has no effect: level is none ({level.position})"
        yield warning(node.position, path, message, "set level as well")
