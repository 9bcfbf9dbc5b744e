"""A configuration as text: merged, defaults filled, secrets masked, the origin of every value.

The YAML is a configuration itself: read again (with ``redact=False``) it means the same. What is
off, empty or without effect unless somebody wrote it is left out.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config import emitting
from mlsysops_pipeline.config.convert import is_duration
from mlsysops_pipeline.config.decode import Field, fields_of
from mlsysops_pipeline.config.nodes import Node
from mlsysops_pipeline.config.schema import HeaderPairs
from mlsysops_pipeline.config.values import REDACTED, Opaque, format_duration, without_password
from mlsysops_pipeline.ids import ComponentID, PipelineID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlsysops_pipeline.config.document import Configuration

_DEFAULT = "default"
_NOWHERE = Node(None)


@dataclass(frozen=True, slots=True)
class Printer:
    """Turns models into `emitting.Line`s of text trees. ``redact``: whether secrets are masked."""

    redact: bool

    def model(self, model: BaseModel, node: Node | None) -> emitting.Tree:
        """The keys of a model; ``node`` is what was written for it."""
        children: dict[str, emitting.Tree] = {}
        for field in fields_of(type(model)):
            found = _written(field, node)
            value = getattr(model, field.name)
            if found is None and _is_silent(field, value):
                continue
            if value is None and field.is_section:
                children[field.key] = emitting.Tree(
                    {"enabled": _leaf(value=False, node=_step(found, "enabled"))}
                )
            else:
                tree = self._field(field, value, found)
                if found is not None or tree.value not in ({}, []):
                    children[field.key] = tree
        extra = model.__pydantic_extra__ or {}
        for key, value in extra.items():
            children[key] = self._plain(value, node.child(key) if node is not None else None)
        return emitting.Tree(children, _origin(node))

    def _field(self, field: Field, value: Any, node: Node | None) -> emitting.Tree:
        if any(isinstance(mark, HeaderPairs) for mark in field.metadata):
            return self._headers(value, node)
        duration = is_duration(field.annotation, field.metadata)
        return self._value(value, node, duration=duration, field=field)

    def _value(
        self, value: Any, node: Node | None, *, duration: bool, field: Field | None = None
    ) -> emitting.Tree:
        if isinstance(value, BaseModel):
            return self.model(value, node)
        if duration and isinstance(value, float):
            return _leaf(format_duration(value), node)
        inner = field is not None and any(
            is_duration(part, ()) for part in get_args(field.annotation)
        )
        if isinstance(value, dict):
            return emitting.Tree(
                {
                    str(k): self._value(v, _step(node, str(k)), duration=inner)
                    for k, v in value.items()
                },
                _origin(node),
            )
        if isinstance(value, set | frozenset):
            value = sorted(value, key=str)
        if isinstance(value, list | tuple):
            items = [self._value(v, _step(node, i), duration=inner) for i, v in enumerate(value)]
            return emitting.Tree(items, _origin(node))
        return _leaf(self._scalar(value), node)

    def _plain(self, value: Any, node: Node | None) -> emitting.Tree:
        return self._value(value, node, duration=False)

    def _scalar(self, value: Any) -> Any:
        if isinstance(value, Opaque):
            return self._secret(value)
        if isinstance(value, enum.Enum):
            return value.value
        if value is None or isinstance(value, int | float):
            return value
        return without_password(str(value)) if self.redact else str(value)

    def _secret(self, value: Opaque) -> str:
        return value.reveal() if not self.redact or not value else REDACTED

    def _headers(self, pairs: tuple[tuple[str, Opaque], ...], node: Node | None) -> emitting.Tree:
        written = node.value if node is not None else None
        if isinstance(written, list) or len({name for name, _ in pairs}) < len(pairs):
            items = []
            for index, (name, value) in enumerate(pairs):
                item = _step(node, index)
                children = {
                    "name": _leaf(name, _step(item, "name")),
                    "value": _leaf(self._secret(value), _step(item, "value")),
                }
                items.append(emitting.Tree(children, _origin(item)))
            return emitting.Tree(items, _origin(node))
        entries = {name: _leaf(self._secret(v), _step(node, name)) for name, v in pairs}
        return emitting.Tree(entries, _origin(node))


def render(
    configuration: Configuration,
    format: Literal["yaml", "json"] = "yaml",  # noqa: A002  the flag's name
    *,
    redact: bool = True,
) -> str:
    """The whole configuration as text, with a newline at the end.

    In YAML every value is followed by a comment with the place it comes from, or ``default``. JSON
    has no comments and so no origins.
    """
    tree = _document(configuration, Printer(redact))
    if format == "json":
        return emitting.json_text(tree)
    return "".join(f"{line}\n" for line in emitting.yaml_lines(tree))


def _document(configuration: Configuration, printer: Printer) -> emitting.Tree:
    root = configuration.root
    sections: dict[str, emitting.Tree] = {}
    for kind in Kind:
        written = _by_id(root.child(kind.section), ComponentID.parse)
        entries = {
            str(id_): printer.model(section.config, written.get(id_))
            for id_, section in configuration.sections(kind).items()
        }
        if entries:
            sections[kind.section] = emitting.Tree(entries)
    service = root.child("service")
    content: dict[str, emitting.Tree] = {}
    if configuration.service.extensions:
        node = _step(service, "extensions")
        content["extensions"] = _ids(configuration.service.extensions, node)
    written_pipelines = _by_id(_step(service, "pipelines"), PipelineID.parse)
    pipelines: dict[str, emitting.Tree] = {}
    for id_, pipeline in configuration.service.pipelines.items():
        node = written_pipelines.get(id_)
        members = {
            "receivers": pipeline.receivers,
            "processors": pipeline.processors,
            "exporters": pipeline.exporters,
        }
        pipelines[str(id_)] = emitting.Tree(
            {name: _ids(ids, _step(node, name)) for name, ids in members.items() if ids}
        )
    content["pipelines"] = emitting.Tree(pipelines)
    telemetry = configuration.service.telemetry
    content["telemetry"] = printer.model(telemetry, _step(service, "telemetry"))
    sections["service"] = emitting.Tree(content)
    return emitting.Tree(sections)


def _by_id(section: Node | None, parse: Callable[[str], Any]) -> Mapping[Any, Node]:
    if section is None or not isinstance(section.value, dict):
        return {}
    return {parse(key): node for key, node in section.value.items()}


def _ids(ids: Iterable[ComponentID], node: Node | None) -> emitting.Tree:
    places: dict[str, Node] = {}
    if node is not None and isinstance(node.value, list):
        places = {str(item.value).strip(): item for item in node.value}
    return emitting.Tree([_leaf(str(id_), places.get(str(id_), node)) for id_ in ids])


def _written(field: Field, node: Node | None) -> Node | None:
    if node is None:
        return None
    return next((found for name in field.names if (found := node.child(name)) is not None), None)


def _is_silent(field: Field, value: Any) -> bool:
    """Whether a key that nobody wrote says nothing."""
    if value is None or value == {} or value in ((), [], "", Opaque("")):
        return True
    return bool(field.marks)


def _step(node: Node | None, step: str | int) -> Node | None:
    if node is None:
        return None
    found, steps = node.find((step,))
    if steps:
        return found
    # Parts of a value that has no parts in the file (a string split at commas) come from there.
    return node if not node.is_tree and node.value is not None else None


def _leaf(value: Any, node: Node | None) -> emitting.Tree:
    return emitting.Tree(value, _origin(node))


def _origin(node: Node | None) -> str:
    if node is None:
        return _DEFAULT
    reference = node.reference.partition(":-")[0]
    if not reference or reference.startswith("yaml:"):
        return str(node.position)
    return f"{node.position} ${{{reference}}}"
