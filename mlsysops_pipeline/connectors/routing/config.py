"""The keys of the routing connector (component reference, D1)."""

from __future__ import annotations

import re
from collections.abc import Iterable  # noqa: TC003  pydantic reads annotations
from typing import Annotated, Literal

from mlsysops_pipeline.component import PipelineID
from mlsysops_pipeline.conditions import CONTEXTS, Condition, ConditionError, compile_condition
from mlsysops_pipeline.config.problems import Path  # noqa: TC001  pydantic reads annotations
from mlsysops_pipeline.config.schema import (
    CaseInsensitive,
    ComponentConfig,
    Finding,
    Severity,
    refused,
)
from mlsysops_pipeline.pdata.signal import Signal

_STATEMENT = re.compile(r"\s*route\(\s*\)(?:\s+where\s+(?P<condition>.*))?\s*", re.DOTALL)


_CONTEXT_SIGNALS = {
    "metric": Signal.METRICS,
    "datapoint": Signal.METRICS,
    "log": Signal.LOGS,
    "span": Signal.TRACES,
}


class RouteConfig(ComponentConfig):
    """One row of the table: which data, and where to."""

    context: str = ""
    """What is chosen: resource, metric, datapoint, log, span or otelcol (``request``, for what the
    sender's headers say). Empty: what the deepest prefix of a path tells, else resource."""
    condition: str = ""
    """Which data. Comparison of attributes in OTTL's form; an error names what there is."""
    statement: str = ""
    """The same as ``route() where CONDITION``; ``route()`` alone takes everything."""
    pipelines: tuple[PipelineID, ...] = ()
    """Where to: pipelines that have this connector as a receiver."""
    action: Annotated[Literal["move", "copy"], CaseInsensitive()] = "move"
    """move: later rows and the default do not see what this row took. copy: they do."""

    def check(self) -> Iterable[Finding]:
        """One condition that is understood, and a pipeline."""
        if not self.pipelines:
            yield Finding(("pipelines",), "invalid route: no pipelines defined")
        if self.condition and self.statement:
            yield Finding((), "invalid route: both condition and statement provided")
            return
        if not (self.condition or self.statement):
            yield Finding((), "invalid route: no condition or statement provided")
            return
        if self.context and self.context not in CONTEXTS:
            yield Finding(
                ("context",),
                f"invalid context: {self.context}",
                suggestion=f"one of {', '.join(CONTEXTS)}",
            )
            return
        if self.context == "request" and self.statement:
            yield Finding(("statement",), "\"request\" context requires a 'condition'")
            return
        try:
            context = self.compiled().context
        except ConditionError as error:
            yield Finding(("condition" if self.condition else "statement",), str(error))
            return
        signal = _CONTEXT_SIGNALS.get(context)
        for index, pipeline in enumerate(self.pipelines):
            if signal is not None and pipeline.signal is not signal:
                message = f'the context {context} does not exist in pipeline "{pipeline}"'
                yield Finding(("pipelines", index), message)

    def compiled(self) -> Condition:
        """The condition. Raises `ConditionError`."""
        if self.condition:
            return compile_condition(self.condition, self.context)
        return compile_statement(self.statement, self.context)


def compile_statement(statement: str, context: str = "") -> Condition:
    """The condition of ``route() where CONDITION``. Raises `ConditionError`."""
    match = _STATEMENT.fullmatch(statement)
    if match is None:
        raise ConditionError(
            "only `route()` and `route() where CONDITION` are supported as statements"
        )
    return compile_condition(match["condition"] or "true == true", context)


class Config(ComponentConfig):
    """A table of at least one row, and where the rest goes."""

    table: tuple[RouteConfig, ...] = ()
    """The rows, in order: the first that moves an item is the last to see it."""
    default_pipelines: tuple[PipelineID, ...] = ()
    """Where data goes that no row moved. None: it is dropped and counted as ``no_route``."""
    error_mode: Literal["ignore", "silent", "propagate"] = "ignore"
    """What to do when a condition fails; those that are supported here never do."""
    match_once: Annotated[bool, refused("the Collector has removed it", unless=True)] = True
    """Only for old files, where true asks for what a ``move`` does."""

    def sends_to(self) -> Iterable[tuple[Path, PipelineID]]:
        """The pipelines of every row, and those for the rest."""
        for number, route in enumerate(self.table):
            for index, pipeline in enumerate(route.pipelines):
                yield ("table", number, "pipelines", index), pipeline
        for index, pipeline in enumerate(self.default_pipelines):
            yield ("default_pipelines", index), pipeline

    def check(self) -> Iterable[Finding]:
        """A table is needed; what has no default can be lost."""
        if not self.table:
            yield Finding(("table",), "invalid routing table: the routing table is empty")
        elif not self.default_pipelines:
            yield Finding(
                (),
                "without default_pipelines, data that no row of the table moves is dropped "
                "(reason no_route)",
                Severity.WARNING,
            )
