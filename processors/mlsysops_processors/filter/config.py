"""The keys of the filter processor (component reference, C3)."""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003  pydantic reads annotations
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from mlsysops_pipeline.conditions import CONTEXTS, ConditionError, Level, compile_condition
from mlsysops_pipeline.config.schema import ComponentConfig, Finding, Section, refused
from mlsysops_pipeline.patterns import compile_pattern
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_processors.attributes.matching import (
    AttributeMatchConfig,
    MatchConfig,
    RegexpConfig,
)
from mlsysops_processors.attributes.matching import SeverityConfig as LeastSeverity

CONTEXT_SIGNALS = {
    "metric": Signal.METRICS,
    "datapoint": Signal.METRICS,
    "log": Signal.LOGS,
    "span": Signal.TRACES,
}
"""The contexts that belong to one signal; ``resource`` belongs to all."""


class MetricMatchConfig(ComponentConfig):
    """Criteria for metrics: of names one must match, of resource attributes all."""

    match_type: Literal["strict", "regexp", "expr"] | None = None
    """Whether texts are compared or searched for patterns (RE2); must be given."""
    metric_names: tuple[str, ...] = ()
    """Names of metrics."""
    resource_attributes: tuple[AttributeMatchConfig, ...] = ()
    """Attributes of the resource."""
    expressions: Annotated[
        tuple[str, ...], refused("write conditions for datapoint instead", unless=())
    ] = ()
    """Of the Collector: expressions over data points."""
    regexp: Section[RegexpConfig] = None
    """Settings of the Collector that have no effect here."""

    def check(self) -> Iterable[Finding]:
        """A way to match, something to match, and patterns that are patterns."""
        if self.match_type is None:
            yield Finding(("match_type",), "is missing: use strict or regexp")
        elif self.match_type == "expr":
            yield Finding(
                ("match_type",), "expr is not supported: write conditions for datapoint instead"
            )
        if not (self.metric_names or self.resource_attributes):
            yield Finding((), "metric_names or resource_attributes is needed")
        if self.match_type == "regexp":
            yield from _check_patterns("metric_names", self.metric_names)
            yield from _check_values("resource_attributes", self.resource_attributes)


@dataclass(frozen=True, slots=True)
class LogSeverity:
    """A severity of log records, written as a number or by its short name in any case."""

    number: int

    takes_scalars: ClassVar[bool] = True

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 1 to 24, or TRACE, TRACE2 ... FATAL4. Raises `ValueError`."""
        names = {
            f"{name}{number or ''}": 4 * index + max(number, 1)
            for index, name in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"))
            for number in (0, 2, 3, 4)
        }
        known = {**names, **{str(number): number for number in range(1, 25)}}
        found = known.get(text.upper())
        if found is None:
            raise ValueError(f'"{text}" is no severity: use TRACE to FATAL4, or 1 to 24')
        return cls(found)

    def __str__(self) -> str:
        return str(self.number)


class SeverityConfig(ComponentConfig):
    """A least severity of log records."""

    min: LogSeverity = LogSeverity(0)
    """From TRACE (1) to FATAL4 (24), by name or number."""
    match_undefined: bool = False
    """Whether records without a severity match."""


class LogMatchConfig(ComponentConfig):
    """Criteria for log records: every one that is given must be met."""

    match_type: Literal["strict", "regexp"] | None = None
    """Whether texts are compared or searched for patterns (RE2); needed for all but severities."""
    resource_attributes: tuple[AttributeMatchConfig, ...] = ()
    """Attributes of the resource; all must match."""
    record_attributes: tuple[AttributeMatchConfig, ...] = ()
    """Attributes of the record; all must match."""
    severity_texts: tuple[str, ...] = ()
    """``severity_text``; one must match."""
    severity_number: Section[SeverityConfig] = None
    """The least ``severity_number``."""
    bodies: tuple[str, ...] = ()
    """Bodies, as the text that the Collector makes of one; one must match."""

    def check(self) -> Iterable[Finding]:
        """A way to match, something to match, and patterns that are patterns."""
        texts = self.severity_texts + self.bodies
        given = (self.resource_attributes, self.record_attributes, texts)
        if self.match_type is None and (any(given) or not self.severity_number):
            yield Finding(("match_type",), "is missing: use strict or regexp")
        if not (any(given) or self.severity_number):
            yield Finding(
                (),
                "at least one of bodies, record_attributes, resource_attributes, severity_number "
                "and severity_texts is needed",
            )
        if self.match_type == "regexp":
            yield from _check_patterns("severity_texts", self.severity_texts)
            yield from _check_patterns("bodies", self.bodies)
            yield from _check_values("resource_attributes", self.resource_attributes)
            yield from _check_values("record_attributes", self.record_attributes)

    def as_match(self) -> MatchConfig:
        """The same in the words of the processor `attributes`."""
        least = self.severity_number
        severity = None
        if least is not None:
            severity = LeastSeverity(min=least.min.number, match_undefined=least.match_undefined)
        return MatchConfig(
            match_type=self.match_type,
            attributes=self.record_attributes,
            resources=self.resource_attributes,
            log_severity_texts=self.severity_texts,
            log_severity_number=severity,
            log_bodies=self.bodies,
        )


class MetricsConfig(ComponentConfig):
    """Which metrics stay: by criteria, or by conditions."""

    include: Section[MetricMatchConfig] = None
    """Only these metrics stay."""
    exclude: Section[MetricMatchConfig] = None
    """These metrics go, and all metrics of resources that match."""
    metric: tuple[str, ...] = ()
    """Conditions in the context metric; a metric for which one is true goes."""
    datapoint: tuple[str, ...] = ()
    """Conditions in the context datapoint; a point for which one is true goes."""

    def check(self) -> Iterable[Finding]:
        """Criteria or conditions, and conditions that are understood."""
        yield from _check_style(self, ("metric", "datapoint"))
        yield from _check_conditions("metric", self.metric, "metric")
        yield from _check_conditions("datapoint", self.datapoint, "datapoint")


class LogsConfig(ComponentConfig):
    """Which log records stay: by criteria, or by conditions."""

    include: Section[LogMatchConfig] = None
    """Only these records stay."""
    exclude: Section[LogMatchConfig] = None
    """These records go."""
    log_record: tuple[str, ...] = ()
    """Conditions in the context log; a record for which one is true goes."""

    def check(self) -> Iterable[Finding]:
        """Criteria or conditions, and conditions that are understood."""
        yield from _check_style(self, ("log_record",))
        yield from _check_conditions("log_record", self.log_record, "log")


class SpansConfig(ComponentConfig):
    """Which spans stay, by criteria."""

    include: Section[MatchConfig] = None
    """Only these spans stay."""
    exclude: Section[MatchConfig] = None
    """These spans go."""

    def check(self) -> Iterable[Finding]:
        """Only what spans have."""
        for name in ("include", "exclude"):
            match = getattr(self, name)
            for criterion in match.not_allowed(Signal.TRACES) if match is not None else ():
                yield Finding((name, criterion), "cannot be used for spans")


class TracesConfig(ComponentConfig):
    """Which spans stay, by conditions."""

    span: tuple[str, ...] = ()
    """Conditions in the context span; a span for which one is true goes."""
    spanevent: Annotated[
        tuple[str, ...], refused("conditions on events of spans are not there yet", unless=())
    ] = ()
    """Of the Collector: conditions on events of spans."""

    def check(self) -> Iterable[Finding]:
        """Conditions that are understood."""
        yield from _check_conditions("span", self.span, "span")


class Config(ComponentConfig):
    """What is removed, for each signal; nothing unless written."""

    error_mode: Literal["ignore", "silent", "propagate"] = "ignore"
    """What to do when a condition fails; those that are supported here never do."""
    metrics: Section[MetricsConfig] = None
    """Of metrics, the older way."""
    logs: Section[LogsConfig] = None
    """Of logs, the older way."""
    spans: Section[SpansConfig] = None
    """Of traces, the oldest way."""
    traces: Section[TracesConfig] = None
    """Of traces, the older way."""
    metric_conditions: tuple[str, ...] = ()
    """Conditions with prefixed paths (``resource.``, ``metric.``, ``datapoint.``); what one is true
    for goes, with all that is in it."""
    log_conditions: tuple[str, ...] = ()
    """The same for logs (``resource.``, ``log.``)."""
    trace_conditions: tuple[str, ...] = ()
    """The same for traces (``resource.``, ``span.``)."""

    def check(self) -> Iterable[Finding]:
        """One way for each signal, and conditions of the right signal."""
        for key, older, signal in (
            ("metric_conditions", ("metrics",), Signal.METRICS),
            ("log_conditions", ("logs",), Signal.LOGS),
            ("trace_conditions", ("spans", "traces"), Signal.TRACES),
        ):
            conditions = getattr(self, key)
            for name in older:
                if conditions and getattr(self, name) is not None:
                    yield Finding(
                        (key,),
                        f"cannot use context inferred {signal} conditions and the settings "
                        f'"{name}" at the same time',
                    )
            for index, text in enumerate(conditions):
                yield from _check_inferred((key, index), text, signal)
        if self.spans is not None and self.traces is not None and self.traces.span:
            yield Finding(("spans",), 'cannot be used together with conditions in "traces"')


def _check_style(config: Any, keys: Iterable[str]) -> Iterable[Finding]:
    if (config.include or config.exclude) and any(getattr(config, key) for key in keys):
        yield Finding((), "cannot use include/exclude and conditions at the same time")


def _check_conditions(key: str, texts: Iterable[str], context: str) -> Iterable[Finding]:
    for index, text in enumerate(texts):
        try:
            compile_condition(text, context)
        except ConditionError as error:
            yield Finding((key, index), str(error))


def _check_inferred(path: tuple[str, int], text: str, signal: Signal) -> Iterable[Finding]:
    try:
        context = compile_condition(text).context
    except ConditionError as error:
        yield Finding(path, str(error))
        return
    if CONTEXT_SIGNALS.get(context, signal) is not signal:
        yield Finding(path, f"the context {context} does not exist in {signal}")
    elif CONTEXTS[context] < Level.RESOURCE:
        yield Finding(path, "looks at nothing in the data: use a path such as resource.attributes")


def _check_patterns(key: str, texts: Iterable[str]) -> Iterable[Finding]:
    for index, text in enumerate(texts):
        try:
            compile_pattern(text)
        except ValueError as error:
            yield Finding((key, index), f"no regular expression: {error}")


def _check_values(key: str, entries: Iterable[AttributeMatchConfig]) -> Iterable[Finding]:
    for index, entry in enumerate(entries):
        if isinstance(entry.value, str):
            for finding in _check_patterns("value", (entry.value,)):
                yield Finding((key, index, "value"), finding.message)
