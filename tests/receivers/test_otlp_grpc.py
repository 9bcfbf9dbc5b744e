"""The `otlp` receiver over gRPC, with clients of grpcio (conformance A1, A2)."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from mlsysops_pipeline.component import ComponentID
from mlsysops_pipeline.errors import Code, PeerError, PermanentError, RetryableError
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import FakeHost, make_wire, wait_until
from mlsysops_pipeline.transport.compression import compress
from mlsysops_receivers.otlp.grpc import status_of, times_of
from tests.core.transport.http2.wire import GREETING, Caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from tests.receivers.otlp_running import Running

    Serve = Callable[..., Awaitable[Running]]
    Dial = Callable[..., grpc.aio.Channel]


def _export(channel: grpc.aio.Channel, signal: Signal = Signal.METRICS) -> Any:
    return channel.unary_unary(signal.method)


async def _error(call: Awaitable[bytes]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def _retry_delay(error: grpc.aio.AioRpcError) -> float | None:
    """The delay of RetryInfo, by the official classes; ``None`` without one."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            assert error.code().value[0] == status.code
            for detail in status.details:
                info = error_details_pb2.RetryInfo()
                if detail.Unpack(info):
                    return float(info.retry_delay.ToNanoseconds() / 1e9)
    return None


@pytest.mark.parametrize("signal", list(Signal))
async def test_every_signal_is_received(serve: Serve, dial: Dial, signal: Signal) -> None:
    # OG-1, OC-4: the answer has no field at all, so partial_success is unset.
    running = await serve()
    wire = make_wire(signal, 25)
    assert b"" == await _export(dial(running.grpc), signal)(wire)
    (payload,) = running.sinks[signal].payloads
    assert (wire, 25) == (payload.joined(), payload.items)
    assert ("grpc", "127.0.0.1", 0) == (
        payload.metadata.transport,
        payload.metadata.peer,
        payload.metadata.hops,
    )
    assert 25 == running.counted("accepted", signal, "grpc")
    assert 0 == running.counted("refused", signal, "grpc")


async def test_only_signals_with_a_pipeline_are_served(serve: Serve, dial: Dial) -> None:
    running = await serve(signals=[Signal.METRICS])
    channel = dial(running.grpc)
    await _export(channel)(b"")
    error = await _error(_export(channel, Signal.TRACES)(b""))
    assert grpc.StatusCode.UNIMPLEMENTED == error.code()
    assert f"unknown service {Signal.TRACES.service}" == error.details()
    error = await _error(channel.unary_unary(f"/{Signal.METRICS.service}/Import")(b""))
    assert f"unknown method Import for service {Signal.METRICS.service}" == error.details()


async def test_health_checks(serve: Serve, dial: Dial) -> None:
    running = await serve(signals=[Signal.METRICS])
    check = dial(running.grpc).unary_unary("/grpc.health.v1.Health/Check")

    def of(service: str) -> bytes:
        return b"\n" + bytes([len(service)]) + service.encode()

    for request in (b"", of(Signal.METRICS.service)):
        assert b"\x08\x01" == await check(request)
    assert grpc.StatusCode.NOT_FOUND == (await _error(check(of(Signal.LOGS.service)))).code()
    assert grpc.StatusCode.INVALID_ARGUMENT == (await _error(check(b"\n\x05abc"))).code()
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == (await _error(check(bytes(5_000)))).code()
    watch = dial(running.grpc).unary_unary("/grpc.health.v1.Health/Watch")
    assert grpc.StatusCode.UNIMPLEMENTED == (await _error(watch(b""))).code()
    assert 0 == running.settings.memory.in_flight


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_by_grpcio(serve: Serve, dial: Dial, algorithm: Any) -> None:
    # OC-1
    running = await serve()
    wire = make_wire(Signal.LOGS, 500)
    await _export(dial(running.grpc), Signal.LOGS)(wire, compression=algorithm)
    assert wire == running.sinks[Signal.LOGS].payloads[0].joined()


@pytest.mark.parametrize(
    ("name", "form"),
    [("gzip", "gzip"), ("zstd", "zstd"), ("snappy", "x-snappy-framed"), ("snappy", "snappy")],
)
async def test_compressed_by_others(serve: Serve, name: str, form: str) -> None:
    running = await serve()
    wire = make_wire(Signal.METRICS, 100)
    caller = Caller()
    call = caller.call(
        compress(form, wire),
        flag=1,
        path=Signal.METRICS.method,
        extra=[("grpc-encoding", name)],
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", running.receiver.ports["grpc"])
    writer.write(GREETING + call)
    await wait_until(lambda: running.sinks[Signal.METRICS].payloads)
    assert wire == running.sinks[Signal.METRICS].payloads[0].joined()
    assert reader is not None
    writer.close()


async def test_empty_requests_succeed_and_nobody_hears_of_them(serve: Serve, dial: Dial) -> None:
    # OC-3, OC-14: no resource at all, and envelopes without items.
    running = await serve()
    for wire in (b"", b"\x0a\x00", b"\x0a\x02\x12\x00"):
        assert b"" == await _export(dial(running.grpc))(wire)
    assert [] == running.sinks[Signal.METRICS].payloads
    assert 0 == running.counted("accepted", Signal.METRICS, "grpc")


@pytest.mark.slow
async def test_ten_thousand_empty_requests(serve: Serve, dial: Dial) -> None:
    running = await serve()
    export = _export(dial(running.grpc))
    for _ in range(100):
        answers = await asyncio.gather(*(export(b"") for _ in range(100)))
        assert {b""} == set(answers)
    assert [] == running.sinks[Signal.METRICS].payloads


async def test_unknown_fields_are_kept(serve: Serve, dial: Dial) -> None:
    # OC-2
    running = await serve()
    wire = make_wire(Signal.TRACES, 1) + b"\xfa\x3f\x03abc"
    await _export(dial(running.grpc), Signal.TRACES)(wire)
    assert wire == running.sinks[Signal.TRACES].payloads[0].joined()


async def test_overload_is_unavailable_with_a_hint(serve: Serve, dial: Dial) -> None:
    # OG-3
    running = await serve()
    export = _export(dial(running.grpc))
    for sent, hint in ((2.5, 2.5), (None, 1.0)):
        running.sinks[Signal.METRICS].error = RetryableError("queue is full", retry_after_s=sent)
        error = await _error(export(make_wire(Signal.METRICS, 3)))
        assert grpc.StatusCode.UNAVAILABLE == error.code()
        assert "queue is full" == error.details()
        assert hint == _retry_delay(error)
    assert 6 == running.counted("refused", Signal.METRICS, "grpc")
    assert 0 == running.counted("accepted", Signal.METRICS, "grpc")


async def test_memory_pressure_refuses_before_reading(serve: Serve, dial: Dial) -> None:
    # OG-3, CV-2
    running = await serve()
    running.sinks[Signal.METRICS].admit_error = RetryableError(
        "data refused due to high memory usage", retry_after_s=1.0
    )
    error = await _error(_export(dial(running.grpc))(make_wire(Signal.METRICS, 3_000)))
    assert grpc.StatusCode.UNAVAILABLE == error.code()
    assert 1.0 == _retry_delay(error)
    assert 0 == running.settings.memory.peak


async def test_what_a_pipeline_will_never_take(serve: Serve, dial: Dial) -> None:
    running = await serve()
    export = _export(dial(running.grpc))
    for failure, code in (
        (PermanentError("no"), grpc.StatusCode.INTERNAL),
        (PermanentError("no", code=Code.INVALID_ARGUMENT), grpc.StatusCode.INVALID_ARGUMENT),
        (PermanentError("no", code=Code.PERMISSION_DENIED), grpc.StatusCode.PERMISSION_DENIED),
        (PermanentError("no", code=Code.RESOURCE_EXHAUSTED), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ):
        running.sinks[Signal.METRICS].error = failure
        error = await _error(export(make_wire(Signal.METRICS, 1)))
        assert code == error.code()
        assert _retry_delay(error) is None


async def test_a_bug_costs_one_call(
    serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    running = await serve()
    export = _export(dial(running.grpc))
    running.sinks[Signal.METRICS].error = ZeroDivisionError("oops")
    error = await _error(export(make_wire(Signal.METRICS, 1)))
    assert (grpc.StatusCode.INTERNAL, "internal error") == (error.code(), error.details())
    assert 1 == running.counted("refused", Signal.METRICS, "grpc")
    assert any("ZeroDivisionError" in message for message in caplog.messages)
    running.sinks[Signal.METRICS].error = None
    assert b"" == await export(make_wire(Signal.METRICS, 1))


async def test_over_size_is_resource_exhausted_without_a_hint(serve: Serve, dial: Dial) -> None:
    # OG-2, OC-8: compressed and decompressed.
    running = await serve(grpc={"max_recv_msg_size_mib": 1})
    export = _export(dial(running.grpc))
    large = bytes(1 << 20) + b"x"
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        error = await _error(export(large, compression=compression))
        assert grpc.StatusCode.RESOURCE_EXHAUSTED == error.code()
        assert _retry_delay(error) is None
    assert await export(make_wire(Signal.METRICS, 1)) == b""


async def test_include_metadata(serve: Serve, dial: Dial) -> None:
    for include in (True, False):
        running = await serve(grpc={"include_metadata": include})
        metadata = (("x-tenant", "a"), ("x-tenant", "b"), ("key-bin", b"c"))
        await _export(dial(running.grpc))(make_wire(Signal.METRICS, 1), metadata=metadata)
        headers = running.sinks[Signal.METRICS].payloads[0].metadata.headers
        if not include:
            assert {} == dict(headers)
            continue
        assert ("a", "b") == headers["x-tenant"]
        assert ("c",) == headers["key-bin"]
        assert (running.grpc,) == headers["host"]


@pytest.mark.parametrize(
    ("sent", "hops"), [(None, 0), ("3", 3), ("x", 0), ("-1", 0), ("9" * 50, 0)]
)
async def test_hops_of_other_collectors(
    serve: Serve, dial: Dial, sent: str | None, hops: int
) -> None:
    running = await serve()
    metadata = () if sent is None else (("mlsysops-hops", sent),)
    await _export(dial(running.grpc))(make_wire(Signal.METRICS, 1), metadata=metadata)
    assert hops == running.sinks[Signal.METRICS].payloads[0].metadata.hops


class Guard:
    """An authenticator that can be slow."""

    def __init__(self) -> None:
        self.gate: asyncio.Event | None = None
        self.asked = 0

    async def start(self) -> None: ...

    async def shutdown(self) -> None: ...

    async def authenticate(self, headers: Mapping[str, Sequence[str]]) -> Mapping[str, str]:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if headers.get("authorization") == ("right",):
            return {"user": "me"}
        raise PeerError("who are you?", Code.UNAUTHENTICATED)


async def test_nobody_is_served_without_authentication(serve: Serve, dial: Dial) -> None:
    guard = Guard()
    host = FakeHost({ComponentID.parse("guard"): guard})
    running = await serve(host=host, grpc={"auth": {"authenticator": "guard"}})
    export = _export(dial(running.grpc))
    error = await _error(export(make_wire(Signal.METRICS, 1)))
    assert (grpc.StatusCode.UNAUTHENTICATED, "who are you?") == (error.code(), error.details())
    # The message is complete long before the answer is known.
    guard.gate = asyncio.Event()
    calls = [
        asyncio.get_running_loop().create_task(_error(export(make_wire(Signal.METRICS, n))))
        for n in (1, 20_000)
    ]
    await wait_until(lambda: guard.asked == 3)
    guard.gate.set()
    for call in calls:
        assert grpc.StatusCode.UNAUTHENTICATED == (await call).code()
    assert [] == running.sinks[Signal.METRICS].payloads
    guard.gate = None
    await export(make_wire(Signal.METRICS, 1), metadata=(("authorization", "right"),))
    assert {"user": "me"} == running.sinks[Signal.METRICS].payloads[0].metadata.auth


async def test_concurrent_requests(serve: Serve, dial: Dial) -> None:
    # OC-16
    running = await serve()
    gate = running.sinks[Signal.LOGS].gate = asyncio.Event()
    export = _export(dial(running.grpc), Signal.LOGS)
    calls = [export(make_wire(Signal.LOGS, 1)) for _ in range(50)]
    waiting = [asyncio.get_running_loop().create_task(_await(call)) for call in calls]
    await wait_until(
        lambda: running.settings.memory.in_flight == 50 * len(make_wire(Signal.LOGS, 1))
    )
    gate.set()
    await asyncio.gather(*waiting)
    assert 50 == running.sinks[Signal.LOGS].items


async def _await(call: Awaitable[bytes]) -> bytes:
    return await call


async def test_a_callers_deadline_stops_its_call(serve: Serve, dial: Dial) -> None:
    running = await serve()
    running.sinks[Signal.METRICS].gate = asyncio.Event()
    error = await _error(_export(dial(running.grpc))(make_wire(Signal.METRICS, 1), timeout=0.1))
    assert grpc.StatusCode.DEADLINE_EXCEEDED == error.code()
    await wait_until(lambda: not running.settings.memory.in_flight)
    assert [] == running.sinks[Signal.METRICS].payloads


async def test_shutdown_lets_calls_under_way_finish(serve: Serve, dial: Dial) -> None:
    running = await serve()
    gate = running.sinks[Signal.METRICS].gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    call = loop.create_task(_await(_export(dial(running.grpc))(make_wire(Signal.METRICS, 1))))
    await wait_until(lambda: running.settings.memory.in_flight)
    port = running.receiver.ports["grpc"]
    stop = loop.create_task(running.receiver.shutdown())
    await wait_until(lambda: not running.receiver.ports)
    gate.set()
    assert b"" == await call
    await stop
    assert 1 == running.sinks[Signal.METRICS].items
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_unix_socket(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    endpoint = f"unix://{tmp_path}/otlp.sock"
    running = await serve(grpc={"endpoint": endpoint, "transport": "unix"})
    await _export(dial(endpoint))(make_wire(Signal.METRICS, 2))
    assert 2 == running.sinks[Signal.METRICS].items
    await running.receiver.shutdown()
    assert [] == os.listdir(tmp_path)  # noqa: PTH208  a look that does not block


async def test_max_concurrent_streams(serve: Serve) -> None:
    running = await serve(grpc={"max_concurrent_streams": 2})
    gate = running.sinks[Signal.METRICS].gate = asyncio.Event()
    caller = Caller()
    calls = [caller.call(make_wire(Signal.METRICS, 1), path=Signal.METRICS.method) for _ in "123"]
    reader, writer = await asyncio.open_connection("127.0.0.1", running.receiver.ports["grpc"])
    writer.write(GREETING + b"".join(calls))
    async with asyncio.timeout(10):
        got = b""
        while not got.endswith(b"\x00\x00\x04\x03\x00\x00\x00\x00\x05\x00\x00\x00\x07"):
            got += await reader.read(1_000)  # RST_STREAM of stream 5: REFUSED_STREAM
    gate.set()
    writer.close()


def test_keepalive_as_configured() -> None:
    from tests.receivers.otlp_running import Running as Configured

    usual = times_of(None)
    assert (7_200.0, 20.0, 300.0, False) == (
        usual.ping_after_s,
        usual.ping_timeout_s,
        usual.ping_interval_min_s,
        usual.permits_idle_pings,
    )
    keepalive = {
        "server_parameters": {"max_connection_age": "30s", "time": "10s"},
        "enforcement_policy": {"min_time": "7s", "permit_without_stream": True},
    }
    config = Configured(grpc={"keepalive": keepalive}).config.protocols.grpc
    assert config is not None
    times = times_of(config.keepalive)
    assert (30.0, 10.0, 20.0, 7.0, True) == (
        times.age_max_s,
        times.ping_after_s,
        times.ping_timeout_s,
        times.ping_interval_min_s,
        times.permits_idle_pings,
    )


def test_a_long_message_does_not_cost_the_hint() -> None:
    status = status_of(RetryableError("x" * 5_000, retry_after_s=3.0))
    assert 3 == len(status.fields())
    assert len(b"".join(name + value for name, value in status.fields())) < 4_000
