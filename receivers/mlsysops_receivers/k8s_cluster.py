"""A placeholder: accepts files with `k8s_cluster`, and delivers nothing yet (components, B3).

The Collector's receiver watches the Kubernetes API and reports the state of its objects. Its keys
are checked here as they will be used, so that files which name it start; at start it says once
that it delivers nothing, and asks no API for anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable  # noqa: TC003  pydantic reads annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

from mlsysops_pipeline.component import Factory, Kind, Settings, Stability
from mlsysops_pipeline.config.schema import (
    ComponentConfig,
    ExtensionRef,
    Finding,
    Severity,
    format_duration,
    parse_duration,
)
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.placeholder import DELIVERS_NOTHING, Placeholder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.component import Entry

__all__ = ["FACTORY", "Config", "Interval", "ItemConfig"]

_DAYS: Final = re.compile(r"([0-9]{1,5})d")
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Interval:
    """A duration in seconds. Days, too: templates put one text here and in `scrape_interval`."""

    seconds: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one. Raises `ValueError`."""
        days = _DAYS.fullmatch(text)
        seconds = int(days[1]) * _DAY_S if days else parse_duration(text)
        if seconds < 0:
            raise ValueError(f'"{text}" must not be negative')
        return cls(seconds)

    def __str__(self) -> str:
        return format_duration(self.seconds)


class ItemConfig(ComponentConfig):
    """One metric or attribute."""

    enabled: bool = True
    """Whether it is reported."""


class Config(ComponentConfig):
    """Keys of the Collector's receiver, with its defaults. None has an effect yet."""

    auth_type: Literal["serviceAccount", "kubeConfig", "tls", "none"] = "serviceAccount"
    """How we identify ourselves to the API."""
    context: str = ""
    """The context of the kubeconfig; empty means its current one."""
    collection_interval: Interval = Interval(10.0)
    """Time between two reports. 0 means the default: a template rounds half a second to it."""
    node_conditions_to_report: tuple[str, ...] = ("Ready",)
    """Conditions of nodes that become metrics."""
    allocatable_types_to_report: tuple[
        Literal["cpu", "memory", "ephemeral-storage", "storage", "pods"], ...
    ] = ()
    """Resources of nodes that become metrics."""
    distribution: Literal["kubernetes", "openshift"] = "kubernetes"
    """What the cluster runs."""
    metadata_collection_interval: Interval = Interval(300.0)
    """Time between two reports of metadata. 0: only when it changes."""
    metadata_exporters: tuple[str, ...] = ()
    """Exporters that are told when the metadata of an object changes."""
    namespaces: tuple[str, ...] = ()
    """Namespaces that are watched; empty means all, and objects of the cluster."""
    namespace: str = ""
    """The older form of `namespaces`, for one."""
    k8s_leader_elector: ExtensionRef | None = None
    """The extension that says which of several replicas reports."""
    metrics: dict[str, ItemConfig] = {}  # noqa: RUF012  models are frozen
    """Which metrics are reported, by name."""
    resource_attributes: dict[str, ItemConfig] = {}  # noqa: RUF012  models are frozen
    """Which attributes resources have, by name."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        if not self.collection_interval.seconds:
            yield Finding(
                ("collection_interval",),
                "0 means the default, 10s",
                Severity.WARNING,
                "write 500ms if half a second is meant",
            )
        if self.namespace:
            yield Finding(
                ("namespace",),
                "is deprecated",
                Severity.WARNING,
                f"write namespaces: [{self.namespace}]",
            )


def _create(
    config: Config,  # noqa: ARG001  the factory's contract
    settings: Settings,
    next_: Mapping[Signal, Entry],  # noqa: ARG001
) -> Placeholder:
    return Placeholder(settings)


FACTORY = Factory(
    kind=Kind.RECEIVER,
    type="k8s_cluster",
    config=Config,
    create=_create,
    signals=frozenset({Signal.METRICS, Signal.LOGS}),
    stability=Stability.PLACEHOLDER,
    notes=DELIVERS_NOTHING,
)
