"""An OpenTelemetry Collector as a Python library.

What is listed here is the public API, together with the modules that component authors import:
`mlsysops_pipeline.component`, `.config`, `.pdata`, `.delivery`, `.transport`, `.errors` and
`.testing`. Programs that read telemetry back use `mlsysops_pipeline.query`. Names are imported
when they are first used, so that a program pays only for what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlsysops_pipeline.component import ExportResult, Factory, Kind, Settings, Stability
    from mlsysops_pipeline.errors import ConfigError, PermanentError, RetryableError
    from mlsysops_pipeline.functions.options import collector_processor
    from mlsysops_pipeline.functions.telemetry import Telemetry
    from mlsysops_pipeline.pdata.payload import Metadata, Payload
    from mlsysops_pipeline.pdata.signal import Signal
    from mlsysops_pipeline.registry import Registry
    from mlsysops_pipeline.service.collector import Collector

__all__ = [
    "Collector",
    "ConfigError",
    "ExportResult",
    "Factory",
    "Kind",
    "Metadata",
    "Payload",
    "PermanentError",
    "Registry",
    "RetryableError",
    "Settings",
    "Signal",
    "Stability",
    "Telemetry",
    "collector_processor",
]

_HOMES = {
    "Collector": "service.collector",
    "ConfigError": "errors",
    "ExportResult": "component",
    "Factory": "component",
    "Kind": "component",
    "Metadata": "pdata.payload",
    "Payload": "pdata.payload",
    "PermanentError": "errors",
    "Registry": "registry",
    "RetryableError": "errors",
    "Settings": "component",
    "Signal": "pdata.signal",
    "Stability": "component",
    "Telemetry": "functions.telemetry",
    "collector_processor": "functions.options",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
