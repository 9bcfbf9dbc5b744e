"""What pydantic found wrong, in the words of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.config.convert import is_duration, is_secret
from mlsysops_pipeline.config.values import format_duration
from mlsysops_pipeline.config.wording import counted, empty_variable, shown

if TYPE_CHECKING:
    from pydantic import BaseModel

    from mlsysops_pipeline.config.nodes import Node

_BOUNDS = {
    "greater_than": ("gt", "must be greater than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
    "multiple_of": ("multiple_of", "must be a multiple of"),
}
_LENGTHS = {
    "string_too_short": ("min_length", "at least", "character"),
    "string_too_long": ("max_length", "at most", "character"),
    "too_short": ("min_length", "at least", "entry"),
    "too_long": ("max_length", "at most", "entry"),
}


def explained(model: type[BaseModel], detail: Any, node: Node) -> str:
    """One detail of a `ValidationError` of ``model`` about the value in ``node``."""
    kind: str = detail["type"]
    context: dict[str, Any] = detail.get("ctx", {})
    if kind == "missing":
        return "is missing; a value is required"
    if node.empty and not node.is_tree:
        return empty_variable(node)
    mark = _field_mark(model, detail["loc"])
    got = "" if mark == "secret" or node.is_tree else f", got {shown(node)}"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        bound = context[key]
        plain = f"{bound:g}" if isinstance(bound, float) else str(bound)
        text = format_duration(float(bound)) if mark == "duration" else plain
        return f"{words} {text}{got}"
    if kind in _LENGTHS:
        key, words, noun = _LENGTHS[kind]
        if context[key] == 1 and words == "at least":
            return "must not be empty"
        return f"must have {words} {counted(context[key], noun)}{got}"
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}{got}"
    if kind in {"value_error", "assertion_error"}:
        return str(context.get("error") or "is not allowed")
    message = str(detail["msg"])
    return message[:1].lower() + message[1:] + got


def _field_mark(model: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """Whether the value is a duration or a secret, which is shown differently."""
    for name, info in model.model_fields.items():
        if place and place[0] in {name, info.alias}:
            if is_duration(info.annotation, info.metadata):
                return "duration"
            return "secret" if is_secret(info.annotation) else ""
    return ""
