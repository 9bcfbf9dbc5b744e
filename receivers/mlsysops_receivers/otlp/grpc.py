"""OTLP/gRPC: the receiver's methods on the native gRPC server (conformance OG-1 to OG-4).

It answers health checks (grpc.health.v1) too, which load balancers and Kubernetes make.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.transport import listen
from mlsysops_pipeline.transport.auth import server_authenticator
from mlsysops_pipeline.transport.compression import decompress_aside
from mlsysops_pipeline.transport.http2 import limits
from mlsysops_pipeline.transport.http2.calls import Service, UnaryMethod
from mlsysops_pipeline.transport.http2.health import CHECK, health_check
from mlsysops_pipeline.transport.http2.lifetime import Times
from mlsysops_pipeline.transport.http2.server import NativeGrpcServer
from mlsysops_pipeline.transport.http2.status import GrpcStatus
from mlsysops_pipeline.transport.outgoing import HOPS_HEADER
from mlsysops_pipeline.transport.refusals import refusal
from mlsysops_pipeline.transport.rpc_status import encode_status
from mlsysops_pipeline.transport.server_settings import (
    KeepaliveEnforcement,
    KeepaliveParameters,
    address_family,
)
from mlsysops_pipeline.transport.tls import server_context
from mlsysops_receivers.otlp.intake import METADATA_MAX, Intake, Senders

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from mlsysops_pipeline.component import Rest, Settings
    from mlsysops_pipeline.memory import MemoryAccount
    from mlsysops_pipeline.pdata.payload import Metadata
    from mlsysops_pipeline.transport.http2.requests import GrpcRequest
    from mlsysops_pipeline.transport.server_settings import GrpcServerConfig, KeepaliveServerConfig

_FULL_SUCCESS: Final = b""  # OC-4: an answer without partial_success has no fields
_DETAILS_MESSAGE_MAX: Final = 500
_HOPS: Final = HOPS_HEADER.encode()


async def start_grpc(
    config: GrpcServerConfig, intakes: Iterable[Intake], settings: Settings
) -> tuple[NativeGrpcServer, int]:
    """Serve the intakes; the server and its port. Raises `OSError` or `ConfigError`."""
    tls = server_context(config.tls, ("h2",), settings.logger) if config.tls else None
    authenticator = None
    if config.auth is not None:
        authenticator = server_authenticator(settings.host, config.auth.authenticator)
    senders = Senders("grpc")
    methods = {
        intake.signal.method: _method(
            intake, senders, settings.memory, keeps_headers=config.include_metadata
        )
        for intake in intakes
    }
    service = Service(
        methods={**methods, CHECK: health_check(methods)},
        memory=settings.memory,
        status_of=status_of,
        message_bytes_max=config.message_bytes_max,
        streams_max=config.max_concurrent_streams or limits.STREAMS_MAX,
        times=times_of(config.keepalive),
    )
    sockets = listen.bind(config.endpoint, address_family(config.transport))
    port = listen.port_of(sockets)
    server = NativeGrpcServer(
        service,
        sockets,
        clock=settings.clock,
        logger=settings.logger,
        decompress=decompress_aside,
        tls=tls,
        authenticator=authenticator,
    )
    try:
        await server.start()
    except BaseException:
        await server.shutdown(0.0)
        raise
    return server, port


def _method(
    intake: Intake, senders: Senders, memory: MemoryAccount, *, keeps_headers: bool
) -> UnaryMethod:
    known: dict[tuple[str, object], Metadata] = {}

    def metadata(request: GrpcRequest) -> Metadata:
        if keeps_headers or request.auth:
            headers = request.headers if keeps_headers else None
            return senders.metadata(request.peer, request.header(_HOPS), headers, request.auth)
        # Looking through the fields for the hops takes longer than all the rest of this.
        key = (request.peer, request.head)
        found = known.get(key)
        if found is None:
            if len(known) >= METADATA_MAX:
                known.clear()
            found = senders.metadata(request.peer, request.header(_HOPS), None, request.auth)
            known[key] = found
        return found

    def handle_now(request: GrpcRequest) -> bytes | Callable[[], Awaitable[bytes]]:
        rest = intake.take_now(request.message, metadata(request))
        return _FULL_SUCCESS if rest is None else partial(_succeed, rest)

    async def handle(request: GrpcRequest) -> bytes:
        grown = len(request.message) - request.wire_bytes  # what came is charged by the server
        with memory.held(grown):
            await intake.take(request.message, metadata(request))
        return _FULL_SUCCESS

    return UnaryMethod(handle, intake.admit, handle_now)


async def _succeed(rest: Rest) -> bytes:
    await rest()
    return _FULL_SUCCESS


def status_of(error: Exception) -> GrpcStatus:
    """How a call that was not accepted is answered; with RetryInfo if a retry may help."""
    told = refusal(error)
    if told.retry_after_s is None:
        return GrpcStatus(told.code, told.message)
    # A long message would push the hint out of what clients take for trailers.
    details = encode_status(told.code, told.message[:_DETAILS_MESSAGE_MAX], told.retry_after_s)
    return GrpcStatus(told.code, told.message, details)


def times_of(config: KeepaliveServerConfig | None) -> Times:
    """Keepalive as configured; what is left out or zero is gRPC's default."""
    usual = Times()
    parameters = (config and config.server_parameters) or KeepaliveParameters()
    policy = (config and config.enforcement_policy) or KeepaliveEnforcement()
    return Times(
        idle_max_s=parameters.max_connection_idle or usual.idle_max_s,
        age_max_s=parameters.max_connection_age or usual.age_max_s,
        age_grace_s=parameters.max_connection_age_grace or usual.age_grace_s,
        ping_after_s=parameters.time or usual.ping_after_s,
        ping_timeout_s=parameters.timeout or usual.ping_timeout_s,
        ping_interval_min_s=policy.min_time or usual.ping_interval_min_s,
        permits_idle_pings=policy.permit_without_stream,
    )
