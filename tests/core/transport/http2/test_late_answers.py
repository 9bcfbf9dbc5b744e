"""Requests that are not gRPC are answered when they have ended, and faults in them are seen."""

from __future__ import annotations

from typing import Final

import pytest

from mlsysops_pipeline.errors import Code
from mlsysops_pipeline.transport.http2 import frames, limits
from mlsysops_pipeline.transport.http2.frames import DATA, END_STREAM, ErrorCode
from tests.core.transport.http2.test_grpc import Server
from tests.core.transport.http2.wire import frame

HTML: Final = "text/html"


def test_a_body_is_awaited_and_thrown_away() -> None:
    server = Server()
    assert [] == server.feed(server.caller.head(content_type=HTML))
    assert [] == server.feed(frame(DATA, 0, 1, bytes(10_000)))
    assert {} == server.answers()
    server.feed(frame(DATA, END_STREAM, 1, b"the end"))
    answer = server.answers()[1]
    assert "415" == answer[":status"]
    assert "reset" not in answer
    assert server.grpc.refusal is not None
    assert Code.UNIMPLEMENTED == server.grpc.refusal[1].code
    assert {} == server.grpc.connection.streams


def test_trailers_end_it_too() -> None:
    server = Server()
    server.feed(server.caller.head(content_type=HTML))
    server.feed(server.caller.trailers(1))
    assert "415" == server.answers()[1][":status"]


def test_one_that_does_not_end_is_answered_after_a_while() -> None:
    server = Server()
    server.feed(server.caller.head(content_type=HTML))
    assert server.now_s + limits.BODY_TIMEOUT_S == server.grpc.due_s()
    assert [] == server.advance(limits.BODY_TIMEOUT_S - 1)
    assert {} == server.answers()
    server.advance(2.0)
    answer = server.answers()[1]
    assert ("415", str(int(ErrorCode.NO_ERROR))) == (answer[":status"], answer["reset"])


def test_one_that_is_reset_is_forgotten() -> None:
    server = Server()
    server.feed(server.caller.head(content_type=HTML))
    server.feed(frames.reset_frame(1, ErrorCode.CANCEL))
    server.advance(limits.BODY_TIMEOUT_S + 1)
    assert b"" == server.take()
    assert {} == server.grpc._late


def test_a_lost_connection_forgets_them() -> None:
    server = Server()
    server.feed(server.caller.head(content_type=HTML))
    assert [] == server.grpc.lose()
    assert {} == server.grpc._late


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (frames.window_update_frame(1, frames.WINDOW_BYTES_MAX), ErrorCode.FLOW_CONTROL_ERROR),
        (frames.window_update_frame(1, 0), ErrorCode.PROTOCOL_ERROR),
        (frame(DATA, END_STREAM, 1, b"too long"), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_what_is_wrong_with_the_rest_resets_the_stream(fault: bytes, code: ErrorCode) -> None:
    server = Server()
    server.feed(server.caller.head(content_type=HTML, extra=[("content-length", "3")]))
    server.feed(fault)
    assert {1: {"reset": str(int(code))}} == server.answers()
    assert {} == server.grpc._late
