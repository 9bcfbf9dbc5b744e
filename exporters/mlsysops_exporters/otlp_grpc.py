"""Sends OTLP over gRPC to a collector or backend (`otlp_grpc`, in older files `otlp`).

What it does is in `mlsysops_pipeline.delivery.otlp_grpc`, which other exporters use, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Factory, Kind, Stability
from mlsysops_pipeline.delivery.otlp_grpc import OtlpGrpcConfig, OtlpGrpcExporter
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Settings

__all__ = ["FACTORY", "Config", "OtlpGrpcExporter"]


class Config(OtlpGrpcConfig):
    """Keys of the Collector's exporter (components, A5), with its defaults."""


def _create(config: Config, settings: Settings, next_: None) -> OtlpGrpcExporter:  # noqa: ARG001
    return OtlpGrpcExporter(config, settings)


FACTORY = Factory(
    kind=Kind.EXPORTER,
    type="otlp_grpc",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    stability=Stability.STABLE,
    aliases=("otlp",),
)
