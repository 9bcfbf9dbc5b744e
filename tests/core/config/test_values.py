"""Durations, secrets and addresses as text."""

from __future__ import annotations

import contextlib
import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.config.schema import (
    REDACTED,
    NetAddress,
    Opaque,
    format_duration,
    parse_duration,
    split_host_port,
)
from mlsysops_pipeline.config.values import without_password


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("5s", 5.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("200ms", 0.2),
        ("3us", 3e-6),
        ("3µs", 3e-6),
        ("7ns", 7e-9),
        ("-2m", -120.0),
        ("+2m", 120.0),
        ("2540400h", 2540400 * 3600.0),
    ],
)
def test_durations_are_those_of_go(text: str, seconds: float) -> None:
    assert seconds == pytest.approx(parse_duration(text), rel=1e-12)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "1d", "5 s", "1h 30m", "--5s", "1.2.3s", "9999999999h", "1e3s", "5S"]
)
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_duration(text)


@given(st.integers(-(10**15), 10**15))
def test_a_duration_survives_writing_and_reading(nanoseconds: int) -> None:
    seconds = nanoseconds / 1e9
    assert nanoseconds == round(parse_duration(format_duration(seconds)) * 1e9)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (90, "1m30s"), (0.2, "200ms"), (5400, "1h30m"), (1.5, "1.5s")]
)
def test_durations_are_written_short(seconds: float, text: str) -> None:
    assert text == format_duration(seconds)


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_duration(text), float)


@given(st.text(min_size=1))
def test_a_secret_shows_itself_only_when_asked(text: str) -> None:
    secret = Opaque(text)
    assert text == secret.reveal()
    assert {REDACTED} == {str(secret), repr(secret), f"{secret}", f"{secret!s}"}
    assert secret == copy.deepcopy(secret) == copy.copy(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost:4317", "localhost", 4317),
        (":4317", "", 4317),
        ("[::1]:80", "::1", 80),
        ("0.0.0.0:0", "0.0.0.0", 0),
    ],
)
def test_addresses_are_host_and_port(text: str, host: str, port: int) -> None:
    address = NetAddress.parse(text)
    assert (host, port) == (address.host, address.port)
    assert text == str(address)


def test_a_unix_socket_is_an_address() -> None:
    address = NetAddress.parse("unix:///run/otlp.sock")
    assert ("/run/otlp.sock", "", 0) == (address.unix_path, address.host, address.port)
    assert address == NetAddress.parse(str(address))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("host", "port is missing"),
        ("host:", "port is missing"),
        ("host:x", "not a number"),
        ("host:65536", "above 65535"),
        ("::1:80", "too many colons"),
        ("[::1]", "port is missing"),
        ("[::1:80", '"]" is missing'),
        ("[localhost]:80", "no IPv6 address"),
        ("http://host:80", "without a scheme"),
        ("unix://", "path"),
        ("a b:80", "characters"),
        ("host:٣", "not a number"),
    ],
)
def test_other_texts_are_no_addresses(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        NetAddress.parse(text)


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        host, port = split_host_port(text)
        assert 0 <= port <= 65535
        assert not host.startswith("[")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host:1/x", "http://me:[REDACTED]@host:1/x"),
        ("https://:se@cret@host, ftp://a:b@c", "https://:[REDACTED]@host, ftp://a:[REDACTED]@c"),
        ('"me:secret@host": no', '"me:[REDACTED]@host": no'),
        ("http://me@host", "http://me@host"),
        ("http://host:1/a:b@c", "http://host:1/a:b@c"),
        ("mail me: now @ home", "mail me: now @ home"),
    ],
)
def test_a_password_in_a_url_is_masked(text: str, shown: str) -> None:
    assert shown == without_password(text)
