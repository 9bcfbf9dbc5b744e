"""Authentication from an exporter of one collector to a receiver of another, over real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bcrypt
import pytest

from mlsysops_pipeline import Collector
from mlsysops_pipeline.component import ComponentID
from mlsysops_pipeline.pdata.payload import Metadata, Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_payload, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
QUIET = {"metrics": {"level": "none"}}
LOCAL = {
    "endpoint": "127.0.0.1:0",
    "include_metadata": True,
    "auth": {"authenticator": "basicauth"},
}
SERVER: dict[str, Any] = {
    "extensions": {"basicauth": {"htpasswd": {"inline": f"alice:{HASH}"}}},
    "receivers": {"otlp": {"protocols": {"grpc": LOCAL, "http": LOCAL}}},
    "processors": {
        "attributes": {
            "actions": [
                {"key": "user", "action": "insert", "from_context": "auth.username"},
                {"key": "tenant", "action": "insert", "from_context": "metadata.x-tenant"},
                {"key": "address", "action": "insert", "from_context": "client.address"},
            ]
        }
    },
    "service": {
        "telemetry": QUIET,
        "extensions": ["basicauth"],
        "pipelines": {
            "logs": {"receivers": ["otlp"], "processors": ["attributes"], "exporters": ["seen"]}
        },
    },
}
EXPORTERS = [("otlp_grpc", "grpc", "127.0.0.1:{}"), ("otlp_http", "http", "http://127.0.0.1:{}")]


class Server:
    """A collector that asks for a password, and what it took."""

    def __init__(self) -> None:
        self.payloads: list[Payload] = []
        self.collector = Collector(SERVER, sinks={"seen": self.take})

    async def take(self, payload: Payload) -> None:
        self.payloads.append(payload)

    def port(self, protocol: str) -> int:
        return int(self.collector.graph.receivers[ComponentID("otlp")].ports[protocol])


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    async with made.collector:
        yield made


def client(type_: str, endpoint: str, credentials: str) -> Collector:
    headers = [
        {"key": "Authorization", "value": credentials},
        {"key": "X-Tenant", "from_context": "x-scope"},
    ]
    exporter = {
        "endpoint": endpoint,
        "tls": {"insecure": True},
        "auth": {"authenticator": "headers_setter"},
    }
    config = {
        "extensions": {"headers_setter": {"headers": headers}},
        "exporters": {type_: exporter},
        "service": {
            "telemetry": QUIET,
            "extensions": ["headers_setter"],
            "pipelines": {"logs": {"receivers": ["app"], "exporters": [type_]}},
        },
    }
    return Collector(config, sources=["app"])


@pytest.mark.parametrize(("type_", "protocol", "form"), EXPORTERS)
async def test_who_sent_it_is_known_to_processors(
    server: Server, type_: str, protocol: str, form: str
) -> None:
    payload = make_payload(Signal.LOGS, 2, metadata=Metadata(headers={"x-scope": ("acme",)}))
    endpoint = form.format(server.port(protocol))

    async with client(type_, endpoint, "Basic YWxpY2U6c2VjcmV0") as sender:
        await sender.feed("app", payload)
        await wait_until(lambda: server.payloads)

    taken = server.payloads[0].joined()
    assert [True] * 3 == [text in taken for text in (b"alice", b"acme", b"127.0.0.1")]


@pytest.mark.parametrize(("type_", "protocol", "form"), EXPORTERS)
async def test_wrong_credentials_are_not_tried_for_ever(
    server: Server, type_: str, protocol: str, form: str
) -> None:
    endpoint = form.format(server.port(protocol))

    async with client(type_, endpoint, "Basic d3Jvbmc6d3Jvbmc=") as sender:
        await sender.feed("app", make_payload(Signal.LOGS, 2))
        await wait_until(
            lambda: [
                sample
                for sample in sender.metrics()
                if "dropped" in sample.name and sample.value == 2
            ]
        )

    assert [] == server.payloads
