"""Relabelling: rules over labels, applied in order, as Prometheus applies them.

Pure functions of labels to labels. A label with an empty value is one that is not there. Patterns
are RE2, match the whole text, and their ``.`` matches line ends too.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

from mlsysops_pipeline.config.schema import CaseInsensitive, ComponentConfig, Finding
from mlsysops_pipeline.patterns import compile_pattern
from mlsysops_receivers.prometheus.scalars import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mlsysops_pipeline.patterns import Match, Pattern

Action = Literal[
    "",
    "replace",
    "keep",
    "drop",
    "keepequal",
    "dropequal",
    "hashmod",
    "labelmap",
    "labeldrop",
    "labelkeep",
    "lowercase",
    "uppercase",
]
Labels = dict[str, str]

_SEPARATOR: Final = ";"
_REGEX: Final = "(.*)"
_REPLACEMENT: Final = "$1"
_WANT_TARGET: Final = frozenset(
    {"replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal"}
)
_EQUALITY: Final = frozenset({"keepequal", "dropequal"})
_NAMES: Final = frozenset({"labeldrop", "labelkeep"})
_PART: Final = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))", re.ASCII)


class RelabelConfig(ComponentConfig):
    """One rule. Write `$$` for `$`: the file's own expansion of variables comes first."""

    source_labels: tuple[Text, ...] = ()
    """Labels whose values are joined and matched."""
    separator: Text = Text(_SEPARATOR)
    """What stands between the joined values."""
    regex: Text = Text(_REGEX)
    """What the joined values, or names of labels, must match as a whole (RE2)."""
    modulus: int = 0
    """The number of buckets of `hashmod`."""
    target_label: Text = Text("")
    """The label that is set; may use groups of the pattern with `replace`."""
    replacement: Text = Text(_REPLACEMENT)
    """Its value, with groups of the pattern as `$1` or `${name}`; an empty one removes it."""
    action: Annotated[Action, CaseInsensitive()] = "replace"
    """What is done; nothing written means `replace`."""

    @property
    def effective_action(self) -> str:
        """The action, also where none was written."""
        return self.action or "replace"

    def check(self) -> Iterable[Finding]:
        """The rules of Prometheus for each action."""
        action, target = self.effective_action, self.target_label
        try:
            anchored(self.regex)
        except ValueError as error:
            yield Finding(("regex",), f"{str(self.regex)!r} is no regular expression: {error}")
        if self.modulus < 0:
            yield Finding(("modulus",), "must not be negative")
        if action == "hashmod" and not self.modulus:
            message = "relabel configuration for hashmod requires non-zero modulus"
            yield Finding(("modulus",), message)
        if action in _WANT_TARGET and not target:
            message = f"relabel configuration for {action} action requires 'target_label' value"
            yield Finding(("target_label",), message)
        if action == "labelmap" and not is_label_name(self.replacement):
            message = f"{str(self.replacement)!r} is invalid 'replacement' for labelmap action"
            yield Finding(("replacement",), message)
        if action in {"lowercase", "uppercase"} and self.replacement != _REPLACEMENT:
            message = f"'replacement' can not be set for {action} action"
            yield Finding(("replacement",), message)
        yield from self._check_neighbours(action)

    def _check_neighbours(self, action: str) -> Iterable[Finding]:
        """Keys that an action has no use for, so that something else was meant."""
        plain: dict[str, object] = {"separator": _SEPARATOR, "modulus": 0}
        if action in _EQUALITY:
            plain |= {"regex": _REGEX, "replacement": _REPLACEMENT}
            wanted = "'source_labels' and 'target_label'"
        elif action in _NAMES:
            plain |= {"source_labels": (), "target_label": "", "replacement": _REPLACEMENT}
            wanted = "'regex'"
        else:
            return
        for key, value in plain.items():
            if getattr(self, key) != value:
                yield Finding(
                    (key,), f"{action} action requires only {wanted}, and no other fields"
                )


def is_label_name(text: str) -> bool:
    """Whether a text can be a label's name (or become one): anything but nothing, in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return bool(text)


def anchored(regex: str) -> Pattern:
    """The pattern that matches whole texts. Raises `ValueError`."""
    compile_pattern(regex)  # alone first: "a)(b" is right only between our own parentheses
    return compile_pattern(f"^(?s:{regex})$")


def relabeler(rules: Sequence[RelabelConfig]) -> Callable[[Labels], Labels | None] | None:
    """One function for all rules, or ``None`` for no rules at all.

    It changes its argument and returns it without empty labels; ``None`` if a rule drops it.
    """
    steps = [_rule(config) for config in rules]
    if not steps:
        return None

    def relabel(labels: Labels) -> Labels | None:
        for step in steps:
            if not step(labels):
                return None
        return {name: value for name, value in labels.items() if value}

    return relabel


def _rule(config: RelabelConfig) -> Callable[[Labels], bool]:
    return _MAKERS[config.effective_action](config)


def _joined(config: RelabelConfig) -> Callable[[Labels], str]:
    names, separator = tuple(map(str, config.source_labels)), str(config.separator)
    if len(names) == 1:
        (name,) = names
        return lambda labels: labels.get(name, "")
    return lambda labels: separator.join([labels.get(name, "") for name in names])


def _keep(config: RelabelConfig) -> Callable[[Labels], bool]:
    value, search = _joined(config), anchored(config.regex).search
    return lambda labels: search(_bytes(value(labels))) is not None


def _drop(config: RelabelConfig) -> Callable[[Labels], bool]:
    value, search = _joined(config), anchored(config.regex).search
    return lambda labels: search(_bytes(value(labels))) is None


def _keep_equal(config: RelabelConfig) -> Callable[[Labels], bool]:
    value, target = _joined(config), str(config.target_label)
    return lambda labels: labels.get(target, "") == value(labels)


def _drop_equal(config: RelabelConfig) -> Callable[[Labels], bool]:
    value, target = _joined(config), str(config.target_label)
    return lambda labels: labels.get(target, "") != value(labels)


def _replace(config: RelabelConfig) -> Callable[[Labels], bool]:
    value, pattern = _joined(config), anchored(config.regex)
    target = Template(config.target_label, pattern)
    replacement = Template(config.replacement, pattern)

    def replace(labels: Labels) -> bool:
        match = pattern.search(_bytes(value(labels)))
        if match is None:
            return True
        name = target.expand(match)
        if not is_label_name(name):
            return True
        _set(labels, name, replacement.expand(match))
        return True

    return replace


def _changed(change: Callable[[str], str]) -> Callable[[RelabelConfig], Callable[[Labels], bool]]:
    def make(config: RelabelConfig) -> Callable[[Labels], bool]:
        value, target = _joined(config), str(config.target_label)

        def step(labels: Labels) -> bool:
            _set(labels, target, change(value(labels)))
            return True

        return step

    return make


def _hashmod(config: RelabelConfig) -> Callable[[Labels], bool]:
    value, target, modulus = _joined(config), str(config.target_label), config.modulus

    def step(labels: Labels) -> bool:
        digest = hashlib.md5(_bytes(value(labels)), usedforsecurity=False).digest()
        _set(labels, target, str(int.from_bytes(digest[8:], "big") % modulus))
        return True

    return step


def _labelmap(config: RelabelConfig) -> Callable[[Labels], bool]:
    pattern = anchored(config.regex)
    replacement = Template(config.replacement, pattern)

    def step(labels: Labels) -> bool:
        for name, value in list(labels.items()):
            match = pattern.search(_bytes(name))
            if match is not None:
                _set(labels, replacement.expand(match), value)
        return True

    return step


def _labeldrop(config: RelabelConfig) -> Callable[[Labels], bool]:
    search = anchored(config.regex).search

    def step(labels: Labels) -> bool:
        for name in [name for name in labels if search(_bytes(name)) is not None]:
            del labels[name]
        return True

    return step


def _labelkeep(config: RelabelConfig) -> Callable[[Labels], bool]:
    search = anchored(config.regex).search

    def step(labels: Labels) -> bool:
        for name in [name for name in labels if search(_bytes(name)) is None]:
            del labels[name]
        return True

    return step


_MAKERS: Final[dict[str, Callable[[RelabelConfig], Callable[[Labels], bool]]]] = {
    "replace": _replace,
    "keep": _keep,
    "drop": _drop,
    "keepequal": _keep_equal,
    "dropequal": _drop_equal,
    "hashmod": _hashmod,
    "labelmap": _labelmap,
    "labeldrop": _labeldrop,
    "labelkeep": _labelkeep,
    "lowercase": _changed(str.lower),
    "uppercase": _changed(str.upper),
}


def _set(labels: Labels, name: str, value: str) -> None:
    """An empty value is none."""
    if value:
        labels[name] = value
    else:
        labels.pop(name, None)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class Template:
    """A text with groups of a match: ``$1``, ``$name``, ``${1}x``; ``$$`` is one ``$``.

    Goes by Go's `regexp.Expand`: a group that the pattern does not have is empty, names reach as
    far as they can (``$1x`` is the group ``1x``), and a ``$`` before anything else stays.
    """

    __slots__ = ("_parts",)

    def __init__(self, text: str, pattern: Pattern) -> None:
        self._parts: list[str | int] = []
        end = 0
        for part in _PART.finditer(text):
            self._add(text[end : part.start()])
            end = part.end()
            name = part[1] or part[2]
            if name is None:
                self._add("$")
                continue
            number = _group(name, pattern)
            if number is not None:
                self._parts.append(number)
        self._add(text[end:])

    def _add(self, literal: str) -> None:
        if literal:
            self._parts.append(literal)

    def expand(self, match: Match) -> str:
        """The text for one match."""
        groups: Sequence[bytes | None] | None = None
        texts = []
        for part in self._parts:
            if isinstance(part, str):
                texts.append(part)
                continue
            if groups is None:
                groups = match.groups()
            found = match.group(0) if not part else groups[part - 1]
            if found:
                texts.append(found.decode("utf-8", "surrogateescape"))
        return "".join(texts)

    def __repr__(self) -> str:
        return f"<Template {self._parts}>"


def _group(name: str, pattern: Pattern) -> int | None:
    """The number of a group; ``None`` if there is no such group, which is then empty."""
    if name.isdigit() and (name == "0" or not name.startswith("0")):
        number = int(name) if len(name) < 5 else pattern.groups + 1
        return number if number <= pattern.groups else None
    return pattern.groupindex.get(name.encode())
