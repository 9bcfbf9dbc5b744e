"""The health endpoint: ready or not, and not well while nothing is delivered."""

from __future__ import annotations

import json
import logging
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from mlsysops_pipeline.component import ComponentID, ComponentStatus, Kind, Settings, Status
from mlsysops_pipeline.config.decode import decode, parse_config
from mlsysops_pipeline.config.nodes import from_plain
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.extensions.health_check import FACTORY, Config, HealthCheck, failures
from mlsysops_pipeline.service.status import StatusBoard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mlsysops_pipeline.testing import FakeHost, JumpClock

    Start = Callable[..., Awaitable[HealthCheck]]

EXPORTER = (Kind.EXPORTER, ComponentID("otlp"))


@pytest.fixture
async def start(settings: Settings) -> AsyncIterator[Start]:
    running: list[HealthCheck] = []

    async def run(**keys: Any) -> HealthCheck:
        config = parse_config(Config, {"endpoint": "127.0.0.1:0", **keys})
        made = FACTORY.create(config, settings, None)
        assert isinstance(made, HealthCheck)
        running.append(made)
        await made.start()
        return made

    yield run
    for health in running:
        await health.shutdown()
        await health.shutdown()


async def ask(health: HealthCheck, path: str = "/", method: str = "GET") -> tuple[int, str, str]:
    url = f"http://127.0.0.1:{health.port}{path}"
    async with aiohttp.ClientSession() as client, client.request(method, url) as response:
        return response.status, response.headers["content-type"], await response.text()


async def test_not_ready_then_ready_then_stopping(
    start: Start, host: FakeHost, clock: JumpClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    host.is_ready = False
    health = await start()
    status, content_type, body = await ask(health)
    nothing = {"status": "Server not available", "upSince": "0001-01-01T00:00:00Z", "uptime": ""}
    assert (503, "application/json", nothing) == (status, content_type, json.loads(body))

    host.is_ready = True
    await clock.advance(1.0)
    await clock.advance(62.25)
    status, _, body = await ask(health, "/any?query", "POST")
    expected = {
        "status": "Server available",
        "upSince": "2023-11-14T22:13:21Z",
        "uptime": "1m2.25s",
    }
    assert (200, expected) == (status, json.loads(body))

    host.is_ready = False
    assert 503 == (await ask(health))[0]
    states = [r.getMessage() for r in caplog.records if "state change" in r.getMessage()]
    change = "Health Check state change: status="
    assert [change + "ready", change + "unavailable"] == states


async def test_an_exporter_that_has_been_failing_for_the_interval_is_shown(
    start: Start, host: FakeHost, clock: JumpClock
) -> None:
    board = StatusBoard(clock)
    health = await start(check_collector_pipeline={"interval": "60s"})
    board.report(*EXPORTER, Status.OK)
    board.report(*EXPORTER, Status.RECOVERABLE_ERROR, "logs: no answer")

    await clock.advance(59)
    board.report(*EXPORTER, Status.RECOVERABLE_ERROR, "metrics: no answer")
    host.states = list(board.all())
    assert 200 == (await ask(health))[0]

    await clock.advance(1)
    status, _, body = await ask(health)
    assert 503 == status
    assert [
        {
            "kind": "exporter",
            "id": "otlp",
            "status": "StatusRecoverableError",
            "since": "2023-11-14T22:13:20Z",
            "error": "metrics: no answer",
        }
    ] == json.loads(body)["failing"]

    board.report(*EXPORTER, Status.OK)
    host.states = list(board.all())
    assert 200 == (await ask(health))[0]


def test_a_receiver_whose_targets_are_absent_does_not_close_the_door() -> None:
    receiver = (Kind.RECEIVER, ComponentID("prometheus"))
    absent = ComponentStatus(*receiver, Status.RECOVERABLE_ERROR, "1 of 1 targets fail", 0)
    gone = ComponentStatus(*receiver, Status.PERMANENT_ERROR, "no socket", 0)

    assert [gone] == failures([absent, gone], 10**18, 60.0)


@pytest.mark.parametrize("status", [Status.PERMANENT_ERROR, Status.FATAL_ERROR])
async def test_what_has_failed_for_good_is_shown_at_once_unless_switched_off(
    start: Start, host: FakeHost, status: Status
) -> None:
    host.states = [ComponentStatus(*EXPORTER, status, "gone", 0)]

    assert 503 == (await ask(await start()))[0]
    off = await start(check_collector_pipeline={"enabled": False})
    assert 200 == (await ask(off))[0]


def test_states_that_are_no_failures() -> None:
    fine = [Status.STARTING, Status.OK, Status.STOPPING, Status.STOPPED]
    states = [ComponentStatus(*EXPORTER, status, "", 0) for status in fine]
    assert [] == failures(states, 10**18, 1.0)


async def test_own_bodies_and_path(start: Start, host: FakeHost) -> None:
    health = await start(path="/healthz", response_body={"healthy": "yes", "unhealthy": "no"})

    assert (200, "text/plain; charset=utf-8", "yes") == await ask(health, "/healthz?x=1")
    assert 404 == (await ask(health, "/"))[0]
    host.is_ready = False
    assert (503, "text/plain; charset=utf-8", "no") == await ask(health, "/healthz")


async def test_a_port_in_use_fails_the_start(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=str(port)):
            await start(endpoint=f"127.0.0.1:{port}")


async def test_shutdown_before_start(settings: Settings) -> None:
    await FACTORY.create(Config(), settings, None).shutdown()


def test_configuration_is_checked() -> None:
    assert "localhost:13133" == str(Config().endpoint)
    assert [13133] == [endpoint.port for endpoint in Config().listeners()]
    with pytest.raises(ConfigError, match="path must start with /"):
        parse_config(Config, {"path": "health"})
    with pytest.raises(ConfigError, match="use_v2: is not supported"):
        parse_config(Config, {"use_v2": True})
    with pytest.raises(ConfigError, match="interval: must be greater than zero"):
        parse_config(Config, {"check_collector_pipeline": {"interval": "0s"}})


def test_the_collectors_threshold_has_no_effect_and_says_so() -> None:
    keys = {"check_collector_pipeline": {"enabled": True, "exporter_failure_threshold": 3}}
    _, problems = decode(Config, from_plain(keys))
    assert ["has no effect here"] == [problem.message.partition(":")[0] for problem in problems]
