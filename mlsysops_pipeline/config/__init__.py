"""Reading configuration: files to checked models, every value with its place."""

from mlsysops_pipeline.config.document import Configuration
from mlsysops_pipeline.config.loading import load_configuration
from mlsysops_pipeline.config.problems import Problem
from mlsysops_pipeline.config.schema import ComponentConfig, Severity
from mlsysops_pipeline.config.sources import ConfigurationSource, DictSource, SetSource

__all__ = [
    "ComponentConfig",
    "Configuration",
    "ConfigurationSource",
    "DictSource",
    "Problem",
    "SetSource",
    "Severity",
    "load_configuration",
]
