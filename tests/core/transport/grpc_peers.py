"""Servers that tests of clients talk to: grpcio, hand-made HTTP/2, and what is no server at all."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from concurrent import futures
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import trustme
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from mlsysops_pipeline.transport.rpc_status import Answer

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

METHOD = "/test.Service/Method"


class GrpcioServer(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """A grpcio server on threads; ``behave(request, context)`` answers every method."""

    def __init__(self, behave: Callable[[bytes, Any], bytes], **options: Any) -> None:
        self.behave = behave
        self.metadata: list[dict[str, Any]] = []
        self.requests: list[bytes] = []
        self.methods: list[str] = []
        self._options = options
        self._server: Any = None
        self.port = 0

    def service(self, details: Any) -> Any:
        def handle(request: bytes, context: Any) -> bytes:
            self.methods.append(details.method)
            self.metadata.append(dict(context.invocation_metadata()))
            self.requests.append(request)
            return self.behave(request, context)

        return grpc.unary_unary_rpc_method_handler(handle)

    def start(self, address: str = "127.0.0.1:0", credentials: Any = None) -> None:
        options = [
            ("grpc.max_receive_message_length", 100 << 20),
            ("grpc.max_send_message_length", 100 << 20),
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.server(futures.ThreadPoolExecutor(8), options=options, **self._options)
        self._server.add_generic_rpc_handlers((self,))
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    def drain(self, grace_s: float) -> Any:
        """Take no more calls; an event that is set when those under way are done."""
        return self._server.stop(grace_s)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None


@contextlib.contextmanager
def grpcio_server(
    behave: Callable[[bytes, Any], bytes] = lambda request, _context: request,
    address: str = "127.0.0.1:0",
    credentials: Any = None,
    **options: Any,
) -> Iterator[GrpcioServer]:
    """A running grpcio server; without ``behave`` it echoes."""
    server = GrpcioServer(behave, **options)
    server.start(address, credentials)
    try:
        yield server
    finally:
        server.stop()


@dataclass
class RawServer:
    """Accepts connections and gives them to ``serve``. Counts them."""

    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]
    connections: int = 0
    port: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        # h2 refuses to answer a call that its client has cancelled meanwhile.
        expected = (ConnectionError, asyncio.CancelledError, h2.exceptions.ProtocolError)
        with contextlib.suppress(*expected):
            await self.serve(reader, writer, self.connections)
        writer.close()


@contextlib.asynccontextmanager
async def raw_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]],
    *,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[RawServer]:
    """``serve(reader, writer, number)`` has every connection; the first is number 1."""
    raw = RawServer(serve)
    server = await asyncio.start_server(raw.accept, "127.0.0.1", port, ssl=tls)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        server.close()
        for writer in raw.writers:
            writer.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0)


class H2Peer:
    """One connection of a server made with `h2`, which tests make do odd things."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, **settings: int
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding=None)
        )
        if settings:
            self.h2.local_settings = h2.settings.Settings(
                client=False,
                initial_values={
                    h2.settings.SettingCodes[name.upper()]: value
                    for name, value in settings.items()
                },
            )
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    async def events(self) -> AsyncIterator[Any]:
        """Everything that the client does; windows are opened again as it sends."""
        while data := await self.reader.read(65_536):
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.flush()
                yield event

    async def requests(self) -> AsyncIterator[int]:
        """The stream of every request that is complete."""
        async for event in self.events():
            if isinstance(event, h2.events.StreamEnded):
                yield event.stream_id

    def answer(self, stream: int, status: int = 0, body: bytes = b"\0\0\0\0\0") -> None:
        self.h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        if body:
            self.h2.send_data(stream, body)
        self.h2.send_headers(stream, [("grpc-status", str(status))], end_stream=True)
        self.flush()


def encode_answer(answer: Answer) -> bytes:
    """A response; those of the three signals have the same layout."""
    response = logs_service_pb2.ExportLogsServiceResponse()
    if answer != Answer():
        response.partial_success.rejected_log_records = answer.rejected_items
        response.partial_success.error_message = answer.message
    return bytes(response.SerializeToString())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Certificates:
    """Files: an authority, and what it signed for a server (localhost) and a client."""

    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path
    other_ca: Path

    def grpcio(self, *, mutual: bool = False) -> Any:
        return grpc.ssl_server_credentials(
            [(self.server_key.read_bytes(), self.server_cert.read_bytes())],
            root_certificates=self.ca.read_bytes() if mutual else None,
            require_client_auth=mutual,
        )


def make_certificates(folder: Path) -> Certificates:
    """Certificates of an authority that nobody else knows."""
    authority, other = trustme.CA(), trustme.CA()
    files = Certificates(*(folder / name for name in ("ca", "cert", "key", "cert2", "key2", "ca2")))
    authority.cert_pem.write_to_path(str(files.ca))
    other.cert_pem.write_to_path(str(files.other_ca))
    for names, cert, key in (
        (("localhost", "127.0.0.1", "other.example"), files.server_cert, files.server_key),
        (("client.example",), files.client_cert, files.client_key),
    ):
        issued = authority.issue_cert(*names)
        issued.cert_chain_pems[0].write_to_path(str(cert))
        issued.private_key_pem.write_to_path(str(key))
    return files
