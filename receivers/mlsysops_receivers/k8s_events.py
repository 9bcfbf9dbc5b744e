"""A placeholder: accepts files with `k8s_events`, and delivers nothing yet (components, B5).

The Collector's receiver makes a log record of each event of the Kubernetes API. Its keys are
checked here as they will be used, so that files which name it start; at start it says once that
it delivers nothing, and asks no API for anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mlsysops_pipeline.component import Factory, Kind, Settings, Stability
from mlsysops_pipeline.config.schema import ComponentConfig, ExtensionRef
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.placeholder import DELIVERS_NOTHING, Placeholder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.component import Entry

__all__ = ["FACTORY", "Config"]


class Config(ComponentConfig):
    """Keys of the Collector's receiver, with its defaults. None has an effect yet."""

    auth_type: Literal["serviceAccount", "kubeConfig", "tls", "none"] = "serviceAccount"
    """How we identify ourselves to the API."""
    context: str = ""
    """The context of the kubeconfig; empty means its current one."""
    namespaces: tuple[str, ...] = ()
    """Namespaces whose events are taken; empty means all."""
    k8s_leader_elector: ExtensionRef | None = None
    """The extension that says which of several replicas reports."""


def _create(
    config: Config,  # noqa: ARG001  the factory's contract
    settings: Settings,
    next_: Mapping[Signal, Entry],  # noqa: ARG001
) -> Placeholder:
    return Placeholder(settings)


FACTORY = Factory(
    kind=Kind.RECEIVER,
    type="k8s_events",
    config=Config,
    create=_create,
    signals=frozenset({Signal.LOGS}),
    stability=Stability.PLACEHOLDER,
    notes=DELIVERS_NOTHING,
)
