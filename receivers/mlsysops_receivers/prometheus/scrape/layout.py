"""The layout of a page: which line is what, and the metrics that its lines become.

Made anew from all lines when a page differs in more than values from the one before. Metrics of
which nothing but values changed are taken over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.errors import Bug
from mlsysops_pipeline.prometheus.exposition import Comment, Tail
from mlsysops_receivers.prometheus.scrape.families import Families
from mlsysops_receivers.prometheus.scrape.making import MetricMaker
from mlsysops_receivers.prometheus.scrape.metrics import Template
from mlsysops_receivers.prometheus.scrape.options import ScrapeError
from mlsysops_receivers.prometheus.scrape.series import DROPPED, Kind, Series

if TYPE_CHECKING:
    from collections.abc import Generator

    from mlsysops_receivers.prometheus.scrape.groups import Group
    from mlsysops_receivers.prometheus.scrape.making import Line, Value
    from mlsysops_receivers.prometheus.scrape.metrics import Metric, MetricKey
    from mlsysops_receivers.prometheus.scrape.options import ScrapeOptions
    from mlsysops_receivers.prometheus.scrape.series import Ident, Place

__all__ = ["REPEATED", "STEP_LINES", "Cell", "Layout", "assembling"]

STEP_LINES: Final = 500
"""Lines that are looked at in a step, of those whose series are known."""

Cell = Series | Comment | None
"""What a line is; ``None``: nothing."""
REPEATED: Final = Series(b"", None, DROPPED)
"""What a line is that repeats another one."""
_NAMES_MAX: Final = 1_000
_NEVER: Final = b"\n"
"""The head of lines that are not predicted: no line has it."""
_ENDS: Final = frozenset(b" \t}")
"""What heads end with that say where a value begins, whatever it is."""


class Layout:
    """A page. The first three lists have an item for each line, in order, and so has ``slots``.

    ``heads``: what a line has to begin with to be what it was. ``slots``: the place of its number
    in ``numbers``, the pieces of a template, so that most lines need no look at their cells; of
    others it is negative, the complement of their index. ``tails``: the value of lines of
    dynamic metrics, by their index. ``dirty``: groups with new values. ``templates`` and
    ``dynamic``: where the metrics are, once `fill_templates` was called, which takes their numbers.
    ``infos``: what ``target_info`` says, by job and instance.
    ``samples`` and ``kept``: lines with samples, and those of them that relabelling left.
    """

    __slots__ = (
        "by_head",
        "by_key",
        "cells",
        "comments",
        "dirty",
        "duplicates",
        "dynamic",
        "families",
        "heads",
        "infos",
        "is_filled",
        "kept",
        "lines",
        "numbers",
        "rejected",
        "samples",
        "slots",
        "tails",
        "templates",
        "unmapped",
    )

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.heads: list[bytes] = []
        self.cells: list[Cell] = []
        self.slots: list[int] = []
        self.numbers: list[bytes] = []
        self.by_head: dict[bytes, Series] = {}
        self.by_key: dict[MetricKey, Metric] = {}
        self.templates: dict[Place, Template] = {}
        self.tails: dict[int, Value] = {}
        self.dirty: list[Group] = []
        self.dynamic: list[Metric] = []
        self.is_filled = False
        self.infos: dict[tuple[str, str], dict[str, str]] = {}
        self.comments: list[Comment] = []
        self.families = Families((), trims_suffixes=False)
        self.samples = self.kept = self.duplicates = self.unmapped = self.rejected = 0

    def key_of(self, series: Series) -> MetricKey:
        """The key of the metric that a series is in, if it is in one."""
        if series.place is None:
            raise Bug(f"a series that is in no place: {series.head!r}")
        family = self.families.of(series.name)
        return (series.place, family.base, family.name, family.type)

    def fill_templates(self) -> None:
        """From now on values are written to templates."""
        for metric in self.by_key.values():
            if metric.is_dynamic:
                self.dynamic.append(metric)
                continue
            template = self.templates.get(metric.place)
            if template is None:
                template = self.templates[metric.place] = Template()
            template.add(metric)
        if self.templates:
            largest = max(self.templates.values(), key=lambda template: len(template.pieces))
            self.numbers = largest.pieces
        numbers, is_number = self.numbers, Kind.NUMBER
        self.slots = [
            cell.at
            if isinstance(cell, Series) and cell.kind is is_number and cell.target is numbers
            else ~index
            for index, cell in enumerate(self.cells)
        ]
        self.is_filled = True


def assembling(
    lines: list[bytes],
    cells: list[Cell],
    values: list[Value],
    old: Layout,
    options: ScrapeOptions,
) -> Generator[None, None, tuple[Layout, dict[Ident, Series]]]:
    """The layout of a page with these lines, and its series, made in steps of about a millisecond.

    ``values``: one for each line, of any kind where there is no sample. The old layout must not be
    used any more. Raises `ScrapeError` if there are too many samples, and then changed nothing.
    """
    layout = Layout()
    layout.lines, layout.cells = lines, cells
    layout.comments = [cell for cell in cells if isinstance(cell, Comment)]
    # Names that are gone are remembered there, but not for ever.
    is_small = len(old.families) <= 2 * len(old.by_key) + _NAMES_MAX
    if layout.comments == old.comments and old.comments and is_small:
        layout.families = old.families
    else:
        trims = options.trim_metric_suffixes
        layout.families = Families(layout.comments, trims_suffixes=trims)
    layout.heads = [cell.head if isinstance(cell, Series) else _NEVER for cell in cells]
    drafts, idents, unused = yield from _sorting_out(layout, values)
    taken = layout.kept - layout.duplicates
    if 0 < options.sample_limit < taken:
        raise ScrapeError(f"sample_limit exceeded: {taken} samples, {options.sample_limit} allowed")
    for series in unused:
        series.kind = Kind.IGNORED
    maker = MetricMaker(old.by_key, layout.tails, layout.infos, drafts, layout.families)
    made = 0
    for key, draft in drafts.items():
        metric = maker.make(key, draft)
        if metric is not None:
            layout.by_key[key] = metric
        made += len(draft)
        if made > STEP_LINES:
            made = 0
            yield
    layout.unmapped = maker.unmapped
    yield from _indexing(layout)
    return layout, idents


def _sorting_out(
    layout: Layout, values: list[Value]
) -> Generator[None, None, tuple[dict[MetricKey, list[Line]], dict[Ident, Series], list[Series]]]:
    """The lines of each metric, the series that have some, and those that have none."""
    drafts: dict[MetricKey, list[Line]] = {}
    idents: dict[Ident, Series] = {}
    unused: list[Series] = []
    family_of = layout.families.of
    samples = kept = 0
    for index, (series, value) in enumerate(zip(layout.cells, values, strict=True)):
        if not isinstance(series, Series):
            continue
        samples += 1
        if not samples % STEP_LINES:
            yield
        place = series.place
        if place is None:
            layout.rejected += series.name != DROPPED
            unused.append(series)
            continue
        kept += 1
        # Written out, since this is the inner loop: `ident_of` and `key_of`.
        ident = (series.name, series.attributes, place, series.le, series.quantile)
        if idents.setdefault(ident, series) is not series:
            layout.duplicates += 1
            unused.append(series)
            continue
        family = family_of(series.name)
        key = (place, family.base, family.name, family.type)
        line = (index, series, family.part, value)
        draft = drafts.get(key)
        if draft is None:
            drafts[key] = [line]
        else:
            draft.append(line)
    for key, draft in drafts.items():
        if len({line[1] for line in draft}) < len(draft):
            drafts[key] = _without_repeated(draft, layout)
    layout.samples, layout.kept = samples, kept
    return drafts, idents, unused


def _without_repeated(draft: list[Line], layout: Layout) -> list[Line]:
    """Without lines that repeat one, unless they have times of their own: the first one counts."""
    kept: list[Line] = []
    seen: set[Series] = set()
    for line in draft:
        index, series, _, value = line
        if series in seen and not (isinstance(value, Tail) and value.timestamp_ms is not None):
            layout.duplicates += 1
            layout.cells[index] = REPEATED
        else:
            seen.add(series)
            kept.append(line)
    return kept


def _indexing(layout: Layout) -> Generator[None, None, None]:
    """Let series be found by what lines begin with, and the next line after each."""
    by_head, heads = layout.by_head, layout.heads
    for index, series in enumerate(layout.cells):
        if not index % STEP_LINES:
            yield
        if not isinstance(series, Series) or series is REPEATED:
            continue
        head = series.head
        if by_head.setdefault(head, series) is series:
            series.index = index
        if series.kind is Kind.FIXED or head[-1] not in _ENDS:
            heads[index] = _NEVER
