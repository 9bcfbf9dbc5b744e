"""htpasswd lines and hashes, checked against hashes that other programs made."""

from __future__ import annotations

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysops_pipeline.extensions import htpasswd

# `htpasswd -nbB`, `openssl passwd -apr1`, `openssl passwd -1`, `htpasswd -nbs`, SSHA by hand.
MADE_ELSEWHERE = [
    ("hello world", "$apr1$abcdefgh$CZx3qOBL3IJw7t4yUwt4J."),
    ("p", "$1$xy$QhV8QI4Eux2Yhxz0UKDii."),
    ("password", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="),
    ("password", "{SSHA}yI6cZwQadOA1e+/f+T+H3eCQQhRzYWx0"),
    ("in plain text", "in plain text"),
]


@pytest.mark.parametrize(("password", "hash_"), MADE_ELSEWHERE)
def test_verifies_every_kind(password: str, hash_: str) -> None:
    assert {"user": hash_} == htpasswd.parse(f"user:{hash_}")
    assert htpasswd.verify(password.encode(), hash_)
    assert not htpasswd.verify(password.encode() + b"x", hash_)
    assert not htpasswd.verify(b"", hash_)


def test_verifies_bcrypt_and_looks_at_72_bytes_only() -> None:
    hash_ = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")
    htpasswd.parse(f"user:{hash_}")

    assert htpasswd.is_slow(hash_)
    assert htpasswd.verify(b"x" * 72, hash_)
    assert htpasswd.verify(b"x" * 80, hash_)
    assert not htpasswd.verify(b"x" * 71, hash_)


def test_a_bcrypt_hash_with_impossible_rounds_is_nobodys() -> None:
    hash_ = "$2y$99$" + "a" * 53
    htpasswd.parse(f"user:{hash_}")

    assert not htpasswd.verify(b"a", hash_)


def test_blank_lines_and_comments_are_skipped_and_the_last_line_of_a_user_wins() -> None:
    assert {"a": "2", "b": "x:y"} == htpasswd.parse("\n# people\na:1\r\n  b:x:y \n\na:2\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no colon", "line 2: expected USER:HASH"),
        (":hash", "line 2: expected USER:HASH"),
        ("user:", "line 2: expected USER:HASH"),
        ("user:$2y$05$short", "line 2: not a complete bcrypt hash"),
        ("user:$apr1$salt$short", "line 2: not a complete MD5-crypt hash"),
        ("user:{SHA}not base64", "line 2: not a complete SHA hash"),
        ("user:{SHA}AAAA", "line 2: not a complete SHA hash"),
        ("user:{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "line 2: not a complete SHA hash"),
        ("user:$6$salt$hash", "line 2: a kind of hash that is not supported"),
    ],
)
def test_a_line_that_is_no_entry_is_named_without_its_secret(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        htpasswd.parse(f"first:ok\n{line}")

    assert line.partition(":")[2] == "" or line.partition(":")[2] not in str(caught.value)


@settings(max_examples=30)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        hashes = htpasswd.parse(text)
    except ValueError:
        return
    for hash_ in hashes.values():
        if not htpasswd.is_slow(hash_):
            htpasswd.verify(b"x", hash_)
