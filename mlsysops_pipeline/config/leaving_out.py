"""What a configuration can run without: exporters that cannot work where they stand.

A list of exporters is where deployment templates put what somebody may have configured. So three
mistakes in it cost only the exporter, as long as its pipeline keeps another one: it is not
defined, it has ``endpoint:`` with nothing behind it, or it is a `tempo` exporter in a pipeline of
metrics or logs. A pipeline that keeps none is left out, with whatever only leads to it or from it.
If nothing remains the mistakes are errors, and so are all others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.outline import MEMBERS
from mlsysops_pipeline.config.problems import Problem, Severity
from mlsysops_pipeline.config.wording import did_you_mean, empty_names
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlsysops_pipeline.config.convert import Reference
    from mlsysops_pipeline.config.outline import Defined, Outline, PipelineOutline
    from mlsysops_pipeline.ids import ComponentID, PipelineID

NO_ENDPOINT = "no_endpoint"
"""The code of problems about exporters that have no endpoint."""
_TRACES_ONLY = frozenset({"tempo"})
"""Types that templates put into pipelines of other signals. Elsewhere that is an error."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why a member of a list of exporters cannot run there. No message: it is told elsewhere."""

    member: Reference
    message: str = ""
    suggestion: str = ""


@dataclass(slots=True)
class _Plan:
    """One pipeline, and what it would run with."""

    outline: PipelineOutline
    exporters: list[Reference]
    receivers: list[Reference]
    faults: list[_Fault]
    reason: str = ""
    """Why it is left out; empty: it runs."""


def effective(outline: Outline) -> tuple[Outline, list[Problem]]:
    """The outline of what can run, and what was said about the rest.

    Without anything to leave out it is the same outline. Where nothing would remain it is, too,
    and the problems are errors.
    """
    plans = {id_: _plan(outline, pipeline) for id_, pipeline in outline.pipelines.items()}
    while sum(_shrink(outline, plans, plan) for plan in plans.values() if not plan.reason):
        pass
    is_refused = all(plan.reason for plan in plans.values())
    problems = [p for plan in plans.values() for p in _told(plan, is_refused=is_refused)]
    without = [c for c in outline.components[Kind.EXPORTER].values() if c.no_endpoint]
    for component in without:
        problems += _about_endpoint(outline, component, is_refused=is_refused)
    if is_refused or not problems:
        return outline, problems
    return _reduced(outline, plans), problems


def _plan(outline: Outline, pipeline: PipelineOutline) -> _Plan:
    faults: dict[ComponentID, _Fault] = {}
    for member in pipeline.members["exporters"]:
        if member.id not in faults and (fault := _fault(outline, pipeline, member)) is not None:
            faults[member.id] = fault
    kept = [member for member in pipeline.members["exporters"] if member.id not in faults]
    return _Plan(pipeline, kept, list(pipeline.members["receivers"]), list(faults.values()))


def _fault(outline: Outline, pipeline: PipelineOutline, member: Reference) -> _Fault | None:
    component = outline.kind_of_member("exporters", member.id)
    if component is None:
        message = f'references exporter "{member.id}" which is not configured'
        return _Fault(member, message, undefined_hint(outline, "exporters", member.id))
    factory, signal = component.factory, pipeline.id.signal
    if factory is not None and signal not in factory.signals and is_lenient(component):
        message = f'exporter "{member.id}" does not support {signal}: Tempo stores traces'
        return _Fault(member, message, _elsewhere(outline, member.id))
    return _Fault(member) if component.no_endpoint else None


def is_lenient(component: Defined) -> bool:
    """Whether a component in a pipeline of a signal that it does not support is left out there."""
    is_exporter = component.kind is Kind.EXPORTER and component.factory is not None
    return is_exporter and component.id.type in _TRACES_ONLY


def undefined_hint(outline: Outline, name: str, id_: ComponentID) -> str:
    """What to do about a member that is not defined."""
    known = [str(other) for other in outline.components[MEMBERS[name]]]
    if name != "processors":
        known += [str(other) for other in outline.components[Kind.CONNECTOR]]
    elsewhere = [kind for kind, components in outline.components.items() if id_ in components]
    is_exporter = name == "exporters"
    if elsewhere and not (is_exporter and elsewhere == [Kind.RECEIVER]):
        return f"it is configured in {elsewhere[0].section}"
    hint = did_you_mean(str(id_), known) if known else f"{name} has no entries"
    if not is_exporter or hint.startswith("did you mean"):
        return hint
    return f"define exporters.{id_}, or take it off this list"


def _elsewhere(outline: Outline, id_: ComponentID) -> str:
    if any(pipeline.id.signal is Signal.TRACES for pipeline in outline.using("exporters", id_)):
        return "take it off this list"
    if any(id_.signal is Signal.TRACES for id_ in outline.pipelines):
        return "put it into the traces pipeline instead"
    return "put it into a pipeline traces instead; without one no traces are received"


def _shrink(outline: Outline, plans: dict[PipelineID, _Plan], plan: _Plan) -> bool:
    """Take out what leads to, or comes from, pipelines that are left out. Whether anything was."""
    members = plan.outline.members
    if members["exporters"] and not plan.exporters:
        plan.reason = "none of its exporters can run"
        return True
    dead = [m for m in plan.exporters if _leads_nowhere(outline, plans, plan, m.id)]
    for member in dead:
        plan.exporters.remove(member)
        message = f'connector "{member.id}" leads only to pipelines that are left out'
        plan.faults.append(_Fault(member, message))
    dry = [m for m in plan.receivers if _gives_nothing(outline, plans, m.id)]
    for member in dry:
        plan.receivers.remove(member)
    if dry and not plan.receivers:
        plan.reason = "everything that feeds it is left out"
    return bool(dead or dry)


def _leads_nowhere(
    outline: Outline, plans: dict[PipelineID, _Plan], plan: _Plan, id_: ComponentID
) -> bool:
    connector = _connector(outline, "exporters", id_)
    if connector is None or connector.factory is None:
        return False
    targets = [
        target
        for target in outline.using("receivers", id_)
        if (plan.outline.id.signal, target.id.signal) in connector.factory.pairs
    ]
    return bool(targets) and all(plans[target.id].reason for target in targets)


def _gives_nothing(outline: Outline, plans: dict[PipelineID, _Plan], id_: ComponentID) -> bool:
    if _connector(outline, "receivers", id_) is None:
        return False
    sources = outline.using("exporters", id_)
    return bool(sources) and all(
        plans[source.id].reason or all(m.id != id_ for m in plans[source.id].exporters)
        for source in sources
    )


def _connector(outline: Outline, name: str, id_: ComponentID) -> Defined | None:
    found = outline.kind_of_member(name, id_)
    return found if found is not None and found.kind is Kind.CONNECTOR else None


def _told(plan: _Plan, *, is_refused: bool) -> Iterator[Problem]:
    severity = Severity.ERROR if is_refused else Severity.WARNING
    runs = "" if plan.reason else "; the pipeline runs without it"
    for fault in plan.faults:
        if fault.message:
            at, path = fault.member.position, fault.member.path
            yield Problem(severity, at, path, fault.message + runs, fault.suggestion)
    if plan.reason and not is_refused:
        at, path = plan.outline.node.at, plan.outline.path
        yield Problem(Severity.LEFT_OUT, at, path, f"is left out: {plan.reason}")


def _about_endpoint(outline: Outline, component: Defined, *, is_refused: bool) -> Iterable[Problem]:
    if is_refused and outline.using("exporters", component.id):
        return component.no_endpoint
    node = component.node.find(("endpoint",))[0]
    cause = empty_names(node.empty) if node.empty else "nothing is written here"
    message = f'{cause}, so exporter "{component.id}" has no endpoint and is left out'
    hint = "write its address, or remove the exporter"
    if not node.empty:
        hint += "; templates write this when a variable is empty"
    path = (*component.path, "endpoint")
    return [Problem(Severity.WARNING, node.position, path, message, hint, code=NO_ENDPOINT)]


def _reduced(outline: Outline, plans: dict[PipelineID, _Plan]) -> Outline:
    exporters = outline.components[Kind.EXPORTER]
    components = {
        **outline.components,
        Kind.EXPORTER: {id_: c for id_, c in exporters.items() if not c.no_endpoint},
    }
    reduced = replace(outline, components=components, pipelines={}, _users={})
    for plan in plans.values():
        if not plan.reason:
            members = plan.outline.members
            members = {**members, "receivers": plan.receivers, "exporters": plan.exporters}
            reduced.add(replace(plan.outline, members=members))
    return reduced
