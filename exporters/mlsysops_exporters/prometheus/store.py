"""The last value of every series, for as long as it is worth showing.

A series is known by its name and labels as pages have them, so whatever bytes it comes in, and
whatever else its resource says, it is there once. Its life:

- It lives from a point with a value until `metric_expiration` after the last one, or until a point
  without a recorded value. Each series has its own time; nobody needs to scrape.
- When it has died it stays known for as long again, with its last time stamp, so that a late or
  repeated point does not bring it back. Repeating the last point prolongs that.
- Then it is forgotten, and whatever comes is the first of a new one.

Points that are not newer than what is known are ignored, unless what is known lies in the future:
one wrong clock would otherwise freeze a series. Names belong to one type as long as one of their
series lives. Memory is bounded by `series_max`; the dead make room first.

Pure: no I/O, no clock, no asyncio; times are arguments. A page may be rendered between two calls.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from mlsysops_exporters.prometheus.values import Value, added, lines
from mlsysops_exporters.prometheus.wheel import Shelf, Wheel
from mlsysops_exporters.prometheus.wording import label_text, without_le
from mlsysops_pipeline.prometheus.names import Kind
from mlsysops_pipeline.prometheus.translate import TARGET_INFO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlsysops_pipeline.prometheus.points import Exemplar, Family, Labels, NumberPoint, Type

FUTURE_NS: Final = 10_000_000_000
"""How far a clock may be ahead of ours before its time stamps are doubted."""
REMEMBERED_S: Final = 300.0
"""How long the dead are known where series live for ever."""
HELP_CHARACTERS_MAX: Final = 4_096
_TEXT_UNIT: Final = 1_024
"""Labels of this many characters count as another series."""
_WHEEL_STEPS: Final = 50


class Series:
    """One series. ``text``: its labels as they stand between braces.

    ``value``: ``None`` while it is dead. ``group``: ``None`` while it is not known. ``target``: for
    a `target_info`, whose it is. ``is_delta``: its value is a sum of changes.
    """

    __slots__ = (
        "exemplars",
        "group",
        "is_delta",
        "slot",
        "target",
        "text",
        "timestamp_ns",
        "updated_s",
        "value",
        "weight",
    )

    def __init__(self, text: str, target: tuple[str, str] | None = None) -> None:
        self.text = text
        self.target = target
        self.group: Group | None = None
        self.value: Value | None = None
        self.exemplars: tuple[Exemplar, ...] = ()
        self.timestamp_ns = 0
        self.updated_s = 0.0
        self.is_delta = False
        self.slot = -1
        self.weight = 0

    def __repr__(self) -> str:
        return f"<Series {{{self.text}}} {self.value}>"


class Group:
    """The series of one name. ``members``: the living and the dead, by text. ``live``: of them.

    ``witness``: one that was seen alive when another type wanted the name.
    """

    __slots__ = ("help", "live", "members", "name", "type", "unit", "witness")

    def __init__(self, name: str, type_: Type, help_: str, unit: str) -> None:
        self.name = name
        self.type = type_
        self.help = help_
        self.unit = unit
        self.members: dict[str, Series] = {}
        self.live = 0
        self.witness: Series | None = None

    def is_alive(self, alive_s: float) -> bool:
        """Whether one was updated after ``alive_s``. Looks at all of them only if it has to."""
        one = self.witness
        if one is not None and one.value is not None and one.updated_s > alive_s:
            return True
        found = (
            each
            for each in self.members.values()
            if each.value is not None and each.updated_s > alive_s
        )
        self.witness = next(found, None) if self.live else None
        return self.witness is not None

    def __repr__(self) -> str:
        return f"<Group {self.name} {self.type} live={self.live} known={len(self.members)}>"


class Store:
    """All series of one exporter.

    ``expiration_s``: 0 for never. ``weight_max``: how many lines of a page may be known, the dead
    and their labels counted as well. ``const_labels``: added where a series has no such label.

    Counts for whoever reports: ``full``, points of series for which there was no room; ``late``,
    changes that came too late to be added; ``conflicts``, points whose name has another type.
    """

    def __init__(
        self,
        *,
        expiration_s: float,
        weight_max: int,
        const_labels: Mapping[str, str] | None = None,
    ) -> None:
        self.groups: dict[str, Group] = {}
        self.full = 0
        self.late = 0
        self.conflicts = 0
        self.weight = 0
        self.live = 0
        self._weight_max = weight_max
        self._const_labels = dict(const_labels or {})
        self._expiration_s = expiration_s or math.inf
        self._remembered_s = expiration_s or REMEMBERED_S
        self._wheel: Wheel[Series] | None = None
        if expiration_s:
            self._wheel = Wheel(expiration_s / _WHEEL_STEPS)
        self._dead: Shelf[Series] = Shelf(self._remembered_s / _WHEEL_STEPS)
        self._targets: dict[tuple[str, str], Series] = {}

    # Series and groups.

    def series(self, family: Family, labels: Labels, /) -> Series:
        """The series of a family with these labels; a new one, not yet known, if there is none."""
        target = None
        if family is TARGET_INFO:
            found = dict(labels)
            target = (found.get("job", ""), found.get("instance", ""))
        if family.kind is Kind.EXPONENTIAL_HISTOGRAM:
            labels = without_le(labels)
        if self._const_labels:
            labels = tuple(sorted({**self._const_labels, **dict(labels)}.items()))
        text = label_text(labels)
        group = self.groups.get(family.name)
        known = group.members.get(text) if group is not None else None
        return known or Series(text, target)

    def group(self, family: Family, now_s: float) -> Group | None:
        """Where the series of a family are; ``None`` if the name has another type (PO-15).

        Of two descriptions the first is kept.
        """
        group = self.groups.get(family.name)
        if group is None:
            help_ = family.help[:HELP_CHARACTERS_MAX]
            return Group(family.name, family.type, help_, family.unit)
        if group.type is not family.type:
            if group.is_alive(now_s - self._expiration_s):
                return None
            for series in group.members.values():
                self._die(series, series.updated_s + self._expiration_s)
            return self._retyped(group, family)
        if not group.help:
            group.help = family.help[:HELP_CHARACTERS_MAX]
        return group

    def _retyped(self, old: Group, family: Family) -> Group:
        """A new group for a name whose series are all dead; a page may still be reading the old."""
        group = Group(family.name, family.type, family.help[:HELP_CHARACTERS_MAX], family.unit)
        group.members = old.members
        old.members = {}
        for series in group.members.values():
            series.group = group
        self.groups[group.name] = group
        return group

    # Points.

    def numbers(
        self, family: Family, points: Sequence[NumberPoint[Series]], now_s: float, now_ns: int
    ) -> None:
        """Take points of one family that are plain numbers."""
        group = self.group(family, now_s)
        if group is None:
            self.conflicts += len(points)
            return
        is_delta = family.is_delta
        alive_s = now_s - self._expiration_s
        for series, timestamp_ns, start_ns, value, exemplars in points:
            if (
                series.group is group
                and timestamp_ns > series.timestamp_ns
                and series.value is not None
                and value is not None
                and series.updated_s > alive_s
                and not is_delta
                and series.target is None
            ):
                series.timestamp_ns = timestamp_ns
                series.updated_s = now_s
                series.value = value
                series.exemplars = exemplars
                series.is_delta = False
            else:
                times = (timestamp_ns, start_ns, now_s, now_ns)
                self.take(group, series, value, times, exemplars, is_delta=is_delta)

    def take(
        self,
        group: Group,
        series: Series,
        value: Value | None,
        times: tuple[int, int, float, int],
        exemplars: tuple[Exemplar, ...],
        *,
        is_delta: bool,
    ) -> None:
        """Take one point. ``value``: ``None`` if the series ended.

        ``times``: of the point and its start in Unix nanoseconds, and now on both clocks.
        """
        timestamp_ns, start_ns, now_s, now_ns = times
        timestamp_ns = timestamp_ns or now_ns  # who does not say when means now
        known = series if series.group is group else group.members.get(series.text)
        if known is None:
            if value is None or not self._may_replace_target(series, timestamp_ns):
                return
            if not self._make_room(_weight(group, series, value)):
                self.full += 1
                return
            self._add(group, series)
            known = series
        elif known.value is not None and known.updated_s <= now_s - self._expiration_s:
            self._die(known, known.updated_s + self._expiration_s)
        if timestamp_ns <= known.timestamp_ns and not _is_frozen(known, timestamp_ns, now_ns):
            self._take_old(known, value, timestamp_ns, now_s, is_delta=is_delta)
            return
        if value is None:
            known.timestamp_ns = timestamp_ns
            self._die(known, now_s)
            return
        is_aligned = start_ns in {0, known.timestamp_ns}
        if is_delta and known.is_delta and known.value is not None and is_aligned:
            value = added(known.value, value)
        was_dead = known.value is None
        if was_dead:
            self._recall(known)  # lest it is forgotten to make room for itself
        if not self._fits(group, known, value):
            self.full += 1
            if was_dead:
                self._remember(known, now_s)
            return
        known.timestamp_ns = timestamp_ns
        known.updated_s = now_s
        known.exemplars = exemplars
        known.is_delta = is_delta
        if was_dead:
            self._revive(group, known, now_s)
        known.value = value

    def _take_old(
        self,
        series: Series,
        value: Value | None,
        timestamp_ns: int,
        now_s: float,
        *,
        is_delta: bool,
    ) -> None:
        """A point that is not newer than what is known."""
        if timestamp_ns == series.timestamp_ns:
            if series.value is None:  # still repeated: remember longer that it is over
                self._recall(series)
                self._remember(series, now_s)
            elif value is None:
                self._die(series, now_s)
        elif is_delta and value is not None:
            self.late += 1

    def _fits(self, group: Group, series: Series, value: Value) -> bool:
        """Whether there is room for a value; makes some where it has grown."""
        weight = _weight(group, series, value)
        growth = weight - series.weight
        if growth > 0 and not self._make_room(growth):
            return False
        self.weight += growth
        series.weight = weight
        return True

    # Life and death.

    def _add(self, group: Group, series: Series) -> None:
        """Know a series, still without a value."""
        if self.groups.get(group.name) is not group:
            self.groups[group.name] = group
        group.members[series.text] = series
        series.group = group
        series.value = None
        series.timestamp_ns = 0
        series.weight = 0
        if series.target is not None:
            before = self._targets.get(series.target)
            if before is not None:
                self._forget(before)
            self._targets[series.target] = series

    def _may_replace_target(self, series: Series, timestamp_ns: int) -> bool:
        """Whether a `target_info` is newer than the other of its job and instance (PO-14)."""
        if series.target is None:
            return True
        before = self._targets.get(series.target)
        return before is None or timestamp_ns >= before.timestamp_ns

    def _revive(self, group: Group, series: Series, now_s: float) -> None:
        group.live += 1
        self.live += 1
        if self._wheel is not None:
            series.slot = self._wheel.add(series, now_s + self._expiration_s)

    def _die(self, series: Series, since_s: float) -> None:
        """A series has had no value since a moment."""
        group = series.group
        if series.value is None or group is None:
            return
        self._end(series, group)
        self._remember(series, since_s)

    def _end(self, series: Series, group: Group) -> None:
        series.value = None
        series.exemplars = ()
        series.slot = -1
        group.live -= 1
        self.live -= 1

    def _remember(self, series: Series, since_s: float) -> None:
        """Know for a while that a series is dead."""
        series.slot = self._dead.put(series, since_s + self._remembered_s)

    def _recall(self, series: Series) -> None:
        """A dead series is no longer one of those that will be forgotten."""
        if series.slot >= 0:
            self._dead.take(series, series.slot)
            series.slot = -1

    def _forget(self, series: Series) -> None:
        """Nothing is known of a series any more."""
        group = series.group
        if group is None:
            return
        if series.value is None:
            self._recall(series)
        else:
            self._end(series, group)
        self.weight -= series.weight
        series.weight = 0
        series.timestamp_ns = 0
        series.group = None
        del group.members[series.text]
        if not group.members and self.groups.get(group.name) is group:
            del self.groups[group.name]
        if series.target is not None and self._targets.get(series.target) is series:
            del self._targets[series.target]

    def _make_room(self, weight: int) -> bool:
        """Whether ``weight`` more is allowed, after forgetting as many dead as necessary."""
        while self.weight + weight > self._weight_max:
            oldest = self._dead.pop()
            if oldest is None:
                return False
            oldest.slot = -1
            self._forget(oldest)
        return True

    def expire(self, now_s: float, count_max: int) -> bool:
        """Let series die and be forgotten that are due, ``count_max`` at most.

        Returns whether others may be due as well.
        """
        count = 0
        if self._wheel is not None:
            for series, slot in self._wheel.due(now_s, count_max):
                count += 1
                if series.slot != slot or series.value is None:
                    continue  # it has died, or lives again
                due_s = series.updated_s + self._expiration_s
                if due_s <= now_s:
                    self._die(series, due_s)
                else:
                    series.slot = self._wheel.add(series, due_s)
        while count < count_max and (forgotten := self._dead.pop(now_s)) is not None:
            count += 1
            forgotten.slot = -1
            self._forget(forgotten)
        return count >= count_max

    @property
    def interval_s(self) -> float:
        """How often `expire` is worth a call."""
        return min(max(self._remembered_s / _WHEEL_STEPS, 0.05), 5.0)

    def alive_s(self, now_s: float) -> float:
        """Series that were not updated after this are not shown."""
        return now_s - self._expiration_s

    def __repr__(self) -> str:
        return f"<Store names={len(self.groups)} live={self.live} dead={len(self._dead)}>"


def _weight(group: Group, series: Series, value: Value) -> int:
    return lines(value) + (len(series.text) + len(group.name)) // _TEXT_UNIT


def _is_frozen(series: Series, timestamp_ns: int, now_ns: int) -> bool:
    """Whether what is known of a series lies in the future and a point does not."""
    limit_ns = now_ns + FUTURE_NS
    return series.timestamp_ns > limit_ns >= timestamp_ns
