"""What is allowed and will disappoint: warnings that need more than one component to see.

Ports that the environment promises and nobody listens on, and series that leave a page before
they are refreshed. `receivers` of type `prometheus` are read as they are written, so this knows
their durations without knowing the component.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.network import Socket, listeners_of
from mlsysops_pipeline.config.problems import Problem, warning
from mlsysops_pipeline.config.values import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlsysops_pipeline.config.nodes import Node
    from mlsysops_pipeline.config.outline import Defined, Outline
    from mlsysops_pipeline.config.problems import Path
    from mlsysops_pipeline.ids import ComponentID

_OTLP_PORTS = {"grpc": "MLS_OTEL_GRPC_PORT", "http": "MLS_OTEL_HTTP_PORT"}
"""What the MLSysOps framework opens in Pods and Services for each protocol of a receiver."""
_PAGE_PORT = "MLS_OTEL_PROM_PORT"
_TARGET_PORT = "MLS_NODE_EXPORTER_PORT"
_TARGET_DEFAULT = 9200
_PORT = re.compile(r"[0-9]{1,5}")
_PROMETHEUS_DURATION = re.compile(
    "".join(rf"(?:([0-9]{{1,12}}){unit})?" for unit in ("y", "w", "d", "h", "m", "s", "ms"))
)
_UNITS_S = (365 * 86400.0, 7 * 86400.0, 86400.0, 3600.0, 60.0, 1.0, 0.001)
_GLOBAL_INTERVAL_S = 60.0
"""How often Prometheus scrapes unless told."""
_PUSHED_EXPIRATION_MIN_S = 30.0
"""Pushers export every 10 s, 30 s or 60 s: a page that forgets sooner shows holes."""


def check(outline: Outline, environment: Mapping[str, str]) -> list[Problem]:
    """Every piece of advice."""
    return [
        *_ports(outline, environment),
        *_targets(outline, environment),
        *_expirations(outline),
    ]


def _port_of(environment: Mapping[str, str], name: str) -> int | None:
    """The port that a variable names; ``None`` if it is not set, or no port."""
    text = environment.get(name, "").strip()
    return int(text) if _PORT.fullmatch(text) and 0 < int(text) <= 65535 else None


def _ports(outline: Outline, environment: Mapping[str, str]) -> Iterator[Problem]:
    page = _port_of(environment, _PAGE_PORT)
    for component in outline.used():
        if component.config is None:
            continue
        if component.kind is Kind.RECEIVER and component.id.type == "otlp":
            yield from _otlp_ports(component, environment)
        if component.kind is Kind.EXPORTER and component.id.type == "prometheus" and page:
            for listener in listeners_of(component):
                if listener.port not in {0, page}:
                    yield _nobody(listener, _PAGE_PORT, page)


def _otlp_ports(component: Defined, environment: Mapping[str, str]) -> Iterator[Problem]:
    listeners = {str(s.path[-2]): s for s in listeners_of(component) if len(s.path) > 1}
    ports = {name: _port_of(environment, name) for name in _OTLP_PORTS.values()}
    for protocol, listener in listeners.items():
        port = ports.get(_OTLP_PORTS.get(protocol, ""))
        if port is not None and listener.port not in {0, port}:
            yield _nobody(listener, _OTLP_PORTS[protocol], port)
    port, http = ports["MLS_OTEL_GRPC_PORT"], listeners.get("http")
    if http is not None and not http.is_written and "grpc" not in listeners and port is not None:
        yield _nobody(http, "MLS_OTEL_GRPC_PORT", port)


def _nobody(listener: Socket, name: str, port: int) -> Problem:
    default = "" if listener.is_written else ", the default,"
    message = (
        f"listens on {listener.address}{default} while {name} is {port}: "
        f"the Pod and the Service open port {port}, where nobody listens"
    )
    host = listener.host if listener.is_written else "0.0.0.0"  # noqa: S104  a suggestion
    host = f"[{host}]" if ":" in host else host
    return warning(listener.position, listener.path, message, f"write endpoint: {host}:{port}")


def _targets(outline: Outline, environment: Mapping[str, str]) -> Iterator[Problem]:
    port = _port_of(environment, _TARGET_PORT)
    if port in {None, _TARGET_DEFAULT}:
        return
    for _, scrape, path in _scrape_configs(outline):
        for step, static in _items(scrape.child("static_configs")):
            for index, target in _items(static.child("targets")):
                if str(target.value).endswith(f":{_TARGET_DEFAULT}"):
                    where = (*path, "static_configs", step, "targets", index)
                    message = (
                        f"scrapes port {_TARGET_DEFAULT} while {_TARGET_PORT} is {port}: "
                        "the node exporter of the framework listens there"
                    )
                    yield warning(target.position, where, message, f"write port {port}")


def _written(node: Node, *keys: str) -> Node | None:
    """What stands under these keys, if it is written."""
    found, steps = node.find(keys)
    return found if steps == len(keys) else None


def _items(node: Node | None) -> Iterator[tuple[int, Node]]:
    if node is not None and isinstance(node.value, list):
        yield from enumerate(node.value)


def _scrape_configs(outline: Outline) -> Iterator[tuple[Defined, Node, Path]]:
    """Every scrape configuration of the receivers that run, as written, with its path."""
    for component in outline.used():
        if component.kind is Kind.RECEIVER and component.id.type == "prometheus":
            for index, scrape in _items(_written(component.node, "config", "scrape_configs")):
                yield component, scrape, (*component.path, "config", "scrape_configs", index)


@dataclass(frozen=True, slots=True)
class _Interval:
    """How often a receiver gets data, and who says so."""

    seconds: float
    text: str


def _seconds(node: Node | None) -> float | None:
    """The duration in a node by the rules of Prometheus or Go; ``None`` if there is none."""
    text = "" if node is None or node.value is None or node.is_tree else str(node.value)
    if not text:
        return None
    if text == "0":
        return 0.0
    if match := _PROMETHEUS_DURATION.fullmatch(text):
        parts = zip(match.groups(), _UNITS_S, strict=True)
        return sum(int(count) * unit for count, unit in parts if count)
    try:
        return parse_duration(text)
    except ValueError:
        return None


def _global_interval_s(component: Defined) -> float:
    return _seconds(_written(component.node, "config", "global", "scrape_interval")) or (
        _GLOBAL_INTERVAL_S
    )


def _longest(outline: Outline, receivers: list[Defined]) -> _Interval | None:
    """The longest interval of receivers that fetch data; ``None`` where all is pushed."""
    known: list[_Interval] = []
    ids = {receiver.id for receiver in receivers}
    for component, scrape, path in _scrape_configs(outline):
        if component.id not in ids:
            continue
        seconds = _seconds(scrape.child("scrape_interval")) or _global_interval_s(component)
        job = scrape.child("job_name")
        name = f"job {job.value}" if job is not None else f"scrape_configs[{path[-1]}]"
        known.append(_Interval(seconds, f"{name} is scraped every {format_duration(seconds)}"))
    for component in receivers:
        node = component.node.child("collection_interval")
        if collected_s := _seconds(node):
            text = f"{component.id} collects every {format_duration(collected_s)}"
            known.append(_Interval(collected_s, text))
    return max(known, key=lambda interval: interval.seconds, default=None)


def _expirations(outline: Outline) -> Iterator[Problem]:
    """Pages that forget a series before its next value may come."""
    for component in outline.used():
        expiration_s = getattr(component.config, "metric_expiration", None)
        is_page = component.kind is Kind.EXPORTER and component.id.type == "prometheus"
        if not is_page or not expiration_s:
            continue
        receivers = _feeders(outline, component.id)
        longest = _longest(outline, receivers)
        if longest is not None:
            wanted_s, cause = 2 * longest.seconds, longest.text
        elif any(receiver.id.type == "otlp" for receiver in receivers):
            wanted_s, cause = _PUSHED_EXPIRATION_MIN_S, "programs push every 10 s, or more rarely"
        else:
            continue
        if expiration_s < wanted_s:
            message = (
                f"series leave the page {format_duration(expiration_s)} after their last value, "
                f"and {cause}: one late value, and readers see a hole"
            )
            hint = f"metric_expiration should be at least {format_duration(wanted_s)}"
            node = _written(component.node, "metric_expiration")
            if node is None:
                yield warning(component.node.at, component.path, message, hint)
            else:
                path = (*component.path, "metric_expiration")
                yield warning(node.position, path, message, hint)


def _feeders(outline: Outline, exporter: ComponentID) -> list[Defined]:
    """The receivers whose data reaches an exporter, over connectors too."""
    found: dict[ComponentID, Defined] = {}
    seen: set[ComponentID] = set()
    waiting = [exporter]
    while waiting:
        end = waiting.pop()
        for pipeline in outline.using("exporters", end):
            for id_ in pipeline.ids("receivers"):
                component = outline.kind_of_member("receivers", id_)
                if component is None or id_ in seen:
                    continue
                seen.add(id_)
                if component.kind is Kind.CONNECTOR:
                    waiting.append(id_)
                else:
                    found[id_] = component
    return list(found.values())
