"""Running a configuration: graph, life cycle, self-telemetry."""
