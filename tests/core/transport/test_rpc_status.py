"""What OTLP answers say, against the official classes."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.transport.rpc_status import (
    Answer,
    RpcStatus,
    decode_answer,
    decode_status,
    encode_status,
)


@pytest.mark.parametrize("delay_s", [None, 0.0, 0.25, 1.0, 12.999999999])
def test_a_status_is_what_the_official_class_reads(delay_s: float | None) -> None:
    official = status_pb2.Status.FromString(encode_status(14, "später", delay_s))

    assert (14, "später") == (official.code, official.message)
    assert (delay_s is not None) == len(official.details)
    if delay_s is not None:
        info = error_details_pb2.RetryInfo()
        assert official.details[0].Unpack(info)
        assert round(delay_s * 1e9) == info.retry_delay.ToNanoseconds()


@pytest.mark.parametrize("delay_s", [None, 0.0, 0.25, 12.5])
def test_a_status_survives(delay_s: float | None) -> None:
    status = decode_status(encode_status(8, "busy", delay_s))

    assert (8, "busy", delay_s) == (status.code, status.message, status.retry_after_s)


def test_the_hint_is_found_among_other_details() -> None:
    official = status_pb2.Status(code=8)
    official.details.add().Pack(error_details_pb2.BadRequest())
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromMilliseconds(1_500)
    official.details.add().Pack(info)

    assert RpcStatus(8, "", 1.5, "google.rpc.BadRequest, google.rpc.RetryInfo") == decode_status(
        official.SerializeToString()
    )


def test_delays_that_nobody_means_are_cut() -> None:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.seconds = -5
    negative = status_pb2.Status()
    negative.details.add().Pack(info)
    info.retry_delay.seconds = 2**62
    endless = status_pb2.Status()
    endless.details.add().Pack(info)

    assert 0.0 == decode_status(negative.SerializeToString()).retry_after_s
    assert 86_400.0 == decode_status(endless.SerializeToString()).retry_after_s


def test_broken_text_does_not_hide_the_rest() -> None:
    assert RpcStatus(5, "\ufffd") == decode_status(b"\x08\x05\x12\x01\xff")


@pytest.mark.parametrize("data", [b"", b"\x0a\x00"])
def test_both_spellings_of_full_success_are_read(data: bytes) -> None:
    assert Answer() == decode_answer(data)


@pytest.mark.parametrize(
    ("response", "field"),
    [
        (metrics_service_pb2.ExportMetricsServiceResponse, "rejected_data_points"),
        (logs_service_pb2.ExportLogsServiceResponse, "rejected_log_records"),
        (trace_service_pb2.ExportTraceServiceResponse, "rejected_spans"),
    ],
)
@pytest.mark.parametrize("answer", [Answer(3, "bad"), Answer(0, "careful"), Answer(7)])
def test_partial_success_is_the_same_for_all_signals(
    response: Any, field: str, answer: Answer
) -> None:
    official = response(
        partial_success={field: answer.rejected_items, "error_message": answer.message}
    )

    assert answer == decode_answer(official.SerializeToString())


def test_a_negative_count_is_none() -> None:
    official = trace_service_pb2.ExportTraceServiceResponse()
    official.partial_success.rejected_spans = -1

    assert Answer() == decode_answer(official.SerializeToString())


@pytest.mark.parametrize("decode", [decode_status, decode_answer])
@given(data=st.binary(max_size=60))
def test_garbage_is_malformed_or_means_something(decode: object, data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        assert decode(data) is not None  # type: ignore[operator]
