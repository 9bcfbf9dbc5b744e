"""Heads and headers of requests that we send, and what outcomes mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.component import ComponentID, ExportResult
from mlsysops_pipeline.config.values import Opaque
from mlsysops_pipeline.errors import Code, ConfigError, PermanentError, RetryableError
from mlsysops_pipeline.pdata.payload import Metadata
from mlsysops_pipeline.testing import FakeHost
from mlsysops_pipeline.transport.grpc.outcomes import error_of, result_of
from mlsysops_pipeline.transport.http2.answers import Outcome
from mlsysops_pipeline.transport.http2.headers import FieldBlock
from mlsysops_pipeline.transport.http2.heads import (
    is_reserved,
    metadata_field,
    metadata_problem,
    request_fields,
    timeout_value,
)
from mlsysops_pipeline.transport.http2.requests import read_headers
from mlsysops_pipeline.transport.http2.routes import read_timeout
from mlsysops_pipeline.transport.outgoing import OutgoingHeaders, client_authenticator, read_hops
from mlsysops_pipeline.transport.rpc_status import Answer, encode_status
from tests.core.transport.grpc_peers import encode_answer

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class Signer:
    """An authentication extension."""

    def __init__(self, *, needs_tls: bool = False) -> None:
        self.needs_tls = needs_tls

    async def start(self) -> None:
        pass

    async def shutdown(self) -> None:
        pass

    def apply(self, headers: MutableMapping[str, str], metadata: Metadata) -> None:
        headers["authorization"] = f"for {metadata.peer}"
        headers.pop("unwanted", None)


class Nothing:
    async def start(self) -> None:
        pass

    async def shutdown(self) -> None:
        pass


# Heads of gRPC requests.


def test_a_head_says_all_that_grpc_wants() -> None:
    fields = request_fields("/p.S/M", "host:1", "agent/1", 2.5, [(b"x", b"y")], encoding="gzip")

    assert (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/p.S/M"),
        (b":authority", b"host:1"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"agent/1"),
        (b"grpc-timeout", b"2500m"),
        (b"grpc-encoding", b"gzip"),
        (b"grpc-accept-encoding", b"identity,gzip,deflate,zstd,snappy"),
        (b"x", b"y"),
    ) == fields


@pytest.mark.parametrize("timeout_s", [0.0, math.inf])
def test_no_timeout_is_not_said(timeout_s: float) -> None:
    names = [name for name, _ in request_fields("/p.S/M", "h", "a", timeout_s, is_tls=True)]

    assert b"grpc-timeout" not in names
    assert b"grpc-encoding" not in names


@given(st.floats(1e-9, 1e12))
def test_a_server_never_gives_up_before_the_client(timeout_s: float) -> None:
    said = read_timeout(((b"grpc-timeout", timeout_value(timeout_s)),))

    assert said is not None
    assert said >= min(timeout_s, 99_999_999) * 0.999_999


def test_metadata_survives() -> None:
    fields = [metadata_field("plain", "välue"[0]), metadata_field("some-bin", "välue")]

    assert {"plain": ("v",), "some-bin": ("välue",)} == read_headers(FieldBlock(tuple(fields)))


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("x-key", "value", ""),
        ("a_b.c-1", "", ""),
        ("x-bin", "\x00\xff", ""),
        ("x key", "value", "no name"),
        ("", "value", "no name"),
        ("x-key", "v\xe4lue", "not printable ASCII"),
        ("x-key", "a\nb", "not printable ASCII"),
    ],
)
def test_metadata_that_cannot_be_sent_is_known(name: str, value: str, problem: str) -> None:
    assert problem in metadata_problem(name, value)
    assert bool(problem) == bool(metadata_problem(name, value))


def test_what_the_client_says_itself_is_reserved() -> None:
    assert [True, True, True, False] == list(
        map(is_reserved, ("te", "grpc-timeout", "content-type", "authorization"))
    )


# Headers.


def test_hops_are_counted_on() -> None:
    headers = OutgoingHeaders((), None)

    assert {"mlsysops-hops": "1"} == headers.of(Metadata())
    assert {"mlsysops-hops": "4"} == headers.of(Metadata(hops=3))


@pytest.mark.parametrize(
    ("text", "hops"),
    [("3", 3), (" 12 ", 12), ("", 0), ("-1", 0), ("x", 0), ("9" * 50, 0), ("²", 0)],
)
def test_hops_are_read_leniently(text: str, hops: int) -> None:
    assert hops == read_hops(text)


def test_an_authenticator_sees_and_changes_configured_headers() -> None:
    headers = OutgoingHeaders(
        (("Unwanted", Opaque("x")), ("X-Key", Opaque("a")), ("x-key", Opaque("b"))), Signer()
    )

    assert {
        "x-key": "a,b",
        "authorization": "for 10.0.0.1",
        "mlsysops-hops": "1",
    } == headers.of(Metadata(peer="10.0.0.1"))
    assert "a,b" not in repr(headers)


def test_an_authenticator_is_found() -> None:
    id_ = ComponentID("signer")
    signer = Signer(needs_tls=True)

    assert signer is client_authenticator(FakeHost({id_: signer}), id_, is_plaintext=False)


@pytest.mark.parametrize(
    ("extension", "message"),
    [
        (Nothing(), "does not authenticate clients"),
        (Signer(needs_tls=True), "must not be sent in plaintext"),
    ],
)
def test_an_authenticator_that_cannot_be_used_is_refused(
    extension: Signer | Nothing, message: str
) -> None:
    id_ = ComponentID("signer")

    with pytest.raises(ConfigError, match=message):
        client_authenticator(FakeHost({id_: extension}), id_, is_plaintext=True)


# Outcomes.

RETRYABLE = {
    Code.CANCELLED,
    Code.DEADLINE_EXCEEDED,
    Code.ABORTED,
    Code.OUT_OF_RANGE,
    Code.UNAVAILABLE,
    Code.DATA_LOSS,
}


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_codes_are_sorted_as_otlp_says(code: Code) -> None:
    """OG-5, OC-12."""
    error = error_of(Outcome(code, "why"))

    assert (code in RETRYABLE) == isinstance(error, RetryableError)
    assert (code, f"{code.name}: why") == (error.code, error.message)


@pytest.mark.parametrize("delay_s", [None, 0.0, 3.5])
def test_exhausted_is_retryable_only_with_a_hint(delay_s: float | None) -> None:
    """OG-6, OG-7."""
    details = encode_status(8, "busy", delay_s)
    error = error_of(Outcome(Code.RESOURCE_EXHAUSTED, "busy", details=details))

    assert (delay_s is not None) == isinstance(error, RetryableError)
    if isinstance(error, RetryableError):
        assert (delay_s or None) == error.retry_after_s


def test_a_hint_does_not_make_bad_data_good() -> None:
    error = error_of(Outcome(Code.INVALID_ARGUMENT, details=encode_status(3, "bad data", 1.0)))

    assert isinstance(error, PermanentError)
    assert error.is_bad_data
    assert "INVALID_ARGUMENT: bad data (google.rpc.RetryInfo)" == error.message


def test_broken_details_are_mentioned() -> None:
    error = error_of(Outcome(Code.UNAVAILABLE, "busy", details=b"\xff"))

    assert isinstance(error, RetryableError)
    assert "cannot be read" in error.message


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Answer(), None),
        (Answer(3, "bad"), ExportResult(3, "bad")),
        (Answer(300, "bad"), ExportResult(10, "bad")),
        (Answer(0, "careful"), ExportResult(0, "careful")),
    ],
)
def test_partial_success_is_a_result(answer: Answer, result: ExportResult | None) -> None:
    """OC-7: it is no error, so it is never tried again."""
    assert result == result_of(encode_answer(answer), 10)


def test_an_answer_that_cannot_be_read_is_final() -> None:
    with pytest.raises(PermanentError, match="cannot be read"):
        result_of(b"\xff\xff", 10)
