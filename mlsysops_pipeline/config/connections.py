"""Connectors: what they join, and whether data would go round in a circle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.problems import Problem, error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlsysops_pipeline.config.outline import Defined, Outline, PipelineOutline
    from mlsysops_pipeline.config.problems import Position
    from mlsysops_pipeline.ids import ComponentID, PipelineID


def check(outline: Outline) -> Iterator[Problem]:
    """Ambiguous ids, connectors that are used on one side only or cannot convert, cycles."""
    for id_, connector in outline.components[Kind.CONNECTOR].items():
        yield from _ambiguous(outline, id_, connector)
        sources = outline.using("exporters", id_)
        targets = outline.using("receivers", id_)
        yield from _sides(id_, connector, sources, targets)
    yield from _cycles(outline)


def _ambiguous(outline: Outline, id_: ComponentID, connector: Defined) -> Iterator[Problem]:
    for kind in (Kind.EXPORTER, Kind.RECEIVER):
        if id_ in outline.components[kind]:
            message = f'ambiguous ID: Found both "{id_}" {kind.value} and "{id_}" connector'
            hint = f'rename "{id_}" connector to "{id_}/connector"'
            yield error(connector.node.at, connector.path, message, hint)


def _sides(
    id_: ComponentID,
    connector: Defined,
    sources: list[PipelineOutline],
    targets: list[PipelineOutline],
) -> Iterator[Problem]:
    if connector.factory is None or not (sources or targets):
        return
    pairs = connector.factory.pairs
    for source in sources:
        reachable = [t for t in targets if _can(pairs, source, t)]
        if targets and not reachable:
            target = targets[0]
            message = (
                f'connector "{id_}" cannot connect from {source.id.signal} to {target.id.signal}: '
                "telemetry type is not supported"
            )
            yield error(_place(source, "exporters", id_), source.path, message)
        elif not targets:
            message = _one_sided(id_, "exporter", source, "receiver")
            yield error(_place(source, "exporters", id_), source.path, message)
    for target in targets:
        if not any(_can(pairs, s, target) for s in sources):
            message = _one_sided(id_, "receiver", target, "exporter")
            yield error(_place(target, "receivers", id_), target.path, message)


def _can(pairs: frozenset[object], source: PipelineOutline, target: PipelineOutline) -> bool:
    return (source.id.signal, target.id.signal) in pairs


def _one_sided(id_: ComponentID, side: str, pipeline: PipelineOutline, missing: str) -> str:
    return (
        f'connector "{id_}" used as {side} in [{pipeline.id}] pipeline but not used in any '
        f"supported {missing} pipeline"
    )


def _place(pipeline: PipelineOutline, name: str, id_: ComponentID) -> Position:
    return next(m.position for m in pipeline.members[name] if m.id == id_)


def _cycles(outline: Outline) -> Iterator[Problem]:
    """One problem for every cycle that a walk meets first."""
    done: set[PipelineID] = set()
    reported: set[frozenset[PipelineID]] = set()
    for start in outline.pipelines:
        if start in done:
            continue
        trail: list[tuple[PipelineID, ComponentID]] = []
        stack: list[tuple[PipelineID, Iterator[tuple[ComponentID, PipelineID]]]] = [
            (start, iter(following(outline, start)))
        ]
        on_way = {start}
        while stack:
            here, steps = stack[-1]
            step = next(steps, None)
            if step is None:
                stack.pop()
                on_way.discard(here)
                done.add(here)
                if trail:
                    trail.pop()
                continue
            connector, target = step
            if target in on_way:
                way = [*trail, (here, connector)]
                first = next(i for i, (p, _) in enumerate(way) if p == target)
                circle = way[first:]
                key = frozenset(p for p, _ in circle)
                if key not in reported:
                    reported.add(key)
                    yield _cycle(outline, circle)
            elif target not in done:
                trail.append((here, connector))
                on_way.add(target)
                stack.append((target, iter(following(outline, target))))


def following(outline: Outline, id_: PipelineID) -> Iterator[tuple[ComponentID, PipelineID]]:
    """The connectors at the end of a pipeline, and the pipelines behind each."""
    for member in outline.pipelines[id_].ids("exporters"):
        connector = outline.components[Kind.CONNECTOR].get(member)
        if connector is None or member in outline.components[Kind.EXPORTER]:
            continue
        pairs = connector.factory.pairs if connector.factory is not None else frozenset()
        for target in outline.using("receivers", member):
            if (id_.signal, target.id.signal) in pairs:
                yield member, target.id


def _cycle(outline: Outline, circle: list[tuple[PipelineID, ComponentID]]) -> Problem:
    texts: list[str] = []
    for index, (pipeline, connector) in enumerate(circle):
        before = circle[index - 1][1]
        if not texts:
            texts.append(f'connector "{before}"')
        processors = outline.pipelines[pipeline].ids("processors")
        texts += [f'processor "{id_}" in pipeline "{pipeline}"' for id_ in processors]
        texts.append(f'connector "{connector}"')
    pipeline, connector = circle[-1]
    outlined = outline.pipelines[pipeline]
    position = _place(outlined, "exporters", connector)
    return error(position, outlined.path, f"cycle detected: {' -> '.join(texts)}")
