"""A Docker daemon and an API server that answer what a test wants, over a real socket."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trustme
from aiohttp import web

from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.testing import make_settings
from mlsysops_processors.resource_detection import (
    FACTORY,
    Config,
    ResourceDetectionProcessor,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import pytest

    from mlsysops_pipeline.pdata.payload import Payload

INFO = {"Name": "dockerhost", "OSType": "linux", "ServerVersion": "27"}
CONTAINER = {"Name": "/agent", "Image": "sha256:1", "Config": {"Image": "agent:1.0"}}


class Peer:
    """Answers by path: an object as JSON, a response, or ``None`` for never."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[web.BaseRequest] = []
        self.over = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        answer = self.answers.get(request.path, web.Response)
        if isinstance(answer, list):  # one after the other
            answer = answer.pop(0)
        if answer is web.Response:
            return web.Response(status=404, text="page not found")
        if answer is None:
            await self.over.wait()
        if callable(answer):
            made: web.Response = await answer(request)
            return made
        return web.json_response(answer)


def status(code: int, text: str = "no", **headers: str) -> Callable[[web.BaseRequest], Any]:
    async def answer(_request: web.BaseRequest) -> web.Response:
        return web.Response(status=code, text=text, headers=headers)

    return answer


async def hang_up(request: web.BaseRequest) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def serving(
    answers: dict[str, Any], *, path: Path | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Peer, int]]:
    """A peer at a unix socket, or at a port of loopback."""
    peer = Peer(answers)
    server = web.Server(peer.handle)
    runner = web.ServerRunner(server)
    await runner.setup()
    site: web.BaseSite
    if path is not None:
        site = web.UnixSite(runner, str(path))
    else:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        port = 0 if path is not None else runner.addresses[0][1]
        yield peer, port
    finally:
        peer.over.set()
        await runner.cleanup()


def authority(monkeypatch: pytest.MonkeyPatch, folder: Path) -> ssl.SSLContext:
    """A service account in ``folder``, and what its API server shows."""
    from mlsysops_processors.resource_detection import kubernetes

    root = trustme.CA()
    root.cert_pem.write_to_path(str(folder / "ca.crt"))
    (folder / "token").write_text("secret-token\n")
    monkeypatch.setattr(kubernetes, "SERVICE_ACCOUNT", folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    root.issue_cert("127.0.0.1").configure_cert(context)
    return context


def make(config: dict[str, Any], **changes: Any) -> ResourceDetectionProcessor:
    settings = make_settings("resource_detection", **{"ledger": None, "pipeline": None, **changes})
    made = FACTORY.create(parse_config(Config, config), settings, None)
    assert isinstance(made, ResourceDetectionProcessor)
    return made


def attributes(payload: Payload, index: int = 0) -> dict[str, Any]:
    """The attributes of a resource of a payload."""
    from tests.core.pdata.wires import OFFICIAL

    request: Any = OFFICIAL[payload.signal].FromString(payload.joined())
    resource = request.ListFields()[0][1][index].resource
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value"))
        for pair in resource.attributes
    }
