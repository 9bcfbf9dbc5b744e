"""Headers of outgoing requests from values, files, and the request that brought the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline.component import ComponentID, Kind, Settings
from mlsysops_pipeline.config.schema import Opaque
from mlsysops_pipeline.errors import ConfigError
from mlsysops_pipeline.extensions.basicauth import BasicAuthServer, HtpasswdConfig
from mlsysops_pipeline.extensions.bearertokenauth import BearerTokenAuth
from mlsysops_pipeline.extensions.bearertokenauth import Config as BearerConfig
from mlsysops_pipeline.extensions.headers_setter import FACTORY, Config, HeaderConfig, HeadersSetter
from mlsysops_pipeline.pdata.payload import NO_METADATA, Metadata
from mlsysops_pipeline.testing import FakeHost, JumpClock, make_settings, wait_until
from mlsysops_pipeline.transport.auth import ClientAuthenticator
from mlsysops_pipeline.transport.secret_files import LOOK_INTERVAL_S

if TYPE_CHECKING:
    from pathlib import Path

CHOICE = "'from_context', 'from_attribute', 'value', or 'value_file'"
INCOMING = Metadata(headers={"x-tenant": ("acme", "other")}, auth={"username": "alice"})


def make(settings: Settings, *headers: HeaderConfig, additional: str = "") -> HeadersSetter:
    config = Config(
        headers=headers, additional_auth=ComponentID.parse(additional) if additional else None
    )
    made = FACTORY.create(config, settings, None)
    assert isinstance(made, HeadersSetter)
    return made


def applied(
    setter: HeadersSetter,
    headers: dict[str, str] | None = None,
    metadata: Metadata = INCOMING,
) -> dict[str, str]:
    result = dict(headers or {})
    setter.apply(result, metadata)
    return result


def fixed(action: Any) -> HeaderConfig:
    return HeaderConfig(key="X-A", action=action, value=Opaque("new"))


async def test_the_four_actions(settings: Settings) -> None:
    there = {"x-a": "old"}
    for action, with_it, without_it in [
        ("insert", {"x-a": "old"}, {"x-a": "new"}),
        ("update", {"x-a": "new"}, {}),
        ("upsert", {"x-a": "new"}, {"x-a": "new"}),
        ("delete", {}, {}),
    ]:
        setter = make(settings, fixed(action))
        await setter.start()
        assert with_it == applied(setter, there)
        assert without_it == applied(setter)
    assert isinstance(setter, ClientAuthenticator)
    assert not setter.needs_tls


def test_values_from_the_incoming_request(settings: Settings) -> None:
    setter = make(
        settings,
        HeaderConfig(key="X-Scope-OrgID", from_context="X-Tenant"),
        HeaderConfig(key="user", from_attribute="username"),
        HeaderConfig(key="absent", from_context="x-absent"),
        HeaderConfig(key="default", from_context="x-absent", default_value=Opaque("none")),
        HeaderConfig(key="role", from_attribute="role", default_value=Opaque("guest")),
    )

    expected = {"x-scope-orgid": "acme", "user": "alice", "default": "none", "role": "guest"}
    assert expected == applied(setter)
    assert {"default": "none", "role": "guest"} == applied(setter, metadata=NO_METADATA)


def test_a_value_that_is_not_there_leaves_the_header_alone(settings: Settings) -> None:
    setter = make(settings, HeaderConfig(key="x-a", from_context="x-absent"))

    assert {"x-a": "configured"} == applied(setter, {"x-a": "configured"})


def test_an_empty_value_is_a_value(settings: Settings) -> None:
    config = HeaderConfig(key="x-a", value=Opaque(""))
    assert [] == list(config.check())
    assert {"x-a": ""} == applied(make(settings, config))


async def test_a_value_file_is_read_again(
    tmp_path: Path, settings: Settings, clock: JumpClock
) -> None:
    path = tmp_path / "value"
    path.write_text("one\n")
    setter = make(settings, HeaderConfig(key="x-a", value_file=str(path)))
    await setter.start()
    assert {"x-a": "one"} == applied(setter)

    path.write_text("second")
    await clock.advance(LOOK_INTERVAL_S)
    await wait_until(lambda: applied(setter) == {"x-a": "second"})
    await setter.shutdown()


async def test_the_additional_authenticator_is_applied_first(
    settings: Settings, host: FakeHost
) -> None:
    bearer = BearerTokenAuth(BearerConfig(token=Opaque("t")), settings)
    host.extensions[ComponentID("bearertokenauth")] = bearer
    copy = HeaderConfig(key="authorization", action="update", value=Opaque("mine"))

    plain = make(settings, fixed("upsert"), additional="bearertokenauth")
    changed = make(settings, copy, additional="bearertokenauth")
    await plain.start()
    await changed.start()

    assert {"x-a": "new", "authorization": "Bearer t"} == applied(plain)
    assert {"authorization": "mine"} == applied(changed)
    assert plain.needs_tls


async def test_an_additional_authenticator_for_servers_fails_the_start(
    settings: Settings, host: FakeHost
) -> None:
    host.extensions[ComponentID("basicauth")] = BasicAuthServer(HtpasswdConfig(), settings)

    with pytest.raises(ConfigError, match=r"additional_auth: basicauth is no authenticator for cl"):
        await make(settings, fixed("upsert"), additional="basicauth").start()


async def test_a_circle_of_authenticators_fails_the_start(host: FakeHost) -> None:
    circle = []
    for name, other in (("a", "b"), ("b", "a")):
        id_ = f"headers_setter/{name}"
        settings = make_settings(id_, kind=Kind.EXTENSION, host=host)
        setter = make(settings, fixed("upsert"), additional=f"headers_setter/{other}")
        host.extensions[ComponentID.parse(id_)] = setter
        circle.append(setter)

    with pytest.raises(ConfigError, match="leads back to headers_setter/a"):
        await circle[0].start()


@pytest.mark.parametrize(
    ("config", "messages"),
    [
        (HeaderConfig(key="a", value=Opaque("x")), []),
        (HeaderConfig(key="a", action="delete"), []),
        (HeaderConfig(value=Opaque("x")), ["missing header name"]),
        (
            HeaderConfig(key="a"),
            [f"missing header source, must be {CHOICE}"],
        ),
        (
            HeaderConfig(key="a", value=Opaque("x"), from_context="y"),
            [f"invalid header source, must be only one of {CHOICE}"],
        ),
        (
            HeaderConfig(key="a", value=Opaque("x"), default_value=Opaque("y")),
            ["needs 'from_context' or 'from_attribute'"],
        ),
    ],
)
def test_headers_are_checked(config: HeaderConfig, messages: list[str]) -> None:
    assert messages == [finding.message for finding in config.check()]


def test_an_empty_list_is_a_mistake() -> None:
    assert ["missing headers configuration"] == [f.message for f in Config().check()]
