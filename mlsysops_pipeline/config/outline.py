"""From nodes to an outline: every component and pipeline that is written, right or wrong.

The checks work on the outline, so that one mistake hides no other. What could not be read is
noted and left out, or is there with ``config=None``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.config.convert import Reference
from mlsysops_pipeline.config.finder import find_factory
from mlsysops_pipeline.config.nodes import Node
from mlsysops_pipeline.config.problems import Severity
from mlsysops_pipeline.config.telemetry import TelemetryConfig
from mlsysops_pipeline.config.wording import did_you_mean, shown
from mlsysops_pipeline.ids import ComponentID, PipelineID

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsysops_pipeline.config.decode import Decoder
    from mlsysops_pipeline.config.problems import Path, Problem
    from mlsysops_pipeline.registry import Registry

ID = TypeVar("ID", ComponentID, PipelineID)

_TOP = tuple(kind.section for kind in Kind)
_SERVICE = ("extensions", "pipelines", "telemetry")
MEMBERS = {
    "receivers": Kind.RECEIVER,
    "processors": Kind.PROCESSOR,
    "exporters": Kind.EXPORTER,
}
"""The lists of a pipeline."""


@dataclass(slots=True)
class Defined:
    """A component that a section defines. ``config`` is ``None`` where it could not be read.

    ``no_endpoint``: of an exporter with ``endpoint:`` and nothing behind it, what is wrong then.
    """

    kind: Kind
    id: ComponentID
    node: Node
    path: Path
    factory: Factory | None
    config: Any = None
    references: list[Reference] = field(default_factory=list)
    no_endpoint: list[Problem] = field(default_factory=list)


@dataclass(slots=True)
class PipelineOutline:
    """A pipeline as written: the members by the name of their list."""

    id: PipelineID
    node: Node
    path: Path
    members: dict[str, list[Reference]]

    def ids(self, name: str) -> tuple[ComponentID, ...]:
        """The members of one list, each once."""
        return tuple(dict.fromkeys(member.id for member in self.members[name]))


@dataclass(slots=True)
class Outline:
    """Everything that is written."""

    root: Node
    components: dict[Kind, dict[ComponentID, Defined]]
    extensions: list[Reference]
    pipelines: dict[PipelineID, PipelineOutline]
    telemetry: TelemetryConfig | None
    has_pipelines_key: bool = True
    _users: dict[tuple[str, ComponentID], list[PipelineOutline]] = field(default_factory=dict)

    def add(self, pipeline: PipelineOutline) -> None:
        """Take a pipeline into the outline."""
        self.pipelines[pipeline.id] = pipeline
        for name in MEMBERS:
            for id_ in pipeline.ids(name):
                self._users.setdefault((name, id_), []).append(pipeline)

    def using(self, name: str, id_: ComponentID) -> list[PipelineOutline]:
        """The pipelines that have a component in the list of this name."""
        return self._users.get((name, id_), [])

    def kind_of_member(self, name: str, id_: ComponentID) -> Defined | None:
        """The component that a pipeline's list means: its own kind, or a connector."""
        found = self.components[MEMBERS[name]].get(id_)
        if found is None and name != "processors":
            found = self.components[Kind.CONNECTOR].get(id_)
        return found

    def used(self) -> list[Defined]:
        """The components that will run, each once: members of pipelines, listed extensions."""
        found: dict[tuple[Kind, ComponentID], Defined] = {}
        for pipeline in self.pipelines.values():
            for name in MEMBERS:
                for member in pipeline.members[name]:
                    component = self.kind_of_member(name, member.id)
                    if component is not None:
                        found[component.kind, component.id] = component
        for reference in self.extensions:
            extension = self.components[Kind.EXTENSION].get(reference.id)
            if extension is not None:
                found[extension.kind, extension.id] = extension
        return list(found.values())


def read_outline(root: Node, registry: Registry, decoder: Decoder) -> Outline:
    """Read everything that stands in the tree; problems go to the decoder."""
    outline = Outline(root, {kind: {} for kind in Kind}, [], {}, None)
    for key, node in _children(root, (), decoder, "sections").items():
        if key not in _TOP and key != "service":
            words = (*_TOP, "service")
            hint = "indent it: it is part of service" if key in _SERVICE else ""
            hint = hint or did_you_mean(key, words)
            decoder.error(node.at, (key,), "unknown key", hint)
    for kind in Kind:
        _read_section(kind, root.child(kind.section), registry, decoder, outline)
    _read_service(root.child("service"), decoder, outline)
    return outline


def _children(node: Node | None, path: Path, decoder: Decoder, what: str) -> dict[str, Node]:
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        decoder.error(node.position, path, f"expected a map of {what}, got {shown(node)}")
        return {}
    return node.value


def _parsed_ids(
    children: dict[str, Node], parse: Callable[[str], ID], path: Path, decoder: Decoder
) -> dict[ID, tuple[str, Node]]:
    """The keys of a map as ids; bad and repeated ones are noted and left out."""
    result: dict[ID, tuple[str, Node]] = {}
    for key, node in children.items():
        try:
            id_ = parse(key)
        except ValueError as failure:
            decoder.error(node.at, (*path, key), str(failure))
            continue
        if id_ in result:
            message = f'duplicate name "{id_}": it stands in line {result[id_][1].at.line} already'
            decoder.error(node.at, (*path, key), message)
            continue
        result[id_] = (key, node)
    return result


def _read_section(
    kind: Kind, section: Node | None, registry: Registry, decoder: Decoder, outline: Outline
) -> None:
    path: Path = (kind.section,)
    children = _children(section, path, decoder, kind.section)
    for id_, (key, node) in _parsed_ids(children, ComponentID.parse, path, decoder).items():
        where = (*path, key)
        factory = find_factory(registry, kind, id_.type)
        if not isinstance(factory, Factory):
            outline.components[kind][id_] = Defined(kind, id_, node, where, None)
            decoder.error(node.at, where, *factory)
            continue
        defined = Defined(kind, id_, node, where, factory)
        outline.components[kind][id_] = defined
        known = len(decoder.references)
        if node.empty:
            decoder.warning(node.at, where, "is empty and so has its defaults")
        problems = len(decoder.problems)
        defined.config = decoder.model(factory.config, node, where)
        defined.references = decoder.references[known:]
        if kind is Kind.EXPORTER and _is_null(node.child("endpoint")):
            _set_endpoint_aside(defined, decoder, problems)


def _is_null(node: Node | None) -> bool:
    return node is not None and node.value is None


def _set_endpoint_aside(defined: Defined, decoder: Decoder, known: int) -> None:
    """Keep what is wrong with a missing endpoint for those who know whether it matters."""
    found = decoder.problems[known:]
    endpoint = (*defined.path, "endpoint")
    defined.no_endpoint = [p for p in found if p.severity is Severity.ERROR and p.path == endpoint]
    decoder.problems[known:] = [p for p in found if p not in defined.no_endpoint]


def _read_service(node: Node | None, decoder: Decoder, outline: Outline) -> None:
    children = _children(node, ("service",), decoder, "settings")
    for key, child in children.items():
        if key not in _SERVICE:
            hint = did_you_mean(key, _SERVICE)
            decoder.error(child.at, ("service", key), "unknown key", hint)
    path: Path = ("service", "extensions")
    outline.extensions = _references(children.get("extensions"), path, decoder)
    telemetry = children.get("telemetry", Node(None))
    outline.telemetry = decoder.model(TelemetryConfig, telemetry, ("service", "telemetry"))
    path = ("service", "pipelines")
    pipelines = _children(children.get("pipelines"), path, decoder, "pipelines")
    outline.has_pipelines_key = bool(pipelines)
    for id_, (key, child) in _parsed_ids(pipelines, PipelineID.parse, path, decoder).items():
        where = (*path, key)
        content = _children(child, where, decoder, "receivers, processors and exporters")
        for name, inner in content.items():
            if name not in MEMBERS:
                decoder.error(inner.at, (*where, name), "unknown key", did_you_mean(name, MEMBERS))
        members = {
            name: _references(content.get(name), (*where, name), decoder) for name in MEMBERS
        }
        outline.add(PipelineOutline(id_, child, where, members))


def _references(node: Node | None, path: Path, decoder: Decoder) -> list[Reference]:
    """A list of ids, each with its place."""
    if node is None or node.value is None:
        return []
    items: list[tuple[Path, Node]]
    if isinstance(node.value, str):
        items = [(path, Node(t, node.position, t)) for t in node.value.split(",") if t]
    elif isinstance(node.value, list):
        items = [((*path, index), item) for index, item in enumerate(node.value)]
    else:
        decoder.error(node.position, path, f"expected a list of ids, got {shown(node)}")
        return []
    result = []
    for where, item in items:
        id_ = decoder.value(ComponentID, item, where)
        if isinstance(id_, ComponentID):
            result.append(Reference(id_, item.position, where))
    return result
