"""`prometheus.WriteRequest` by protobuf itself, from the message definition: nothing of ours."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

STALE_BITS = 0x7FF0000000000002

_KINDS = {
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "sint32": FieldDescriptorProto.TYPE_SINT32,
    "sint64": FieldDescriptorProto.TYPE_SINT64,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "string": FieldDescriptorProto.TYPE_STRING,
}
_MESSAGES = """
WriteRequest: repeated TimeSeries timeseries 1, repeated MetricMetadata metadata 3
TimeSeries: repeated Label labels 1, repeated Sample samples 2, repeated Exemplar exemplars 3, \
repeated Histogram histograms 4
Label: string name 1, string value 2
Sample: double value 1, int64 timestamp 2
Exemplar: repeated Label labels 1, double value 2, int64 timestamp 3
MetricMetadata: int32 type 1, string metric_family_name 2, string help 4, string unit 5
BucketSpan: sint32 offset 1, uint32 length 2
Histogram: uint64 count_int 1, double sum 3, sint32 schema 4, double zero_threshold 5, \
uint64 zero_count_int 6, repeated BucketSpan negative_spans 8, repeated sint64 negative_deltas 9, \
repeated BucketSpan positive_spans 11, repeated sint64 positive_deltas 12, int32 reset_hint 14, \
int64 timestamp 15
"""


@cache
def _pool() -> DescriptorPool:
    file = FileDescriptorProto(name="prompb.proto", package="prometheus", syntax="proto3")
    for line in filter(None, _MESSAGES.splitlines()):
        name, _, fields = line.partition(": ")
        message = file.message_type.add(name=name)
        for text in fields.split(", "):
            *label, kind, field_name, number = text.split()
            field = message.field.add(name=field_name, number=int(number))
            is_repeated = label == ["repeated"]
            field.label = (
                FieldDescriptorProto.LABEL_REPEATED
                if is_repeated
                else FieldDescriptorProto.LABEL_OPTIONAL
            )
            if kind in _KINDS:
                field.type = _KINDS[kind]
            else:
                field.type = FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = f".prometheus.{kind}"
    pool = DescriptorPool()
    pool.Add(file)
    return pool


def parse(body: bytes) -> Any:
    """A request. Raises `google.protobuf.message.DecodeError`."""
    descriptor = _pool().FindMessageTypeByName("prometheus.WriteRequest")
    return GetMessageClass(descriptor).FromString(body)


def labels_of(series: Any) -> dict[str, str]:
    return {label.name: label.value for label in series.labels}
