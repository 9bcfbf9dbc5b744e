"""What real peers sent, replayed: grpcio, grpc-go, @grpc/grpc-js, tonic, and rotel's own client.

`tests/interop/recording.py` made the files: each holds all bytes that a peer sent on one
connection, to a server or to a client of ours.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Final

import h2.config
import h2.connection
import h2.events
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mlsysops_pipeline.errors import Code
from mlsysops_pipeline.memory import MemoryAccount
from mlsysops_pipeline.transport.http2 import frames
from mlsysops_pipeline.transport.http2.calls import Action, Call, Service, UnaryMethod
from mlsysops_pipeline.transport.http2.client import ClientCall, ClientConnection, ClientTimes
from mlsysops_pipeline.transport.http2.grpc import GrpcConnection
from mlsysops_pipeline.transport.http2.heads import request_fields
from mlsysops_pipeline.transport.http2.requests import read_headers
from mlsysops_pipeline.transport.http2.status import GrpcStatus
from tests.core.transport.http2.wire import goaway, read_frames

if TYPE_CHECKING:
    from collections.abc import Iterator

METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SPANS: Final = ("first", "second", "third", "large")
STEPS: Final = (1, 7, 9, 1_000, 1 << 20)
"""The pieces in which bytes may arrive."""

_FOLDER: Final = Path(__file__).parent / "recorded"
CLIENTS: Final = sorted(path.stem for path in _FOLDER.glob("*-client-*.bin"))
SERVERS: Final = sorted(path.stem for path in _FOLDER.glob("*-server.bin"))
PEERS: Final = {"grpcio", "grpc-go", "grpc-js", "tonic", "rotel"}


def recorded(name: str) -> bytes:
    return (_FOLDER / f"{name}.bin").read_bytes()


def cut(data: bytes, step: int) -> Iterator[bytes]:
    return (data[start : start + step] for start in range(0, len(data), step))


def turns(data: bytes) -> Iterator[bytes]:
    """What a client sent, up to the end of each request: it had an answer before it went on."""
    start = position = len(frames.PREFACE)
    begin = data[:start]
    for frame in read_frames(data[start:]):
        position += frames.FRAME_HEADER_BYTES + len(frame.payload)
        if frame.kind == frames.DATA and frame.flags & frames.END_STREAM:
            yield begin + data[start:position]
            begin, start = b"", position
    yield data[start:]


def test_every_peer_was_recorded_in_both_roles() -> None:
    assert {(peer, kind) for peer in PEERS for kind in ("none", "gzip")} == {
        (peer, kind.replace("identity", "none"))
        for peer, _, kind in (name.partition("-client-") for name in CLIENTS)
    }
    assert PEERS == {name.removesuffix("-server") for name in SERVERS}


async def _unused(_request: object) -> bytes:
    raise AssertionError("calls are answered where they arrive")


def _serve(data: bytes, step: int) -> list[Call]:
    """Feed a server; the calls that it answered."""
    calls = []
    memory = MemoryAccount()
    methods = {METHOD: UnaryMethod(_unused)}
    server = GrpcConnection(
        Service(methods, memory, lambda error: GrpcStatus(Code.INTERNAL, str(error))), 0.0
    )
    for piece in (piece for turn in turns(data) for piece in cut(turn, step)):
        for action, call in server.receive(piece, 0.0):
            assert Action.START is action
            calls.append(call)
            server.succeed(call, b"")
    sent = b"".join(server.connection.take())
    assert goaway(sent) is None, server.end_message
    assert frames.RST_STREAM not in {frame.kind for frame in read_frames(sent)}
    assert (None, 0) == (server.refusal, memory.in_flight)
    return calls


def _span(call: Call) -> str:
    message = call.message
    if call.is_compressed:
        assert "gzip" == call.encoding
        message = gzip.decompress(message)
    request = ExportTraceServiceRequest.FromString(message)
    return str(request.resource_spans[0].scope_spans[0].spans[0].name)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", CLIENTS)
def test_calls_of_clients_arrive(name: str, step: int) -> None:
    calls = _serve(recorded(name), step)
    assert SPANS == tuple(map(_span, calls))
    assert {METHOD} == {call.path for call in calls}


@pytest.mark.parametrize("name", CLIENTS)
def test_clients_say_to_us_what_they_say_to_another_implementation(name: str) -> None:
    """`h2` takes the same bytes apart: fields and messages are equal."""
    data = recorded(name)
    other = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=False, header_encoding=None)
    )
    other.initiate_connection()
    other.max_inbound_frame_size = 1 << 20
    heads: dict[int, list[tuple[bytes, bytes]]] = {}
    bodies: dict[int, bytes] = {}
    goodbye = data.find(b"\0\0\x08\x07\0\0\0\0\0")  # after it h2 takes nothing more
    for event in other.receive_data(data[:goodbye] if goodbye > 0 else data):
        if isinstance(event, h2.events.RequestReceived):
            heads[event.stream_id] = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, h2.events.DataReceived):
            bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
    for call in _serve(data, 1 << 20):
        assert heads[call.stream.id] == list(call.block.fields)
        assert bodies[call.stream.id][0] == call.is_compressed
        assert bodies[call.stream.id][5:] == call.message
    assert len(SPANS) == len(heads)


@pytest.mark.parametrize("name", [name for name in CLIENTS if "grpc" in name])
def test_metadata_and_deadlines_of_clients(name: str) -> None:
    for call in _serve(recorded(name), 1 << 20):
        assert 4.0 < call.deadline_s < 10.2
        if not name.startswith("grpc-go"):
            assert ("\x00\ufffd",) == read_headers(call.block)["tenant-bin"]


FAILED: Final = {
    "grpc-go": (Code.INTERNAL, "unmarshalling", b""),
    "rotel": (Code.INTERNAL, "failed to decode", b""),
}
"""What a server answers to the fourth call. Those that are told to do so fail as below."""

_TOLD: Final = (Code.UNAVAILABLE, "100 % müde", b"details")


def _call(data: bytes, step: int) -> tuple[ClientConnection, list[ClientCall]]:
    """Replay a server's answers; a call begins just before they mention its stream."""
    client = ClientConnection(ClientTimes(), 0.0)
    calls: list[ClientCall] = []
    position = 0
    for frame in read_frames(data):
        end = position + frames.FRAME_HEADER_BYTES + len(frame.payload)
        if frame.stream > 2 * len(calls):
            fields = request_fields(METHOD, "localhost", "test", 10.0)
            calls.append(ClientCall(fields, b"x" * 20_000, 100.0))
            assert client.begin(calls[-1], 0.0)
            assert calls[-1].stream is not None
            assert frame.stream == calls[-1].stream.id
        for piece in cut(data[position:end], step):
            client.receive(piece, 0.0)
        position = end
    return client, calls


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", SERVERS)
def test_answers_of_servers_arrive(name: str, step: int) -> None:
    client, calls = _call(recorded(name), step)
    outcomes = [call.outcome for call in calls]
    codes = [None if outcome is None else outcome.code for outcome in outcomes]
    code, message, details = FAILED.get(name.removesuffix("-server"), _TOLD)
    assert [Code.OK, Code.OK, Code.UNIMPLEMENTED, code, Code.OK] == codes
    failed = outcomes[3]
    assert failed is not None
    assert message in failed.message
    assert details == failed.details
    # It was shut down, gracefully.
    assert client.is_draining
    assert client.is_over
    assert "" == client.end_message
    assert goaway(b"".join(client.connection.take())[len(frames.PREFACE) :]) is None
