"""The pipelines and exporters that components choose among: whether each can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.problems import Path, Position, Problem, error
from mlsysops_pipeline.config.schema import ComponentConfig
from mlsysops_pipeline.config.wording import did_you_mean
from mlsysops_pipeline.ids import ComponentID, PipelineID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlsysops_pipeline.config.outline import Defined, Outline


def check(outline: Outline) -> Iterator[Problem]:
    """Targets that are not configured, or are not joined to the component that names them."""
    for component in outline.used():
        if not isinstance(component.config, ComponentConfig):
            continue
        for path, target in component.config.sends_to():
            found, _ = component.node.find(path)
            where = (*component.path, *path)
            if isinstance(target, PipelineID):
                yield from _pipeline(outline, component, target, found.position, where)
            else:
                yield from _exporter(outline, component, target, found.position, where)


def _pipeline(
    outline: Outline, connector: Defined, target: PipelineID, position: Position, where: Path
) -> Iterator[Problem]:
    pipeline = outline.pipelines.get(target)
    if pipeline is None:
        message = f'references pipeline "{target}" which is not configured'
        yield error(
            position, where, message, did_you_mean(str(target), map(str, outline.pipelines))
        )
    elif connector.id not in pipeline.ids("receivers"):
        message = f'pipeline "{target}" does not have this connector as a receiver'
        yield error(position, where, message, f"add {connector.id} to its receivers")


def _exporter(
    outline: Outline, processor: Defined, target: ComponentID, position: Position, where: Path
) -> Iterator[Problem]:
    if outline.kind_of_member("exporters", target) is None:
        message = f'references exporter "{target}" which is not configured'
        known = map(str, outline.components[Kind.EXPORTER])
        yield error(position, where, message, did_you_mean(str(target), known))
        return
    for pipeline in outline.using("processors", processor.id):
        if target not in pipeline.ids("exporters"):
            message = (
                f'exporter "{target}" is not in pipeline "{pipeline.id}", where this processor is'
            )
            yield error(position, where, message, f"add {target} to its exporters")
