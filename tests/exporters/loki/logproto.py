"""`logproto.PushRequest` by protobuf itself, from the message definition: nothing of ours."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_MESSAGES = """
PushRequest: repeated Stream streams 1
Stream: string labels 1, repeated Entry entries 2
Entry: Timestamp timestamp 1, string line 2, repeated Pair metadata 3
Pair: string name 1, string value 2
Timestamp: int64 seconds 1, int32 nanos 2
"""
_KINDS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "int32": FieldDescriptorProto.TYPE_INT32,
}


@cache
def _pool() -> DescriptorPool:
    file = FileDescriptorProto(name="logproto.proto", package="logproto", syntax="proto3")
    for line in filter(None, _MESSAGES.splitlines()):
        name, _, fields = line.partition(": ")
        message = file.message_type.add(name=name)
        for text in fields.split(", "):
            *label, kind, field_name, number = text.split()
            field = message.field.add(name=field_name, number=int(number))
            field.label = (
                FieldDescriptorProto.LABEL_REPEATED
                if label
                else FieldDescriptorProto.LABEL_OPTIONAL
            )
            if kind in _KINDS:
                field.type = _KINDS[kind]
            else:
                field.type = FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = f".logproto.{kind}"
    pool = DescriptorPool()
    pool.Add(file)
    return pool


def parse(body: bytes) -> Any:
    """A request. Raises `google.protobuf.message.DecodeError`."""
    descriptor = _pool().FindMessageTypeByName("logproto.PushRequest")
    return GetMessageClass(descriptor).FromString(body)
