"""Nodes to configuration models: every problem at once, each with its place.

`convert` reads single values, this module reads models: which keys there are, which are missing,
what pydantic's constraints and the model's own `check` say.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import AliasChoices, BaseModel, ValidationError

from mlsysops_pipeline.config import old_keys
from mlsysops_pipeline.config.constraints import explained
from mlsysops_pipeline.config.construction import constructed
from mlsysops_pipeline.config.convert import BAD, DEFAULT, Reference, convert
from mlsysops_pipeline.config.nodes import Node, NotConfigurationError, from_plain
from mlsysops_pipeline.config.problems import (
    Path,
    Position,
    Problem,
    Severity,
    error,
    has_errors,
    in_file_order,
    warning,
)
from mlsysops_pipeline.config.schema import ComponentConfig, Finding, OptionalSection, WhenWritten
from mlsysops_pipeline.config.wording import (
    about_line_breaks,
    did_you_mean,
    empty_below,
    empty_names,
    empty_variable,
    shown,
)
from mlsysops_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a model. ``names``: its spellings, the proper one first."""

    name: str
    names: tuple[str, ...]
    annotation: Any
    metadata: tuple[Any, ...]
    default: Any

    @property
    def key(self) -> str:
        """The key as it is written in files."""
        return self.names[0]

    @property
    def marks(self) -> tuple[WhenWritten, ...]:
        """What is said when somebody writes the key."""
        return tuple(mark for mark in self.metadata if isinstance(mark, WhenWritten))

    @property
    def is_section(self) -> bool:
        """Whether it can be switched off by ``enabled: false``."""
        return any(isinstance(mark, OptionalSection) for mark in self.metadata)


@cache
def fields_of(model: type[BaseModel]) -> tuple[Field, ...]:
    """The keys of a model, in the order in which they are declared."""
    if not getattr(model, "__pydantic_fields_complete__", True):
        model.model_rebuild()
    return tuple(_field(name, info) for name, info in model.model_fields.items())


def _field(name: str, info: FieldInfo) -> Field:
    names: tuple[str, ...] = (info.alias or name,)
    if isinstance(info.validation_alias, AliasChoices):
        names = tuple(c for c in info.validation_alias.choices if isinstance(c, str))
    elif isinstance(info.validation_alias, str):
        names = (info.validation_alias,)
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    return Field(name, names, info.annotation, tuple(info.metadata), default)


class Decoder:
    """Reads models from nodes. What is wrong is collected in ``problems``."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.references: list[Reference] = []

    def error(self, position: Position, path: Path, message: str, suggestion: str = "") -> None:
        """Note something that prevents running."""
        self.problems.append(error(position, path, message, suggestion))

    def warning(self, position: Position, path: Path, message: str, suggestion: str = "") -> None:
        """Note something that does not prevent running."""
        self.problems.append(warning(position, path, message, suggestion))

    def value(self, annotation: Any, node: Node, path: Path) -> Any:
        """A value of any annotation, or `BAD` and a problem."""
        return convert(self, annotation, (), node, path)

    def model(self, model: type[Model], node: Node, path: Path) -> Model | None:
        """A model from a map (or nothing: all defaults), or ``None`` and problems."""
        if node.value is None:
            node = Node({}, node.position, key=node.key)
        if not isinstance(node.value, dict):
            self.error(node.position, path, f"expected a map of keys and values, got {shown(node)}")
            return None
        values: dict[str, Any] = {}
        failed: set[str] = set()
        known: dict[str, Field] = {name: f for f in fields_of(model) for name in f.names}
        for key, child in node.value.items():
            field = known.get(key)
            if field is None:
                if model.model_config.get("extra") == "allow":
                    values[key] = child.plain()
                else:
                    failed.add(self._unknown(key, child, path, known))
                continue
            value = self._field_value(field, child, (*path, key))
            if field.key in values or field.key in failed:
                names = " and ".join(f'"{name}"' for name in field.names if name in node.value)
                self.error(child.at, (*path, key), f"{names} are one key; write one of them")
                failed.add(field.key)
            elif value is BAD:
                failed.add(field.key)
            elif value is not DEFAULT:
                values[field.key] = value
        return self._built(model, node, path, values, failed)

    def _unknown(self, key: str, child: Node, path: Path, known: dict[str, Field]) -> str:
        """Complain, and return the key that was meant, as far as one can tell."""
        # Only keys that do something are worth listing; what is always refused is not even meant.
        useful = [f.key for f in known.values() if not f.marks]
        meant = [f.key for f in known.values() if not any(m.is_final for m in f.marks)]
        old = old_keys.hint(key, known)
        suggestion = old or did_you_mean(key, meant, useful) or "it has no keys"
        self.error(child.at, (*path, key), "unknown key", suggestion)
        return next((name for name in meant if f'"{name}"' in suggestion), "")

    def _field_value(self, field: Field, node: Node, path: Path) -> Any:
        known = len(self.references)
        if field.is_section:
            value = self._section(field, node, path)
        else:
            marks = field.metadata
            value = convert(self, field.annotation, marks, node, path, default=field.default)
        if value is BAD:
            return BAD
        for mark in field.marks:
            effective = field.default if value is DEFAULT else value
            if effective != mark.unless:
                self.problems.append(Problem(mark.severity, node.at, path, mark.message))
                if mark.severity is Severity.ERROR:
                    del self.references[known:]  # what is refused needs nothing else
        return value

    def _section(self, field: Field, node: Node, path: Path) -> Any:
        """A section that can be off: the model, ``None`` when off, or `BAD`."""
        inner = section_model(field)
        if inner is None:
            return convert(self, field.annotation, field.metadata, node, path)
        children = node.value
        if isinstance(children, dict) and "enabled" in children:
            switch = children["enabled"]
            value = convert(self, bool, (), switch, (*path, "enabled"))
            if value is not True:
                return BAD if value is BAD else None
            if "enabled" not in inner.model_fields:
                rest = {key: child for key, child in children.items() if key != "enabled"}
                node = Node(rest, node.position, key=node.key)
        elif children is None and node.empty:
            self.error(node.position, path, empty_variable(node))
            return BAD
        return self._nested(inner, node, path)

    def _nested(self, model: type[BaseModel], node: Node, path: Path) -> Any:
        value = self.model(model, node, path)
        return BAD if value is None else value

    def _built(
        self,
        model: type[Model],
        node: Node,
        path: Path,
        values: dict[str, Any],
        failed: set[str],
    ) -> Model | None:
        """The instance, after pydantic's constraints and the model's own rules."""
        try:
            instance = constructed(model, values) or model.model_validate(values)
        except ValidationError as failure:
            wrong: set[str] = set()
            for detail in failure.errors(include_url=False):
                place = detail["loc"]
                if place and str(place[0]) in failed:
                    continue
                wrong.add(str(place[0]) if place else "")
                found, steps = node.find(place)
                missing = detail["type"] == "missing"
                message = explained(model, detail, found)
                where = (*path, *place) if missing else (*path, *place[:steps])
                self.error(found.at if missing else found.position, where, message)
            failed |= wrong
            instance = model.model_construct(**values)  # its rules can still be judged, in part
        except Exception as failure:  # noqa: BLE001  a validator of foreign code
            self.error(node.at, path, f"{type(failure).__name__}: {failure}")
            return None
        for field in fields_of(model):
            if field.key in failed:
                instance.__dict__.pop(field.name, None)  # its rules cannot be judged
        is_right = "" not in failed and self._checked(instance, node, path, partly=bool(failed))
        return instance if is_right and not failed else None

    def _checked(self, instance: BaseModel, node: Node, path: Path, *, partly: bool) -> bool:
        """Whether the model's own rules hold. ``partly``: of those up to a value that failed."""
        if not isinstance(instance, ComponentConfig):
            return True
        findings: list[Finding] = []
        try:
            findings.extend(instance.check())
        except AttributeError as failure:
            if not partly:
                self.error(node.at, path, f"its check failed: AttributeError: {failure}")
                return False
        except Exception as failure:  # noqa: BLE001  a check of foreign code
            self.error(node.at, path, f"its check failed: {type(failure).__name__}: {failure}")
            return False
        good = True
        for finding in findings:
            found, steps = node.find(finding.path)
            complete = steps == len(finding.path)
            position = found.position if complete and finding.path else found.at
            hint, is_error = finding.suggestion, finding.severity is Severity.ERROR
            if is_error and not hint:
                names = empty_below(found)
                hint = empty_names(names) if names else about_line_breaks(found)
            where = (*path, *finding.path)
            problem = Problem(finding.severity, position, where, finding.message, hint)
            self.problems.append(problem)
            good = good and not is_error
        return good


def section_model(field: Field) -> type[BaseModel] | None:
    """The model inside a `Section`; ``None`` if the annotation is another."""
    for choice in get_args(field.annotation):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return choice
    return None


def models_in(instance: BaseModel, path: Path = ()) -> Iterator[tuple[Path, ComponentConfig]]:
    """The model and every one inside it, each with its path."""
    if isinstance(instance, ComponentConfig):
        yield path, instance
    for field in fields_of(type(instance)):
        yield from _models_in_value(getattr(instance, field.name), (*path, field.key))


def _models_in_value(value: Any, path: Path) -> Iterator[tuple[Path, ComponentConfig]]:
    if isinstance(value, BaseModel):
        yield from models_in(value, path)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _models_in_value(inner, (*path, index))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _models_in_value(inner, (*path, str(key)))


def decode(model: type[Model], node: Node, path: Path = ()) -> tuple[Model | None, list[Problem]]:
    """A model and what was found on the way, in file order. ``None`` iff there is an error."""
    decoder = Decoder()
    instance = decoder.model(model, node, path)
    problems = in_file_order(decoder.problems)
    return (None if has_errors(problems) else instance), problems


def parse_config(model: type[Model], value: Any = None) -> Model:
    """A model from plain values (dicts, lists, scalars) as a file would write them.

    Raises `ConfigError` with every problem. Warnings are not reported: use `decode` for them.
    """
    try:
        node = from_plain(value)
    except NotConfigurationError as failure:
        raise ConfigError([error(Position("configuration"), (), str(failure))]) from failure
    instance, problems = decode(model, node)
    if instance is None:
        raise ConfigError([p for p in problems if p.severity is Severity.ERROR])
    return instance
