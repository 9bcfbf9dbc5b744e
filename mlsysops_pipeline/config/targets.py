"""The pipelines and exporters that components choose among: whether each can be reached."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.problems import Problem, error
from mlsysops_pipeline.config.schema import ComponentConfig
from mlsysops_pipeline.config.wording import did_you_mean
from mlsysops_pipeline.ids import ComponentID, PipelineID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlsysops_pipeline.config.outline import Defined, Outline

Tell: TypeAlias = "Callable[..., Problem]"
"""Makes a problem, at the place of the target's name, from a message and a hint."""


def check(outline: Outline, runs: Outline) -> Iterator[Problem]:
    """Targets that are not configured, not joined to the component that names them, or left out.

    ``runs``: what can run of the outline.
    """
    for component in runs.used():
        if not isinstance(component.config, ComponentConfig):
            continue
        for path, target in component.config.sends_to():
            found, _ = component.node.find(path)
            tell = partial(error, found.position, (*component.path, *path))
            if isinstance(target, PipelineID):
                yield from _pipeline(outline, runs, component, target, tell)
            else:
                yield from _exporter(outline, runs, component, target, tell)


def _pipeline(
    outline: Outline, runs: Outline, connector: Defined, target: PipelineID, tell: Tell
) -> Iterator[Problem]:
    pipeline = outline.pipelines.get(target)
    if pipeline is None:
        message = f'references pipeline "{target}" which is not configured'
        yield tell(message, did_you_mean(str(target), map(str, outline.pipelines)))
    elif connector.id not in pipeline.ids("receivers"):
        message = f'pipeline "{target}" does not have this connector as a receiver'
        yield tell(message, f"add {connector.id} to its receivers")
    elif target not in runs.pipelines:
        yield tell(f'pipeline "{target}" is left out, so nothing can be sent to it')


def _exporter(
    outline: Outline, runs: Outline, processor: Defined, target: ComponentID, tell: Tell
) -> Iterator[Problem]:
    if outline.kind_of_member("exporters", target) is None:
        message = f'references exporter "{target}" which is not configured'
        known = map(str, outline.components[Kind.EXPORTER])
        yield tell(message, did_you_mean(str(target), known))
        return
    for pipeline in outline.using("processors", processor.id):
        if target not in pipeline.ids("exporters"):
            message = (
                f'exporter "{target}" is not in pipeline "{pipeline.id}", where this processor is'
            )
            yield tell(message, f"add {target} to its exporters")
            continue
        running = runs.pipelines.get(pipeline.id)
        if running is not None and target not in running.ids("exporters"):
            yield tell(f'exporter "{target}" is left out, so nothing can be sent to it')
