"""Models of values that are right already, made without pydantic's validators.

`convert` has given every value its type, so what is left to pydantic is bounds and a model's
validators. Building a validator takes a millisecond a model, and an agent has two dozen: a fifth
of its start. So they are built for models in which pydantic has something to judge, and for
values that are wrong, because it words the error.
"""

from __future__ import annotations

import enum
import operator
import types
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel

from mlsysops_pipeline.config.schema import (
    CaseInsensitive,
    DurationText,
    ExtensionName,
    HeaderPairs,
    OptionalSection,
    WhenWritten,
    has_plain_rules,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic.fields import FieldInfo

Model = TypeVar("Model", bound=BaseModel)

_MARKS = (
    CaseInsensitive,
    DurationText,
    ExtensionName,
    HeaderPairs,
    OptionalSection,
    WhenWritten,
)
"""What says something to this package only."""
_BOUNDS: Mapping[type, tuple[Callable[[Any, Any], bool], str]] = {
    Ge: (operator.ge, "ge"),
    Gt: (operator.gt, "gt"),
    Le: (operator.le, "le"),
    Lt: (operator.lt, "lt"),
}
_CONTAINERS = (
    *(tuple, list, set, frozenset, dict),
    *(Sequence, AbstractSet, Mapping, Union, types.UnionType),
)
_SCALARS = (str, bool, int, float, Path, types.NoneType)


def constructed(model: type[Model], values: dict[str, Any]) -> Model | None:
    """The model of values that `convert` made, or ``None`` if pydantic has to judge them."""
    if not has_plain_rules(model):
        return None
    bounds = _bounds(model)
    for name, info in model.model_fields.items():
        key = name if name in values else info.alias or name
        if key not in values:
            if info.is_required():
                return None
        elif bounds[name] is None or not _is_within(values[key], bounds[name] or ()):
            return None
    return model.model_construct(**values)


@cache
def _bounds(model: type[BaseModel]) -> dict[str, tuple[Any, ...] | None]:
    """The bounds of every field; ``None`` for a field with other rules than bounds."""
    return {name: _bounds_of(info) for name, info in model.model_fields.items()}


def _bounds_of(info: FieldInfo) -> tuple[Any, ...] | None:
    bounds = tuple(mark for mark in info.metadata if type(mark) in _BOUNDS)
    rest = len(info.metadata) - len(bounds)
    if rest != sum(isinstance(mark, _MARKS) for mark in info.metadata):
        return None
    has_names = info.validation_alias == info.alias
    return bounds if has_names and _is_converted(info.annotation) else None


def _is_within(value: Any, bounds: tuple[Any, ...]) -> bool:
    """Whether pydantic would find nothing wrong with a value."""
    if bounds and not isinstance(value, int | float):
        return False  # it may know what to do
    for bound in bounds:
        holds, limit = _BOUNDS[type(bound)]
        if not holds(value, getattr(bound, limit)):
            return False
    return True


def _is_converted(annotation: Any) -> bool:
    """Whether `convert` returns nothing but right values of an annotation."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner, *marks = parts
        return all(isinstance(mark, _MARKS) for mark in marks) and _is_converted(inner)
    if origin is Literal or any(annotation is known for known in (Any, object, ...)):
        return True
    if (origin or annotation) in _CONTAINERS:
        return all(map(_is_converted, parts))
    if not isinstance(annotation, type):
        return False
    return (
        annotation in _SCALARS
        or issubclass(annotation, BaseModel | enum.Enum)
        or hasattr(annotation, "parse")
    )
