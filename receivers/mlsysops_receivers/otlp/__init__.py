"""The `otlp` receiver: OTLP over gRPC and over HTTP, protobuf and JSON.

    receivers:
      otlp:
        protocols:
          grpc:                       # present, even empty: on, at localhost:4317
          http: {endpoint: 0.0.0.0:4318}

One object and one pair of listeners for all signals; only signals with a pipeline are served.
A request is answered when its pipelines took responsibility, and refused as a whole otherwise;
partial success is never claimed. What a request holds stays bytes: it is checked down to the item
and, with ``validate: full``, to the last field.

Limits of one request: `max_recv_msg_size_mib` and `max_request_body_size` (64 MiB each, compressed
and not), ``max_elements`` (200,000).

Where it differs from the Collector, it follows the OTLP specification: errors always carry a
`google.rpc.Status`, too large is 413, success leaves `partial_success` unset, refusals that may be
tried again say when.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Factory, Kind, Stability
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_receivers.otlp.config import Config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlsysops_pipeline.component import Entry, Settings
    from mlsysops_receivers.otlp.receiver import OtlpReceiver

__all__ = ["FACTORY", "Config"]


def _create(config: Config, settings: Settings, next_: Mapping[Signal, Entry]) -> OtlpReceiver:
    # The servers are imported with the first receiver, not with its configuration.
    from mlsysops_receivers.otlp.receiver import OtlpReceiver  # noqa: PLC0415

    return OtlpReceiver(config, settings, next_)


FACTORY = Factory(
    kind=Kind.RECEIVER,
    type="otlp",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    stability=Stability.STABLE,
)
