"""Bearer tokens of servers and clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline.component import Status
from mlsysops_pipeline.config.schema import Opaque
from mlsysops_pipeline.errors import Code, PeerError, RetryableError
from mlsysops_pipeline.extensions.bearertokenauth import (
    FACTORY,
    BearerTokenAuth,
    Config,
    FileRetryConfig,
)
from mlsysops_pipeline.pdata.payload import NO_METADATA
from mlsysops_pipeline.testing import FakeHost, JumpClock, wait_until
from mlsysops_pipeline.transport.auth import ClientAuthenticator, ServerAuthenticator
from mlsysops_pipeline.transport.secret_files import LOOK_INTERVAL_S

if TYPE_CHECKING:
    from pathlib import Path

    from mlsysops_pipeline.component import Settings


def make(settings: Settings, **keys: Any) -> BearerTokenAuth:
    made = FACTORY.create(Config(**keys), settings, None)
    assert isinstance(made, BearerTokenAuth)
    return made


async def refusal(auth: BearerTokenAuth, headers: dict[str, list[str]]) -> str:
    with pytest.raises(PeerError) as caught:
        await auth.authenticate(headers)
    assert Code.UNAUTHENTICATED is caught.value.code
    return caught.value.message


def sent(auth: BearerTokenAuth) -> dict[str, str]:
    headers: dict[str, str] = {}
    auth.apply(headers, NO_METADATA)
    return headers


async def test_a_server_takes_any_of_its_tokens_and_a_client_sends_the_first(
    settings: Settings,
) -> None:
    auth = make(settings, tokens=(Opaque("one"), Opaque("two")))
    assert isinstance(auth, ServerAuthenticator)
    assert isinstance(auth, ClientAuthenticator)
    await auth.start()

    assert {} == await auth.authenticate({"authorization": ["Bearer one"]})
    assert {} == await auth.authenticate({"authorization": ["bearer two"]})
    assert {"authorization": "Bearer one"} == sent(auth)
    await auth.shutdown()


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer two", "Basic one", "one", "Bearer  one", "Bearer one ", "Bearer ö"]
)
async def test_anything_else_is_refused(settings: Settings, value: str) -> None:
    auth = make(settings, token=Opaque("one"))
    message = "provided authorization does not match expected scheme or token"
    assert message == await refusal(auth, {"authorization": [value]})


async def test_a_missing_header_is_refused(settings: Settings) -> None:
    auth = make(settings, token=Opaque("one"))
    assert "missing or empty authorization header" == await refusal(auth, {})
    assert "missing or empty authorization header" == await refusal(auth, {"authorization": [""]})


async def test_another_header_and_no_scheme(settings: Settings) -> None:
    auth = make(settings, token=Opaque("raw value"), scheme="", header="X-Api-Key")

    await auth.authenticate({"x-api-key": ["raw value"]})
    assert {"x-api-key": "raw value"} == sent(auth)
    await refusal(auth, {"authorization": ["raw value"]})


async def test_the_file_wins_and_is_read_again(
    tmp_path: Path, settings: Settings, clock: JumpClock
) -> None:
    path = tmp_path / "tokens"
    path.write_text("  one\n\ntwo\n")
    auth = make(settings, token=Opaque("written"), filename=str(path))
    await auth.start()
    await auth.authenticate({"authorization": ["Bearer two"]})
    await refusal(auth, {"authorization": ["Bearer written"]})

    path.write_text("three")
    await clock.advance(LOOK_INTERVAL_S)
    await wait_until(lambda: sent(auth) == {"authorization": "Bearer three"})

    await refusal(auth, {"authorization": ["Bearer two"]})
    await auth.shutdown()


async def test_without_its_file_the_start_fails(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(OSError, match="absent"):
        await make(settings, filename=str(tmp_path / "absent")).start()


async def test_with_file_retry_it_waits_for_its_file(
    tmp_path: Path, settings: Settings, clock: JumpClock, host: FakeHost
) -> None:
    path = tmp_path / "tokens"
    retry = FileRetryConfig(max_retries=0, retry_interval=2.0)
    auth = make(settings, filename=str(path), file_retry=retry)
    await auth.start()
    with pytest.raises(RetryableError, match=r"no token in .* yet"):
        sent(auth)
    await refusal(auth, {"authorization": ["Bearer "]})

    path.write_text("late")
    await clock.advance(2.0)
    await wait_until(lambda: host.reports[-1][0] is Status.OK)

    assert {"authorization": "Bearer late"} == sent(auth)
    assert Status.RECOVERABLE_ERROR is host.reports[0][0]
    await auth.shutdown()


async def test_file_retry_gives_up_with_a_state(
    tmp_path: Path, settings: Settings, clock: JumpClock, host: FakeHost
) -> None:
    retry = FileRetryConfig(max_retries=2, retry_interval=2.0)
    auth = make(settings, filename=str(tmp_path / "absent"), file_retry=retry)
    await auth.start()

    await clock.advance(0)
    await clock.advance(2.0)
    await wait_until(lambda: clock.pending)
    assert 1 == len(host.reports)
    await clock.advance(2.0)
    await wait_until(lambda: len(settings.tasks) == 0)

    states = [status for status, _ in host.reports]
    assert [Status.RECOVERABLE_ERROR, Status.PERMANENT_ERROR] == states
    assert "after 2 tries" in host.reports[-1][1]
    await auth.shutdown()


@pytest.mark.parametrize(
    ("keys", "messages"),
    [
        ({}, ["no bearer token provided"]),
        ({"tokens": (Opaque(""),)}, ["no bearer token provided"]),
        (
            {"token": Opaque("x"), "tokens": (Opaque("y"),)},
            ["either tokens or token should be provided, not both"],
        ),
        ({"token": Opaque("x"), "header": ""}, ["must not be empty"]),
        ({"filename": "x"}, []),
    ],
)
def test_configuration_is_checked(keys: dict[str, Any], messages: list[str]) -> None:
    assert messages == [finding.message for finding in Config(**keys).check()]


def test_file_retry_is_checked() -> None:
    findings = list(FileRetryConfig(retry_interval=0.0, max_retries=-1).check())
    assert [("retry_interval",), ("max_retries",)] == [finding.path for finding in findings]


def test_tokens_are_not_shown(settings: Settings) -> None:
    auth = make(settings, token=Opaque("hidden"))
    assert "hidden" not in repr(auth) + repr(auth._config)
