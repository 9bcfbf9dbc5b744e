"""The end of the line: takes OTLP/gRPC, counts items, answers at once.

Prints its port, then one JSON line with the items per signal for every line it reads.
"""

from __future__ import annotations

import asyncio
import json
import sys

import grpc
from grpc import aio
from mlsysops_pipeline.pdata.counting import count_items

from mlsysops_pipeline.pdata import Signal

_BYTES_MAX = 256 * 1024 * 1024


class Sink(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """Counts what arrives."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(Signal, 0)
        self._handlers = {
            signal.method: grpc.unary_unary_rpc_method_handler(self._counter(signal))
            for signal in Signal
        }

    def _counter(self, signal: Signal) -> object:
        async def count(request: bytes, _context: object) -> bytes:
            self.counts[signal] += count_items(signal, request)
            return b""

        return count

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> object:
        """See `grpc.GenericRpcHandler`."""
        return self._handlers.get(handler_call_details.method)


async def main() -> None:
    sink = Sink()
    server = aio.server(
        options=[("grpc.max_receive_message_length", _BYTES_MAX), ("grpc.so_reuseport", 0)]
    )
    server.add_generic_rpc_handlers((sink,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps({str(signal): n for signal, n in sink.counts.items()}), flush=True)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
