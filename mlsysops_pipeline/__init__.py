"""OpenTelemetry Collector as a Python library."""
