"""htpasswd files: ``USER:HASH`` lines, as Apache's ``htpasswd`` writes them. Pure; no I/O.

Kinds of hashes: bcrypt (``$2y$``), MD5-crypt (``$apr1$``, ``$1$``), ``{SHA}``, ``{SSHA}`` and, as
in the Collector, plain text. A hash of a kind that is not known is an error: taking it for plain
text would make the hash itself the password.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_BCRYPT = re.compile(r"\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}")
_MD5_CRYPT = re.compile(r"\$(apr1|1)\$([^$:]{0,8})\$([./A-Za-z0-9]{22})")
_BCRYPT_BYTES_MAX = 72
"""bcrypt uses no more of a password than this; what follows never mattered."""
_MD5_ROUNDS = 1000
_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MD5_ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))
_SHA1_BYTES = 20
_SALT_BYTES_MAX = 64


def parse(text: str) -> dict[str, str]:
    """Hashes by user; a later line wins. Raises `ValueError` that names the line, not the hash."""
    hashes: dict[str, str] = {}
    for number, raw_line in enumerate(text.splitlines(), 1):
        line = raw_line.strip()
        if not line or line.startswith("#"):
            continue
        user, colon, hash_ = line.partition(":")
        if not colon or not user or not hash_:
            raise ValueError(f"line {number}: expected USER:HASH")
        problem = _problem(hash_)
        if problem:
            raise ValueError(f"line {number}: {problem}")
        hashes[user] = hash_
    return hashes


def _problem(hash_: str) -> str:
    """Why a hash cannot be used, or nothing."""
    if hash_.startswith("$2"):
        return "" if _BCRYPT.fullmatch(hash_) else "not a complete bcrypt hash"
    if hash_.startswith(("$apr1$", "$1$")):
        return "" if _MD5_CRYPT.fullmatch(hash_) else "not a complete MD5-crypt hash"
    if hash_.startswith(("{SHA}", "{SSHA}")):
        is_salted = hash_.startswith("{SSHA}")
        digest = _base64(hash_.partition("}")[2])
        if digest is None:
            return "not a complete SHA hash"
        salt_bytes = len(digest) - _SHA1_BYTES
        is_complete = 0 < salt_bytes <= _SALT_BYTES_MAX if is_salted else not salt_bytes
        return "" if is_complete else "not a complete SHA hash"
    if hash_.startswith("$") and hash_.count("$") > 1:
        return "a kind of hash that is not supported; use bcrypt (htpasswd -B)"
    return ""


def is_slow(hash_: str) -> bool:
    """Whether verifying takes so long that it must not run in the event loop."""
    return hash_.startswith(("$2", "$apr1$", "$1$"))


def verify(password: bytes, hash_: str) -> bool:
    """Whether a password has this hash, as `parse` returned it. Compares in constant time."""
    if hash_.startswith("$2"):
        import bcrypt  # noqa: PLC0415  only servers with bcrypt hashes need it

        try:
            return bcrypt.checkpw(password[:_BCRYPT_BYTES_MAX], hash_.encode())
        except ValueError:  # for example a rounds number that no bcrypt has
            return False
    if found := _MD5_CRYPT.fullmatch(hash_):
        expected = _md5_crypt(password, found[1].encode(), found[2].encode())
        return hmac.compare_digest(expected, found[3])
    if hash_.startswith(("{SHA}", "{SSHA}")):
        stored = _base64(hash_.partition("}")[2]) or b""
        # What the file format prescribes, not our choice:
        digest = hashlib.sha1(password + stored[_SHA1_BYTES:]).digest()  # noqa: S324
        return hmac.compare_digest(digest, stored[:_SHA1_BYTES])
    return hmac.compare_digest(password, hash_.encode())


def decoy(hashes: Mapping[str, str]) -> str | None:
    """A slow hash of the table, verified in place of an unknown user's so that both take long."""
    return next((hash_ for hash_ in hashes.values() if is_slow(hash_)), None)


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _md5(*parts: bytes) -> bytes:
    return hashlib.md5(b"".join(parts), usedforsecurity=False).digest()


def _md5_crypt(password: bytes, kind: bytes, salt: bytes) -> str:
    """The last part of a hash of Poul-Henning Kamp's MD5-crypt; ``apr1`` differs in its name."""
    once = _md5(password, salt, password)
    start = [password, b"$%b$" % kind, salt]
    start.append((once * (len(password) // 16 + 1))[: len(password)])
    bits = len(password)
    while bits:
        start.append(b"\0" if bits & 1 else password[:1])
        bits >>= 1
    digest = _md5(*start)
    for turn in range(_MD5_ROUNDS):
        digest = _md5(
            password if turn & 1 else digest,
            salt if turn % 3 else b"",
            password if turn % 7 else b"",
            digest if turn & 1 else password,
        )
    groups = [(digest[a] << 16 | digest[b] << 8 | digest[c], 4) for a, b, c in _MD5_ORDER]
    groups.append((digest[11], 2))
    return "".join(_to64(value, width) for value, width in groups)


def _to64(value: int, width: int) -> str:
    return "".join(_ALPHABET[value >> 6 * place & 63] for place in range(width))
