"""The otlp_grpc exporter against grpcio and hand-made servers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from mlsysops_exporters import otlp_grpc
from mlsysops_pipeline.clock import SystemClock
from mlsysops_pipeline.component import ComponentID, ExportResult, Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import Code, ConfigError, PermanentError, RetryableError
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import FakeHost, make_payload, make_settings
from mlsysops_pipeline.transport.compression import decompress
from mlsysops_pipeline.transport.rpc_status import Answer
from tests.core.transport.grpc_peers import (
    Certificates,
    H2Peer,
    encode_answer,
    free_port,
    grpcio_server,
    make_certificates,
    raw_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping
    from pathlib import Path

REQUESTS: dict[Signal, Any] = {
    Signal.METRICS: metrics_service_pb2.ExportMetricsServiceRequest,
    Signal.LOGS: logs_service_pb2.ExportLogsServiceRequest,
    Signal.TRACES: trace_service_pb2.ExportTraceServiceRequest,
}
PLAIN = {"tls": {"insecure": True}}


class Signer:
    """An authentication extension that answers for the tenant that sent the data."""

    def __init__(self, *, needs_tls: bool = False) -> None:
        self.needs_tls = needs_tls

    async def start(self) -> None:
        pass

    async def shutdown(self) -> None:
        pass

    def apply(self, headers: MutableMapping[str, str], metadata: Metadata) -> None:
        headers["authorization"] = "Bearer " + ",".join(metadata.headers.get("tenant", ("?",)))
        headers["x-configured"] += "+"


@contextlib.asynccontextmanager
async def exporter_to(
    port: int, host: FakeHost | None = None, **config: Any
) -> AsyncIterator[otlp_grpc.OtlpGrpcExporter]:
    """A started exporter; plaintext unless ``config`` says otherwise."""
    value = {"endpoint": f"127.0.0.1:{port}", **PLAIN, **config}
    exporter = otlp_grpc.FACTORY.create(
        parse_config(otlp_grpc.Config, value),
        make_settings("otlp_grpc", kind=Kind.EXPORTER, clock=SystemClock(), host=host),
        None,
    )
    await exporter.start()
    try:
        yield exporter
    finally:
        await exporter.shutdown()


def answers(body: bytes = b"") -> Any:
    return lambda _request, _context: body


def fails(code: grpc.StatusCode, message: str = "why", details: Any = None) -> Any:
    def behave(_request: bytes, context: Any) -> bytes:
        if details is not None:
            status = status_pb2.Status(code=code.value[0], message=message)
            status.details.add().Pack(details)
            data = status.SerializeToString()
            context.set_trailing_metadata((("grpc-status-details-bin", data),))
        context.abort(code, message)
        return b""

    return behave


# What is sent.


@pytest.mark.parametrize("signal", list(Signal))
async def test_a_payload_of_several_members_is_one_request(signal: Signal) -> None:
    payload = Payload.merge([make_payload(signal, 3), make_payload(signal, 4, seed=1)])
    with grpcio_server(answers()) as server:
        async with exporter_to(server.port) as exporter:
            assert await exporter.export(payload) is None

    assert [signal.method] == server.methods
    expected = REQUESTS[signal].FromString(b"".join(payload.wires))
    assert expected == REQUESTS[signal].FromString(server.requests[0])


async def test_the_copy_that_joins_members_is_charged_to_the_memory_account() -> None:
    alone = make_payload(Signal.LOGS, 3)
    merged = Payload.merge([alone, alone])
    with grpcio_server(answers()) as server:
        async with exporter_to(server.port) as exporter:
            memory = exporter._settings.memory
            await exporter.export(alone)
            assert 0 == memory.peak
            await exporter.export(merged)
            assert (merged.size, 0) == (memory.peak, memory.in_flight)


async def test_an_empty_request_is_sent_as_one() -> None:
    with grpcio_server(answers(b"\x0a\x00")) as server:
        async with exporter_to(server.port, compression="none") as exporter:
            assert await exporter.export(Payload(Signal.LOGS, b"")) is None

    assert [b""] == server.requests


async def test_headers_name_the_program_and_count_the_hops() -> None:
    """OC-17."""
    with grpcio_server(answers()) as server:
        async with exporter_to(server.port, headers={"X-Key": "v"}) as exporter:
            await exporter.export(make_payload(Signal.LOGS, 1, metadata=Metadata(hops=2)))
            await exporter.export(make_payload(Signal.LOGS, 1))
        async with exporter_to(server.port, user_agent="other/2") as exporter:
            await exporter.export(make_payload(Signal.LOGS, 1))

    first, second, third = server.metadata
    assert ("v", "3") == (first["x-key"], first["mlsysops-hops"])
    assert "1" == second["mlsysops-hops"]
    assert first["user-agent"].startswith("mlsysops-collector/")
    assert "other/2" == third["user-agent"]


async def test_an_authenticator_has_the_last_word() -> None:
    host = FakeHost({ComponentID("signer"): Signer()})
    config = {"auth": {"authenticator": "signer"}, "headers": {"x-configured": "a", "te": "no"}}
    with grpcio_server(answers()) as server:
        async with exporter_to(server.port, host, **config) as exporter:
            for tenant in ("one", "two", "one"):
                metadata = Metadata(headers={"tenant": (tenant,)})
                await exporter.export(make_payload(Signal.LOGS, 1, metadata=metadata))

    assert ["Bearer one", "Bearer two", "Bearer one"] == [
        metadata["authorization"] for metadata in server.metadata
    ]
    assert {"a+"} == {metadata["x-configured"] for metadata in server.metadata}


async def test_a_header_that_cannot_be_sent_costs_its_payload_only() -> None:
    host = FakeHost({ComponentID("signer"): Signer()})
    config = {"auth": {"authenticator": "signer"}, "headers": {"x-configured": "a"}}
    metadata = Metadata(headers={"tenant": ("zw\u00f6lf",)})
    with grpcio_server(answers()) as server:
        async with exporter_to(server.port, host, **config) as exporter:
            with pytest.raises(PermanentError, match="header authorization"):
                await exporter.export(make_payload(Signal.LOGS, 1, metadata=metadata))
            assert await exporter.export(make_payload(Signal.LOGS, 1)) is None


@pytest.mark.parametrize(
    ("authenticator", "config", "message"),
    [
        (Signer(needs_tls=True), PLAIN, "must not be sent in plaintext"),
        (Signer(needs_tls=True), {"endpoint": "http://peer:1"}, "must not be sent in plaintext"),
    ],
)
async def test_credentials_that_need_tls_are_not_sent_without(
    authenticator: Signer, config: dict[str, Any], message: str
) -> None:
    host = FakeHost({ComponentID("signer"): authenticator})
    with pytest.raises(ConfigError, match=message):
        async with exporter_to(1, host, auth={"authenticator": "signer"}, **config):
            pass


@pytest.mark.parametrize(
    ("limit", "said"), [("5s", "5000m"), ("250ms", "250m"), ("0s", None), ("48h", "172800S")]
)
async def test_the_server_is_told_the_timeout(limit: str, said: str | None) -> None:
    heads: list[dict[str, str]] = []

    async def serve(reader: Any, writer: Any, _number: int) -> None:
        peer = H2Peer(reader, writer)
        async for event in peer.events():
            if hasattr(event, "headers"):
                heads.append({k.decode(): v.decode() for k, v in event.headers})
            if type(event).__name__ == "StreamEnded":
                peer.answer(event.stream_id)

    async with raw_server(serve) as server, exporter_to(server.port, timeout=limit) as exporter:
        await exporter.export(make_payload(Signal.LOGS, 1))

    assert said == heads[0].get("grpc-timeout")
    assert f"127.0.0.1:{server.port}" == heads[0][":authority"]


@pytest.mark.parametrize("members", [1, 600])
@pytest.mark.parametrize(
    ("compression", "encoding", "begin"),
    [
        ("gzip", "gzip", b"\x1f\x8b"),
        ("zstd", "zstd", b"\x28\xb5\x2f\xfd"),
        ("snappy", "snappy", b"\xff\x06\x00\x00sNaPpY"),
        ("none", None, b"\x0a"),
        ("", None, b"\x0a"),
    ],
)
async def test_compression(
    compression: str, encoding: str | None, begin: bytes, members: int
) -> None:
    """What gRPC calls snappy is the stream format, as the Collector's codec has it."""
    heads: list[dict[bytes, bytes]] = []
    body = bytearray()

    async def serve(reader: Any, writer: Any, _number: int) -> None:
        peer = H2Peer(reader, writer)
        async for event in peer.events():
            if hasattr(event, "headers"):
                heads.append(dict(event.headers))
            body.extend(getattr(event, "data", b""))
            if type(event).__name__ == "StreamEnded":
                peer.answer(event.stream_id)

    payload = Payload(Signal.METRICS, make_payload(Signal.METRICS, 20).wires * members)
    async with (
        raw_server(serve) as server,
        exporter_to(server.port, compression=compression) as exporter,
    ):
        await exporter.export(payload)

    said = heads[0].get(b"grpc-encoding")
    assert encoding == (None if said is None else said.decode())
    assert (encoding is not None) == body[0]
    assert len(body) - 5 == int.from_bytes(body[1:5])
    assert body[5:].startswith(begin)
    assert payload.joined() == decompress(encoding or "", bytes(body[5:]), 1 << 30)


async def test_grpcio_reads_what_is_compressed_with_gzip() -> None:
    payload = make_payload(Signal.TRACES, 500)
    with grpcio_server(answers()) as server:
        async with exporter_to(server.port) as exporter:
            await exporter.export(payload)

    assert [payload.wires[0]] == server.requests


# What is answered.


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Answer(2, "two were bad"), ExportResult(2, "two were bad")),
        (Answer(99), ExportResult(5, "")),
        (Answer(0, "careful"), ExportResult(0, "careful")),
        (Answer(), None),
    ],
)
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_partial_success(
    answer: Answer, result: ExportResult | None, compression: Any
) -> None:
    """OC-7. A server may compress its answer."""
    with grpcio_server(answers(encode_answer(answer)), compression=compression) as server:
        async with exporter_to(server.port) as exporter:
            assert result == await exporter.export(make_payload(Signal.LOGS, 5))


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.value[0]])
async def test_errors_are_sorted_as_otlp_says(code: grpc.StatusCode) -> None:
    """OG-5, OC-12."""
    retryable = {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
    wanted = RetryableError if code in retryable else PermanentError
    with grpcio_server(fails(code)) as server:
        async with exporter_to(server.port) as exporter:
            with pytest.raises(wanted, match=f"{code.name}: why") as caught:
                await exporter.export(make_payload(Signal.LOGS, 1))

    assert code.value[0] == caught.value.code


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_a_server_says_when_to_come_back(code: grpc.StatusCode) -> None:
    """OG-6, OG-7."""
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromMilliseconds(1_500)
    with grpcio_server(fails(code, details=info)) as server:
        async with exporter_to(server.port) as exporter:
            with pytest.raises(RetryableError) as caught:
                await exporter.export(make_payload(Signal.LOGS, 1))

    assert 1.5 == caught.value.retry_after_s


async def test_exhausted_without_a_hint_is_final() -> None:
    """OG-6."""
    details = error_details_pb2.BadRequest()
    behave = fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", details)
    with grpcio_server(behave) as server:
        async with exporter_to(server.port) as exporter:
            with pytest.raises(PermanentError, match=r"too large \(google\.rpc\.BadRequest\)"):
                await exporter.export(make_payload(Signal.LOGS, 1))


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"\x0a\x05abc"])
async def test_an_answer_that_is_garbage_is_final(body: bytes) -> None:
    with grpcio_server(answers(body)) as server:
        async with exporter_to(server.port) as exporter:
            with pytest.raises(PermanentError, match="the answer cannot be read"):
                await exporter.export(make_payload(Signal.LOGS, 1))


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_an_answer_that_is_too_large_is_final(compression: Any) -> None:
    """OC-11: on the wire, and when decompressed."""
    body = encode_answer(Answer(1, "x" * 5_000_000))
    with grpcio_server(answers(body), compression=compression) as server:
        async with exporter_to(server.port) as exporter:
            with pytest.raises(PermanentError, match="4194304"):
                await exporter.export(make_payload(Signal.LOGS, 1))


# Life.


async def test_an_absent_peer_is_a_state_and_not_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    with caplog.at_level(logging.INFO):
        async with exporter_to(port) as exporter:
            for _ in range(3):
                with pytest.raises(RetryableError, match="Connection refused") as caught:
                    await exporter.export(make_payload(Signal.LOGS, 1))

    assert Code.UNAVAILABLE == caught.value.code
    lines = [record for record in caplog.records if "cannot connect" in record.message]
    assert [logging.WARNING] == [record.levelno for record in lines]


async def test_the_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    async def serve(reader: Any, writer: Any, _number: int) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")

    async with raw_server(serve) as proxy:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")
        async with exporter_to(0, endpoint="peer.invalid:4317") as exporter:
            with pytest.raises(RetryableError, match="502 Bad Gateway"):
                await exporter.export(make_payload(Signal.LOGS, 1))

    assert heads[0].startswith(b"CONNECT peer.invalid:4317 HTTP/1.1\r\n")


async def test_a_proxy_that_is_none_is_found_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://:1")
    with pytest.raises(OSError, match="HTTPS_PROXY: a proxy needs a host"):
        async with exporter_to(0, endpoint="peer.invalid:4317"):
            pass


async def test_starting_connects_to_nobody() -> None:
    connections = []

    async def serve(_reader: Any, _writer: Any, number: int) -> None:
        connections.append(number)

    async with raw_server(serve) as server, exporter_to(server.port):
        await asyncio.sleep(0.01)

    assert [] == connections


async def test_it_is_safe_to_stop_at_any_time() -> None:
    config = parse_config(otlp_grpc.Config, {"endpoint": "peer:1"})
    exporter = otlp_grpc.FACTORY.create(config, make_settings(kind=Kind.EXPORTER), None)
    await exporter.shutdown()
    await exporter.start()
    await exporter.shutdown()
    await exporter.shutdown()
    with pytest.raises(PermanentError, match="not running"):
        await exporter.export(make_payload(Signal.LOGS, 1))


def test_self_metrics_name_the_peer() -> None:
    def attributes(endpoint: str) -> dict[str, str]:
        config = parse_config(otlp_grpc.Config, {"endpoint": endpoint})
        exporter = otlp_grpc.OtlpGrpcExporter(config, make_settings(kind=Kind.EXPORTER))
        return exporter.telemetry_attributes

    assert {"server.address": "peer", "server.port": "4317"} == attributes("dns:///peer:4317")
    assert {"server.address": "/run/x"} == attributes("unix:///run/x")


def test_defaults() -> None:
    """Components, A5."""
    config = parse_config(otlp_grpc.Config, {"endpoint": "peer:4317"})

    assert ("gzip", 5.0, None) == (config.compression, config.timeout, config.keepalive)
    assert not config.is_plaintext
    assert config.retry_on_failure is not None
    assert config.sending_queue is not None
    assert (1000, 10) == (config.sending_queue.queue_size, config.sending_queue.num_consumers)
    assert ("otlp",) == otlp_grpc.FACTORY.aliases


# TLS.


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("is_mutual", [False, True])
async def test_tls(certificates: Certificates, is_mutual: bool) -> None:
    tls = {"ca_file": str(certificates.ca)}
    if is_mutual:
        tls["cert_file"] = str(certificates.client_cert)
        tls["key_file"] = str(certificates.client_key)
    with grpcio_server(answers(), credentials=certificates.grpcio(mutual=is_mutual)) as server:
        for endpoint in (f"localhost:{server.port}", f"https://localhost:{server.port}"):
            async with exporter_to(0, endpoint=endpoint, tls=tls) as exporter:
                assert await exporter.export(make_payload(Signal.LOGS, 1)) is None


async def test_tls_is_on_unless_told_otherwise(certificates: Certificates) -> None:
    with grpcio_server(answers()) as server:
        async with exporter_to(server.port, tls={}) as exporter:
            with pytest.raises(RetryableError, match="TLS failed"):
                await exporter.export(make_payload(Signal.LOGS, 1))
        endpoint = f"http://127.0.0.1:{server.port}"
        async with exporter_to(0, endpoint=endpoint, tls={}) as exporter:
            assert await exporter.export(make_payload(Signal.LOGS, 1)) is None


async def test_a_certificate_that_is_missing_is_found_at_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"tls\.ca_file: /"):
        async with exporter_to(1, tls={"ca_file": str(tmp_path / "none.pem")}):
            pass
