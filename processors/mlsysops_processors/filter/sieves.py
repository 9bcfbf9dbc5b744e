"""Removing from one request what the configuration names, pass by pass. Pure.

A pass by resource cuts groups out of the bytes; one by metric or item prunes a record view, so
that what stays is, item by item, the bytes it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from mlsysops_pipeline.conditions import Level, compile_condition
from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.judging import Judge
from mlsysops_pipeline.patterns import compile_pattern
from mlsysops_pipeline.pdata import any_values
from mlsysops_pipeline.pdata.picking import Picker
from mlsysops_pipeline.pdata.sieve import Opened, keep_groups
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, view
from mlsysops_processors.attributes.matching import Criteria, Selection, Text, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlsysops_pipeline.conditions import Condition, Scene
    from mlsysops_pipeline.pdata.payload import Metadata
    from mlsysops_processors.attributes.matching import AttributeMatchConfig, MatchConfig
    from mlsysops_processors.filter.config import Config, MetricMatchConfig

    Pass = Callable[[bytes, Metadata], bytes]
    """The request without what goes; empty if nothing stays, the same object if all does."""


def passes(config: Config, signal: Signal) -> tuple[list[Pass], bool]:
    """What is done to requests of one signal, in order, and whether it opens items or metrics."""
    made: list[Pass] = []
    conditions: list[Condition] = []
    opens = False
    if signal is Signal.METRICS:
        conditions += map(compile_condition, config.metric_conditions)
        if config.metrics is not None:
            conditions += [compile_condition(text, "metric") for text in config.metrics.metric]
            conditions += [compile_condition(t, "datapoint") for t in config.metrics.datapoint]
            made += _metric_passes(config.metrics.include, config.metrics.exclude)
            opens = any(
                match is not None and match.metric_names
                for match in (config.metrics.include, config.metrics.exclude)
            )
    elif signal is Signal.LOGS:
        conditions += map(compile_condition, config.log_conditions)
        if config.logs is not None:
            conditions += [compile_condition(text, "log") for text in config.logs.log_record]
            include, exclude = config.logs.include, config.logs.exclude
            made += _item_passes(
                signal,
                None if include is None else include.as_match(),
                None if exclude is None else exclude.as_match(),
            )
    else:
        conditions += map(compile_condition, config.trace_conditions)
        if config.traces is not None:
            conditions += [compile_condition(text, "span") for text in config.traces.span]
        if config.spans is not None:
            made += _item_passes(signal, config.spans.include, config.spans.exclude)
    opens = opens or (signal is not Signal.METRICS and bool(made))
    opens = opens or any(condition.level > Level.RESOURCE for condition in conditions)
    return made + _condition_passes(signal, conditions), opens


def _judged(
    signal: Signal,
    level: Level,
    needs: frozenset[Level],
    stays: Callable[[Scene], bool],
    keys: frozenset[bytes] = frozenset(),
) -> Pass:
    judge = Judge(signal, level, needs, stays, keys)

    def by_group(wire: bytes, metadata: Metadata) -> bytes:
        return keep_groups(wire, judge.of_groups(wire, metadata))

    def by_metric(wire: bytes, metadata: Metadata) -> bytes:
        opened = Opened(signal, wire)
        return opened.keep_metrics(judge.of_lists(opened, metadata))

    def by_item(wire: bytes, metadata: Metadata) -> bytes:
        opened = Opened(signal, wire)
        return opened.keep_items(judge.of_lists(opened, metadata))

    return {Level.RESOURCE: by_group, Level.METRIC: by_metric}.get(level, by_item)


def _condition_passes(signal: Signal, conditions: Sequence[Condition]) -> list[Pass]:
    """One pass a level, from the outside to the inside: what is dropped above is not looked at."""
    made = []
    for level in sorted({condition.level for condition in conditions}):
        there = [condition for condition in conditions if condition.level is level]
        needs = frozenset(need for condition in there for need in condition.needs)
        keys = frozenset(key for condition in there for key in condition.keys)
        made.append(_judged(signal, level, needs, _none_of(there), keys))
    return made


def _none_of(conditions: Sequence[Condition]) -> Callable[[Scene], bool]:
    tests = [condition.test for condition in conditions]
    if len(tests) == 1:
        only = tests[0]
        return lambda scene: not only(scene)
    return lambda scene: not any(test(scene) for test in tests)


def _metric_passes(
    include: MetricMatchConfig | None, exclude: MetricMatchConfig | None
) -> list[Pass]:
    """As in the Collector: resources first, then names; each is included and not excluded."""
    made = []
    resources = [
        (wanted, _attributes_test(match.resource_attributes, match.match_type))
        for wanted, match in ((True, include), (False, exclude))
        if match is not None and match.resource_attributes
    ]
    if resources:
        made.append(
            _judged(
                Signal.METRICS,
                Level.RESOURCE,
                frozenset({Level.RESOURCE}),
                lambda scene: all(wanted is test(scene.resource) for wanted, test in resources),
            )
        )
    names = [
        (wanted, Text(match.metric_names, is_regexp=match.match_type == "regexp"))
        for wanted, match in ((True, include), (False, exclude))
        if match is not None and match.metric_names
    ]
    if names:
        made.append(
            _judged(
                Signal.METRICS,
                Level.METRIC,
                frozenset({Level.METRIC}),
                lambda scene: all(wanted is text(scene.name.encode()) for wanted, text in names),
            )
        )
    return made


def _attributes_test(
    entries: Sequence[AttributeMatchConfig], match_type: str | None
) -> Callable[[Any], bool]:
    """Whether attributes, as a `Scene` has them, contain all of the entries."""
    make = _pattern_test if match_type == "regexp" else _value_test
    tests = [(entry.key, None if entry.value is None else make(entry.value)) for entry in entries]

    def test(attributes: Any) -> bool:
        return all(
            key in attributes and (matches is None or matches(attributes[key]))
            for key, matches in tests
        )

    return test


def _value_test(wanted: Any) -> Callable[[Any], bool]:
    if isinstance(wanted, list | tuple | dict):
        serialized = any_values.serialize(wanted)
        return lambda value: (
            hasattr(value, "SerializePartialToString")
            and value.SerializePartialToString(deterministic=True) == serialized
        )
    return lambda value: type(value) is type(wanted) and bool(value == wanted)


def _pattern_test(pattern: Any) -> Callable[[Any], bool]:
    search = compile_pattern(str(pattern)).search

    def test(value: Any) -> bool:
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, float):
            text = any_values.format_double(value)
        elif isinstance(value, str | int):
            text = str(value)
        else:
            return False
        return search(text.encode()) is not None

    return test


def _item_passes(
    signal: Signal, include: MatchConfig | None, exclude: MatchConfig | None
) -> list[Pass]:
    selection = Selection(include, exclude)
    if not selection:
        return []
    pairs = view(signal, Depth.FULL, "KeyValue").FromString
    items_test = _ItemTest(signal, selection, [m for m in (include, exclude) if m is not None])

    def by_item(wire: bytes, _metadata: Metadata) -> bytes:
        opened = Opened(signal, wire)
        wanted: list[bool] = []
        for group, scope_group in opened.scopes():
            attributes: list[Any] = []
            if selection.needs_resources:
                attributes = [_parsed(pairs, pair) for pair in group.resource.attributes]
            scope = scope_group.scope

            def shared(
                criteria: Criteria, attributes: Any = attributes, scope: Any = scope
            ) -> bool:
                return criteria.of_resource(attributes) and criteria.of_scope(
                    scope.name, scope.version
                )

            verdict = selection.of_group(shared)
            for _, items, _ in opened.lists(scope_group):
                if verdict is Verdict.EACH:
                    wanted += items_test.run(items, shared)
                else:
                    wanted += [verdict is Verdict.ALL] * len(items)
        return opened.keep_items(wanted)

    return [by_item]


class _ItemTest:
    """Whether items are meant, decided once for all that look the same to the criteria."""

    def __init__(self, signal: Signal, selection: Selection, given: Sequence[MatchConfig]) -> None:
        self._signal = signal
        self._selection = selection
        message = "LogRecord" if signal is Signal.LOGS else "Span"
        has_bodies = any(match.log_bodies for match in given)
        self._by_look = not has_bodies
        self._open = view(signal, Depth.POINT if self._by_look else Depth.FULL, message).FromString
        self._open_all = view(signal, Depth.FULL, message).FromString
        keys = {entry.key.encode() for match in given for entry in match.attributes}
        self._pick = Picker(keys).pick if keys else None
        names = ("severity_number", "severity_text") if signal is Signal.LOGS else ("name", "kind")
        if signal is Signal.LOGS:
            used = (
                any(match.log_severity_number is not None for match in given),
                any(match.log_severity_texts for match in given),
            )
        else:
            used = (
                any(match.span_names for match in given),
                any(match.span_kinds for match in given),
            )
        self._fields = [name for name, is_used in zip(names, used, strict=True) if is_used]

    def run(self, items: Any, shared: Callable[[Criteria], bool]) -> list[bool]:
        """The same for each item of a scope. Raises `MalformedError`."""
        of_item, signal = self._selection.of_item, self._signal
        if not self._by_look:
            return [of_item(shared, signal, _parsed(self._open, item)) for item in items]
        known: dict[tuple[Any, ...], bool] = {}
        found = []
        for wire in items:
            item: Any = _parsed(self._open, wire)
            look = tuple([getattr(item, name) for name in self._fields])
            if self._pick is not None:
                look += self._pick(item.attributes[:])
            answer = known.get(look)
            if answer is None:
                answer = of_item(shared, signal, _parsed(self._open_all, wire))
                known[look] = answer
            found.append(answer)
        return found


def _parsed(parse: Callable[[bytes], Any], wire: bytes) -> Any:
    try:
        return parse(wire)
    except DecodeError as error:
        raise MalformedError(f"broken attributes or item: {error}") from error
