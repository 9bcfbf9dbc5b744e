"""Where data is kept and sent on: queue, batching, retry, for every exporter.

Exporters need `DeliveryConfig`; the service wraps each of them into a `sender.Sender`.
"""

from mlsysops_pipeline.delivery.config import (
    BatchConfig,
    DeliveryConfig,
    PartitionConfig,
    QueueConfig,
    RetryConfig,
)

__all__ = ["BatchConfig", "DeliveryConfig", "PartitionConfig", "QueueConfig", "RetryConfig"]
