"""How problems speak about values: one vocabulary for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.config.values import without_password

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlsysops_pipeline.config.nodes import Node

_SHOWN_MAX = 60
_LISTED_MAX = 200


def shown(node: Node) -> str:
    """A value as a message quotes it."""
    value = node.value
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    text = str(value) if isinstance(value, str) else (node.text or str(value))
    text = without_password(text)
    if len(text) > _SHOWN_MAX:
        text = text[:_SHOWN_MAX] + "..."
    if isinstance(value, str):
        return f'"{text}"'
    return f"the bool {text}" if isinstance(value, bool) else f"the number {text}"


def kind_of(node: Node) -> str:
    """What sort of value it is, without the value itself: for secrets."""
    if isinstance(node.value, str):
        return "a string"
    if isinstance(node.value, bool):
        return "a bool"
    return "a number" if isinstance(node.value, int | float) else shown(node)


def did_you_mean(word: str, known: Iterable[str], listing: Iterable[str] | None = None) -> str:
    """A suggestion: the likely word, or else the words there are (those of ``listing``)."""
    import difflib  # noqa: PLC0415  only a wrong configuration needs it

    words = sorted({str(k) for k in known} - {""})
    likely = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if not likely:
        folded = {w.lower().replace("_", ""): w for w in words}
        match = folded.get(word.lower().replace("_", "").replace("-", ""))
        likely = [match] if match else []
    if likely:
        return f'did you mean "{likely[0]}"?'
    return listed(words if listing is None else sorted(set(listing)))


def listed(words: Iterable[str]) -> str:
    """``allowed: a, b, c``, cut where the line would get too long."""
    text = ", ".join(words)
    if not text:
        return ""
    if len(text) > _LISTED_MAX:
        text = text[:_LISTED_MAX].rpartition(",")[0] + ", ..."
    return f"allowed: {text}"


def about_line_breaks(node: Node) -> str:
    """A hint for values in which a variable, perhaps a stranger's, has more than one line."""
    if isinstance(node.value, str) and ("\n" in node.value or "\r" in node.value):
        return "the line break is part of the value, whatever follows it"
    return ""


def counted(number: int, noun: str) -> str:
    """``1 entry``, ``2 entries``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("y") else f"{number} {noun}s"


def empty_variable(node: Node) -> str:
    """The message about a value that environment variables left empty."""
    return f"{empty_names(node.empty)}, and a value is needed here"


def empty_names(names: Iterable[str]) -> str:
    """Which environment variables are empty."""
    known = list(dict.fromkeys(names))
    if len(known) == 1:
        return f"environment variable {known[0]} is empty or not set"
    return f"environment variables {' and '.join(known)} are empty or not set"


def empty_below(node: Node) -> list[str]:
    """The environment variables that left something in this value empty."""
    names = list(node.empty)
    if isinstance(node.value, dict | list):
        children = node.value.values() if isinstance(node.value, dict) else node.value
        for child in children:
            names += empty_below(child)
    return names
