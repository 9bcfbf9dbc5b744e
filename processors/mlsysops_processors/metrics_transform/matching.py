"""Which metrics and points a transform is about, and the names it makes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.patterns import compile_pattern
from mlsysops_processors.metrics_transform.labels import find, points_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlsysops_pipeline.patterns import Match, Pattern
    from mlsysops_processors.metrics_transform.config import TransformConfig

_REFERENCE = re.compile(rb"\$(?:(\$)|(\w+)|\{(\w+)\})")
_NAMES_MAX = 10_000
"""Names of which is remembered what the pattern says of them."""


class Matcher:
    """Says whether a metric is meant. ``needs_labels``: not all of its points need to be."""

    def __init__(self, config: TransformConfig) -> None:
        is_pattern = config.match_type == "regexp"
        self._name = config.include.encode()
        self._pattern: Pattern | None = compile_pattern(config.include) if is_pattern else None
        self._labels: list[tuple[bytes, bytes, Pattern | None]] = [
            (label.encode(), text.encode(), compile_pattern(text) if is_pattern else None)
            for label, text in config.experimental_match_labels.items()
        ]
        self.needs_labels = bool(self._labels)
        self._known: dict[bytes, bool] = {}
        self._renamed: dict[bytes, bytes] = {}

    def is_in(self, wire: bytes) -> bool:
        """Whether a request can have a metric that is meant."""
        return self._pattern is not None or self._name in wire

    def has_name(self, name: bytes) -> bool:
        """Whether a metric is meant by its name."""
        if self._pattern is None:
            return name == self._name
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= _NAMES_MAX:
                self._known.clear()
            found = self._known[name] = self._pattern.search(name) is not None
        return found

    def has_labels(self, point: Any) -> bool:
        """Whether a point is meant, if its metric is."""
        for label, text, pattern in self._labels:
            found = text_of(find(point, label))
            if found != text if pattern is None else pattern.search(found) is None:
                return False
        return True

    def matches(self, metric: Any) -> bool:
        """Whether a metric and any of its points are meant; one without points is."""
        if not self.has_name(metric.name):
            return False
        if not self.needs_labels:
            return True
        points = points_of(metric)
        return not points or any(map(self.has_labels, points))

    def matches_all(self, metric: Any) -> bool:
        """Whether all points of a metric are meant."""
        return not self.needs_labels or all(map(self.has_labels, points_of(metric)))

    def renamed(self, name: bytes, new_name: bytes) -> bytes:
        """The new name of a metric, with the groups of the pattern filled in.

        ``new_name`` is the same every time.
        """
        if self._pattern is None:
            return new_name
        found = self._renamed.get(name)
        if found is None:
            if len(self._renamed) >= _NAMES_MAX:
                self._renamed.clear()
            match = self._pattern.search(name)
            found = new_name
            if match is not None:
                found = self._expanded(new_name, match, self._pattern.groupindex) or new_name
            self._renamed[name] = found
        return found

    @staticmethod
    def _expanded(template: bytes, match: Match, index: Mapping[bytes, int]) -> bytes:

        def group(reference: re.Match[bytes]) -> bytes:
            if reference[1]:
                return b"$"
            name = reference[2] or reference[3]
            number = int(name) if name.isdigit() else index.get(name, -1)
            if not 0 <= number <= len(match.groups()):
                return b""
            return match.group(number) or b""

        return _REFERENCE.sub(group, template)

    def labels_of(self, name: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The groups of the pattern as labels: by name, or ``$1`` and so on."""
        match = self._pattern.search(name) if self._pattern is not None else None
        if match is None or self._pattern is None:
            return
        names = {number: name for name, number in self._pattern.groupindex.items()}
        for number, text in enumerate(match.groups(), 1):
            if text:
                yield names.get(number, b"$%d" % number), text
