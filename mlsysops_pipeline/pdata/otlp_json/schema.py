"""What both directions read from the official descriptors of OTLP.

Driven by descriptors, so that a field that a newer opentelemetry-proto knows is understood
without a change here. Only the ids, which OTLP writes as hex, are known by name.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mlsysops_pipeline.pdata.signal import Signal

ID_SIZES: Final = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
"""The ``bytes`` fields that are hex in OTLP/JSON, and how long they must be (OJ-1)."""

KEY_VALUE: Final = "opentelemetry.proto.common.v1.KeyValue"
"""The message that attributes are made of."""


@cache
def request_descriptor(signal: Signal) -> Any:
    """The descriptor of the signal's ``Export*ServiceRequest``, with presence as OTLP has it."""
    package = signal.service.rpartition(".")[0]
    name = signal.service.rpartition(".")[2].removesuffix("Service")
    noun = package.split(".")[-2]
    module = importlib.import_module(f"{package}.{noun}_service_pb2")
    return module.DESCRIPTOR.message_types_by_name[f"Export{name}ServiceRequest"]


def choice_of(field: Any) -> str:
    """The name of the oneof that the field belongs to; empty for none.

    The oneofs that protobuf makes up for ``optional`` fields do not count.
    """
    oneof = field.containing_oneof
    return oneof.name if oneof is not None and len(oneof.fields) > 1 else ""
