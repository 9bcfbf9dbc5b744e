"""Sends OTLP over HTTP to a collector or backend (`otlp_http`, in older files `otlphttp`).

What it does is in `mlsysops_pipeline.delivery.otlp_http`, which other exporters use, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Factory, Kind, Stability
from mlsysops_pipeline.delivery.otlp_http import OtlpHttpConfig, OtlpHttpExporter
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Settings

__all__ = ["FACTORY", "Config", "OtlpHttpExporter"]


class Config(OtlpHttpConfig):
    """Keys of the Collector's exporter (components, A6), with its defaults."""


def _create(config: Config, settings: Settings, next_: None) -> OtlpHttpExporter:  # noqa: ARG001
    return OtlpHttpExporter(config, settings)


FACTORY = Factory(
    kind=Kind.EXPORTER,
    type="otlp_http",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    stability=Stability.STABLE,
    aliases=("otlphttp",),
)
