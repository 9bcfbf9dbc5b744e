"""Labels of points: the attributes of fully opened views, of which the strings count here."""

from __future__ import annotations

from typing import Any


def points_of(metric: Any) -> Any:
    """The points of a metric, whatever its kind; none if it has no kind."""
    kind = metric.WhichOneof("data")
    return getattr(metric, kind).data_points if kind is not None else ()


def find(point: Any, label: bytes) -> Any | None:
    """The first attribute with that key."""
    for pair in point.attributes:
        if pair.key == label:
            return pair
    return None


def text_of(pair: Any | None) -> bytes:
    """The text of an attribute; nothing if there is none, or if it is no text."""
    return bytes(pair.value.string_value) if pair is not None else b""


def put(attributes: Any, label: bytes, text: bytes) -> None:
    """Set an attribute, whether it is there or not."""
    for pair in attributes:
        if pair.key == label:
            pair.value.Clear()
            pair.value.string_value = text
            return
    attributes.add(key=label).value.string_value = text


def keep(point: Any, labels: frozenset[bytes]) -> None:
    """Remove all other attributes."""
    kept = [pair for pair in point.attributes if pair.key in labels]
    if len(kept) < len(point.attributes):
        del point.attributes[:]
        point.attributes.extend(kept)


def remove_others(point: Any, pair: Any) -> Any:
    """Remove what else has the key of an attribute. Gives the attribute, which may have moved."""
    others = [at for at, one in enumerate(point.attributes) if one.key == pair.key]
    if len(others) == 1:
        return pair
    copy = type(pair)()
    copy.CopyFrom(pair)
    kept = [one for one in point.attributes if one.key != pair.key]
    del point.attributes[:]
    point.attributes.extend([*kept, copy])
    return point.attributes[-1]
