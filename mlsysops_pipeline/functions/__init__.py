"""A user's own Python as a processor: what it is given, how it is found, and how it is called.

A function takes one `Telemetry` and changes it, or says what comes instead of it. It is named in
a configuration (the processor `python`) or given to `Collector` by the program that embeds it.
"""

from mlsysops_pipeline.functions.attributes import Attributes
from mlsysops_pipeline.functions.options import collector_processor
from mlsysops_pipeline.functions.telemetry import (
    LogRecord,
    Metric,
    Point,
    Resource,
    Span,
    Telemetry,
    ViewError,
)

__all__ = [
    "Attributes",
    "LogRecord",
    "Metric",
    "Point",
    "Resource",
    "Span",
    "Telemetry",
    "ViewError",
    "collector_processor",
]
