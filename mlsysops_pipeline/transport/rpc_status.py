"""What OTLP answers say: `google.rpc.Status` with its retry hint, and partial success.

Both transports use the same messages: gRPC puts the status into ``grpc-status-details-bin``, HTTP
into the body of every error (OH-4). The classes are made here, in a descriptor pool of their own,
so that no generated module is imported; strings are read as bytes, because a peer's broken text
must not hide what it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError

_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"
_DELAY_MAX_S: Final = 86_400.0
"""A longer delay is cut to this: nobody means it, and arithmetic on it overflows."""

_F = descriptor_pb2.FieldDescriptorProto


@dataclass(frozen=True, slots=True)
class RpcStatus:
    """A `google.rpc.Status`. ``retry_after_s``: the delay of its RetryInfo, ``None`` without one.

    ``details``: a short text about everything attached, for error messages.
    """

    code: int = 0
    message: str = ""
    retry_after_s: float | None = None
    details: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An ``Export*ServiceResponse``: both empty means that everything was accepted (OC-4)."""

    rejected_items: int = 0
    message: str = ""


def encode_status(code: int, message: str, retry_after_s: float | None = None) -> bytes:
    """A serialized `google.rpc.Status`, with RetryInfo if there is a delay."""
    classes = _classes()
    status = classes["Status"](code=code, message=message.encode("utf-8", "replace"))
    if retry_after_s is not None:
        detail = status.details.add()
        detail.type_url = _RETRY_INFO.encode()
        info = classes["RetryInfo"]()
        delay = info.retry_delay
        delay.seconds, delay.nanos = divmod(round(retry_after_s * 1e9), 1_000_000_000)
        detail.value = info.SerializeToString()
    return bytes(status.SerializeToString())


def decode_status(data: bytes) -> RpcStatus:
    """What a serialized `google.rpc.Status` says. Raises `MalformedError`."""
    status = _parse("Status", data)
    retry_after_s = None
    kinds = []
    for detail in status.details:
        kinds.append(detail.type_url.decode("utf-8", "replace").rpartition("/")[2])
        if kinds[-1] == "google.rpc.RetryInfo":
            delay = _parse("RetryInfo", detail.value).retry_delay
            seconds = delay.seconds + delay.nanos / 1e9
            retry_after_s = min(max(seconds, 0.0), _DELAY_MAX_S)
    return RpcStatus(
        status.code, status.message.decode("utf-8", "replace"), retry_after_s, ", ".join(kinds)
    )


def decode_answer(data: bytes) -> Answer:
    """What a serialized ``Export*ServiceResponse`` says. Raises `MalformedError`.

    The Collector sets an empty ``partial_success`` on full success, which is the same to us.
    """
    if data in _FULL_SUCCESS:
        return _ACCEPTED
    partial = _parse("Response", data).partial_success
    return Answer(max(partial.rejected, 0), partial.error_message.decode("utf-8", "replace"))


_FULL_SUCCESS: Final = frozenset({b"", b"\x0a\x00"})
_ACCEPTED: Final = Answer()


def _parse(name: str, data: bytes) -> Any:
    try:
        return _classes()[name].FromString(data)
    except DecodeError as error:
        raise MalformedError(f"not a {name}: {error}") from error


_LAYOUT: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "Any": (("type_url", "bytes"), ("value", "bytes")),
    "Status": (("code", "int32"), ("message", "bytes"), ("details", "*Any")),
    "Duration": (("seconds", "int64"), ("nanos", "int32")),
    "RetryInfo": (("retry_delay", "Duration"),),
    "Partial": (("rejected", "int64"), ("error_message", "bytes")),
    "Response": (("partial_success", "Partial"),),
}
"""Fields in the order of their numbers, from 1; a star means repeated."""

_SCALARS: Final = {"bytes": _F.TYPE_BYTES, "int32": _F.TYPE_INT32, "int64": _F.TYPE_INT64}


@cache
def _classes() -> dict[str, Any]:
    """The message classes, made when they are first needed."""
    file = descriptor_pb2.FileDescriptorProto(
        name="answers.proto", package="mlsysops.answers", syntax="proto3"
    )
    for name, fields in _LAYOUT.items():
        message = file.message_type.add(name=name)
        for number, (field_name, kind) in enumerate(fields, 1):
            field = message.field.add(name=field_name, number=number)
            field.label = _F.LABEL_REPEATED if kind.startswith("*") else _F.LABEL_OPTIONAL
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type = _F.TYPE_MESSAGE
                field.type_name = f".{file.package}.{kind.lstrip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}"))
        for name in _LAYOUT
    }
