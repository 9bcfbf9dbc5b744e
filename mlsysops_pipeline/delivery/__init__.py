"""Where data is kept and sent on: queue, batching, retry, for every exporter."""
