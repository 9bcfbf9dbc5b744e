"""Basic authentication of servers and clients."""

from __future__ import annotations

import asyncio
import base64
import threading
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest

from mlsysops_pipeline.config.schema import Opaque
from mlsysops_pipeline.errors import Code, PeerError, RetryableError
from mlsysops_pipeline.extensions import htpasswd
from mlsysops_pipeline.extensions.basicauth import (
    FACTORY,
    BasicAuthClient,
    BasicAuthServer,
    ClientAuthConfig,
    Config,
    HtpasswdConfig,
    Remembered,
    parse_basic,
)
from mlsysops_pipeline.pdata.payload import NO_METADATA
from mlsysops_pipeline.testing import JumpClock, wait_until
from mlsysops_pipeline.transport.auth import ClientAuthenticator, ServerAuthenticator
from mlsysops_pipeline.transport.secret_files import LOOK_INTERVAL_S

if TYPE_CHECKING:
    from pathlib import Path

    from mlsysops_pipeline.component import Settings

BCRYPT = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()


def header(user: str, password: str, scheme: str = "Basic") -> dict[str, list[str]]:
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"authorization": [f"{scheme} {text}"]}


def server(settings: Settings, inline: str = f"alice:{BCRYPT}\nbob:plain", file: str = "") -> Any:
    config = Config(htpasswd=HtpasswdConfig(inline=Opaque(inline), file=file))
    return FACTORY.create(config, settings, None)


async def refusal(authenticator: BasicAuthServer, headers: dict[str, list[str]]) -> str:
    with pytest.raises(PeerError) as caught:
        await authenticator.authenticate(headers)
    assert Code.UNAUTHENTICATED is caught.value.code
    return caught.value.message


async def test_right_credentials_give_the_attributes_of_the_sender(settings: Settings) -> None:
    basic = server(settings)
    await basic.start()
    headers = header("alice", "secret")

    first = await basic.authenticate(headers)
    second = await basic.authenticate(headers)

    assert {"username": "alice", "raw": headers["authorization"][0]} == first
    assert first is second
    assert "bob" == (await basic.authenticate(header("bob", "plain", "bAsIc")))["username"]
    await basic.shutdown()
    assert isinstance(basic, ServerAuthenticator)


async def test_wrong_credentials_are_refused_each_with_its_reason(settings: Settings) -> None:
    basic = server(settings)

    assert "no basic auth provided" == await refusal(basic, {})
    assert "no basic auth provided" == await refusal(basic, {"authorization": [""]})
    for user, password in [("alice", "wrong"), ("bob", "plai"), ("carol", "plain"), ("", "")]:
        for _ in range(2):  # the second answer is remembered
            assert "invalid credentials" == await refusal(basic, header(user, password))
    message = "invalid authorization scheme prefix"
    assert message == await refusal(basic, {"authorization": ["Bearer x"]})


@pytest.mark.parametrize("text", ["Basic", "Basic !!!", "Basic bm8gY29sb24=", "Basic //86/w=="])
def test_what_is_no_pair_of_user_and_password(text: str) -> None:
    with pytest.raises(PeerError, match="invalid authorization format"):
        parse_basic(text)


def test_the_password_may_have_colons_and_any_bytes() -> None:
    text = base64.b64encode(b"user:a:b\xff").decode()
    assert ("user", b"a:b\xff") == parse_basic(f"Basic {text}")


async def test_slow_hashes_are_verified_in_a_thread_and_once_for_the_same_credentials(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def verify(_password: bytes, _hash: str) -> bool:
        threads.append(threading.get_ident())
        return True

    monkeypatch.setattr(htpasswd, "verify", verify)
    basic = server(settings)

    answers = await asyncio.gather(
        *(basic.authenticate(header("alice", "secret")) for _ in range(20))
    )

    assert {"alice"} == {answer["username"] for answer in answers}
    assert len(threads) <= 2
    assert threading.get_ident() not in threads


async def test_a_flood_of_logins_is_told_to_come_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(htpasswd, "verify", lambda _password, _hash: not go_on.wait(10))
    basic = server(settings)

    calls = [basic.authenticate(header("alice", str(number))) for number in range(70)]
    tasks = [asyncio.ensure_future(call) for call in calls]  # noqa: TID251  a flood of peers
    await asyncio.sleep(0)
    go_on.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert 6 == sum(isinstance(answer, RetryableError) for answer in answers)
    assert 64 == sum(isinstance(answer, PeerError) for answer in answers)


async def test_an_unknown_user_takes_as_long_as_a_known_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []

    def verify(_password: bytes, hash_: str) -> bool:
        verified.append(hash_)
        return True  # even if the decoy's password is right

    monkeypatch.setattr(htpasswd, "verify", verify)

    assert "invalid credentials" == await refusal(server(settings), header("carol", "secret"))
    assert [BCRYPT] == verified


def test_what_is_remembered_is_bounded_and_holds_no_password() -> None:
    remembered = Remembered(entries_max=3)
    for number in range(10):
        remembered.add(remembered.digest(f"hidden {number}"), {"username": str(number)})
        remembered.add(remembered.digest(f"wrong {number}"), None)

    assert 6 == len(remembered)
    assert remembered.find(remembered.digest("hidden 0")) is None
    assert {"username": "9"} == remembered.find(remembered.digest("hidden 9"))
    with pytest.raises(PeerError):
        remembered.find(remembered.digest("wrong 9"))
    assert "hidden" not in repr(vars(remembered))
    assert Remembered().digest("x") != Remembered().digest("x")


async def test_a_changed_file_holds_for_credentials_seen_before(
    tmp_path: Path, settings: Settings, clock: JumpClock
) -> None:
    path = tmp_path / "htpasswd"
    path.write_text("dave:old\nerin:file")
    basic = server(settings, inline="erin:inline", file=str(path))
    await basic.start()
    await basic.authenticate(header("dave", "old"))
    await basic.authenticate(header("erin", "inline"))  # inline wins

    path.write_text("dave:changed")
    await clock.advance(LOOK_INTERVAL_S)
    await wait_until(lambda: basic._hashes["dave"] == "changed")

    assert "invalid credentials" == await refusal(basic, header("dave", "old"))
    await basic.authenticate(header("dave", "changed"))
    await basic.authenticate(header("erin", "inline"))
    await basic.shutdown()


async def test_a_bad_file_fails_the_start(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "htpasswd"
    path.write_text("ok:ok\nnothing")

    with pytest.raises(OSError, match="htpasswd: line 2: expected USER:HASH"):
        await server(settings, file=str(path)).start()


async def test_a_client_sends_its_credentials(settings: Settings) -> None:
    config = ClientAuthConfig(username="alice", password=Opaque("pässword"))
    client = FACTORY.create(Config(client_auth=config), settings, None)
    await client.start()
    headers = {"authorization": "old"}

    client.apply(headers, NO_METADATA)

    assert ("alice", "pässword".encode()) == parse_basic(headers["authorization"])
    assert client.needs_tls
    await client.shutdown()
    assert isinstance(client, ClientAuthenticator)


async def test_a_client_reads_files_and_notices_new_passwords(
    tmp_path: Path, settings: Settings, clock: JumpClock
) -> None:
    (tmp_path / "user").write_text("frank\n")
    (tmp_path / "password").write_text("one\n")
    client = BasicAuthClient(
        ClientAuthConfig(
            username="ignored",
            username_file=str(tmp_path / "user"),
            password_file=str(tmp_path / "password"),
        ),
        settings,
    )
    await client.start()

    def sent() -> tuple[str, bytes]:
        headers: dict[str, str] = {}
        client.apply(headers, NO_METADATA)
        return parse_basic(headers["authorization"])

    assert ("frank", b"one") == sent()
    (tmp_path / "password").write_text("second")
    await clock.advance(LOOK_INTERVAL_S)
    await wait_until(lambda: sent() == ("frank", b"second"))
    await client.shutdown()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(), "no credentials source provided"),
        (Config(htpasswd=HtpasswdConfig()), "no credentials source provided"),
        (Config(client_auth=ClientAuthConfig()), "no credentials source provided"),
        (
            Config(htpasswd=HtpasswdConfig(file="x"), client_auth=ClientAuthConfig(username="x")),
            "only one of 'htpasswd' and 'client_auth' can be given",
        ),
    ],
)
def test_one_role_with_credentials_is_wanted(config: Config, message: str) -> None:
    assert [message] == [finding.message for finding in config.check()]


def test_inline_entries_are_checked_before_anything_starts() -> None:
    findings = list(HtpasswdConfig(inline=Opaque("ok:ok\nnothing")).check())
    assert [("inline",)] == [finding.path for finding in findings]
    assert ["must not contain a colon"] == [
        finding.message for finding in ClientAuthConfig(username="a:b").check()
    ]
