"""The environment of the MLSysOps framework, as options of a mode.

The framework's agents tell their collectors by `MLS_OTEL_*` variables where to listen and where to
send. Each counts only when it is set (an empty one counts as not set): the framework's defaults are
its own, with one exception, the port of a next hop of which only the host is known.
`configs/README.md` has the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.modes import ModeError, ModeOptions, port, remote_write_url

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME: Final = "environment (MLS_OTEL_*)"
"""What these values are called where `print-config` says where values come from."""
HOP_PORT: Final = 43170
"""Where the framework's collectors listen."""
CLUSTER_HOST: Final = "cluster-otel-collector.mlsysops-framework.svc.cluster.local"
"""The collector of the cluster as its nodes know it."""
_HOST = re.compile(r"[\w.:%\[\]-]+", re.ASCII)
_HOPS: Final = (
    "MLS_OTEL_HIGHER_EXPORT",
    "MLS_OTEL_CLUSTER_PORT",
    "MLS_OTEL_CONTINUUM_PORT",
    "MLS_OTEL_CONTINUUM_EXPORT_IP",
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the environment says. ``notes`` are warnings, a sentence each."""

    options: ModeOptions
    notes: list[str] = field(default_factory=list)


def read(environment: Mapping[str, str], mode: str, level: str | None) -> Reading:
    """Read the framework's variables for a collector of this mode and level.

    An agent without a level is one of a node. Raises `ModeError` for a value that is none, with
    the name of its variable.
    """
    variables = _Variables(environment)
    level = level or ("node" if mode == "agent" else None)
    page = variables.port("MLS_OTEL_PROMETHEUS_LISTEN_PORT")
    outside = variables.port("MLS_OTEL_PROM_PORT")
    notes: list[str] = []
    if page is not None and outside is not None and page != outside:
        notes.append(
            f"MLS_OTEL_PROMETHEUS_LISTEN_PORT ({page}) and MLS_OTEL_PROM_PORT ({outside}) differ: "
            f"the Prometheus endpoint listens on {page}"
        )
    options = ModeOptions(
        otlp_grpc_port=variables.port("MLS_OTEL_GRPC_PORT"),
        otlp_http_port=variables.port("MLS_OTEL_HTTP_PORT"),
        prometheus_port=outside if page is None else page,
        prometheus_listen=variables.host("MLS_OTEL_PROMETHEUS_LISTEN_IP"),
        export_to=_next_hop(variables, level, notes),
        remote_write=variables.url("MLS_OTEL_MIMIR_EXPORT_ENDPOINT"),
        loki=variables.url("MLS_OTEL_LOKI_EXPORT_ENDPOINT"),
        tempo=variables.peer("MLS_OTEL_TEMPO_EXPORT_ENDPOINT"),
    )
    return Reading(options, notes)


def _next_hop(variables: _Variables, level: str | None, notes: list[str]) -> str | None:
    """``HOST:PORT`` of the next level, if the variables of this level name one."""
    if level is None:
        known = [name for name in _HOPS if variables.text(name)]
        if known:
            notes.append(f"{known[0]} has no effect without --level")
        return None
    if level == "continuum":
        host = variables.host("MLS_OTEL_CONTINUUM_EXPORT_IP")
        return _hop(host, variables.port("MLS_OTEL_CONTINUUM_EXPORT_PORT"))
    is_wanted = variables.switch("MLS_OTEL_HIGHER_EXPORT")
    if is_wanted is False:
        return None
    if level == "node":
        number = variables.port("MLS_OTEL_CLUSTER_PORT")
        return _hop(CLUSTER_HOST, number) if is_wanted or number is not None else None
    host = variables.host("EJABBERD_DOMAIN")
    number = variables.port("MLS_OTEL_CONTINUUM_PORT")
    if host is None and (is_wanted or number is not None):
        cause = "MLS_OTEL_HIGHER_EXPORT" if is_wanted else "MLS_OTEL_CONTINUUM_PORT"
        notes.append(f"{cause} has no effect without EJABBERD_DOMAIN, the host of the continuum")
    return _hop(host, number)


def _hop(host: str | None, number: int | None) -> str | None:
    if host is None:
        return None
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{host}:{HOP_PORT if number is None else number}"


class _Variables:
    """Values by name; ``None`` for those that are not set."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str) -> str | None:
        return self._environment.get(name, "").strip() or None

    def port(self, name: str) -> int | None:
        text = self.text(name)
        return None if text is None else port(text, name)

    def host(self, name: str) -> str | None:
        text = self.text(name)
        if text is not None and not _HOST.fullmatch(text):
            raise ModeError(f"{name}: expected a host, got {text!r}")
        return text

    def url(self, name: str) -> str | None:
        text = self.text(name)
        # A dollar sign would begin a reference to another variable.
        return None if text is None else remote_write_url(text, name).replace("$", "$$")

    def peer(self, name: str) -> str | None:
        """``HOST:PORT`` or a URL."""
        text = self.text(name)
        if text is None or "://" in text:
            return self.url(name)
        host, _, number = text.rpartition(":")
        if not _HOST.fullmatch(host):
            raise ModeError(f"{name}: expected HOST:PORT or http://HOST:PORT, got {text!r}")
        return f"{host}:{port(number, name)}"

    def switch(self, name: str) -> bool | None:
        text = self.text(name)
        if text is None:
            return None
        if text.upper() not in {"ON", "OFF"}:
            raise ModeError(f"{name}: expected ON or OFF, got {text!r}")
        return text.upper() == "ON"
