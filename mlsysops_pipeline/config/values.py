"""Values that configuration files write as text: durations, secrets, network addresses."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Self

REDACTED = "[REDACTED]"
_USER_INFO = re.compile(r"""((?://|["'])[^\s"'/:@]*):(?:[^\s"'/]|[\n\r\t])+@""")
"""Name and password in front of a host, in a URL or a quoted address. A password that a variable
gives may have line breaks."""

_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # micro sign
    "μs": 1_000,  # Greek mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3600 * 1_000_000_000,
}
_DURATION_MAX_NS = (1 << 63) - 1  # Go keeps durations in 64 bits: 292 years
_DURATION_LENGTH_MAX = 128
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_DURATION_EXAMPLE = "a duration is a number with a unit, such as 5s, 200ms or 1h30m"


def parse_duration(text: str) -> float:
    """Seconds of a Go duration: ``1h30m``, ``200ms``, ``1.5h``, ``-5s``, ``0``.

    Raises `ValueError` that says what a duration looks like (Go, `time.ParseDuration`).
    """
    body = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if body == "0":
        return 0.0
    if not body or len(text) > _DURATION_LENGTH_MAX:
        raise ValueError(f"{_quoted(text)} is no duration; {_DURATION_EXAMPLE}")
    total_ns = 0.0
    end = 0
    for part in _DURATION_PART.finditer(body):
        if part.start() != end:
            break
        total_ns += float(part[1]) * _UNIT_NS[part[2]]
        end = part.end()
    if end != len(body):
        raise ValueError(_bad_duration(text, body))
    if total_ns > _DURATION_MAX_NS:
        raise ValueError(f"{_quoted(text)} is too long; the longest duration is 2540400h")
    seconds = total_ns / 1e9
    return -seconds if text.startswith("-") else seconds


def _bad_duration(text: str, body: str) -> str:
    if re.fullmatch(r"[0-9.]+", body):
        return f"{_quoted(text)} has no unit; write {text}s if seconds are meant"
    if re.fullmatch(r"[0-9.]+ *(d|days?|w|weeks?)", body):
        return f"{_quoted(text)}: durations have no unit above hours; write days as 24h"
    return f"{_quoted(text)} is no duration; {_DURATION_EXAMPLE}"


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads as the same duration: ``1h30m``, ``200ms``."""
    if not seconds:
        return "0s"
    sign, rest = ("-" if seconds < 0 else ""), round(abs(seconds) * 1e9)
    if rest < _UNIT_NS["s"]:
        unit = next(unit for unit in ("ms", "us", "ns") if rest >= _UNIT_NS[unit] or unit == "ns")
        return f"{sign}{_trimmed(rest, _UNIT_NS[unit])}{unit}"
    hours, rest = divmod(rest, _UNIT_NS["h"])
    minutes, rest = divmod(rest, _UNIT_NS["m"])
    text = (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")
    return sign + text + (f"{_trimmed(rest, _UNIT_NS['s'])}s" if rest else "")


def _trimmed(count: int, unit: int) -> str:
    whole, rest = divmod(count, unit)
    if not rest:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0")


class Opaque:
    """A secret. It prints as ``[REDACTED]`` everywhere; `reveal` is the only way to the text."""

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        self._secret = secret

    @classmethod
    def parse(cls, text: str) -> Self:
        """Wrap a text."""
        return cls(text)

    def reveal(self) -> str:
        """The secret itself, for the code that sends or compares it."""
        return self._secret

    def __bool__(self) -> bool:
        return bool(self._secret)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and self._secret == other._secret

    def __hash__(self) -> int:
        return hash(self._secret)

    def __repr__(self) -> str:
        return REDACTED

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(REDACTED, spec)

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled")

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        return _schema_of_text(cls)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self


@dataclass(frozen=True, slots=True)
class NetAddress:
    """``HOST:PORT``, ``[IPV6]:PORT``, or ``unix://PATH`` or ``/PATH``: then host empty, ``port`` 0.

    ``host`` has no brackets; empty means every interface for a listener.
    """

    host: str
    port: int
    unix_path: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address. Raises `ValueError` that says what is missing or wrong."""
        if text.startswith("/"):
            return cls("", 0, text)  # as the Collector's files write it beside `transport: unix`
        if text.startswith("unix:"):
            path = text.removeprefix("unix:").removeprefix("//")
            if not path:
                raise ValueError("the path after unix:// is missing")
            return cls("", 0, path)
        if not text:
            raise ValueError("must not be empty: write HOST:PORT")
        if "://" in text:
            raise ValueError(f"{_quoted(text)}: expected HOST:PORT without a scheme")
        host, port = split_host_port(text)
        return cls(host, port)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        return _schema_of_text(cls)

    def __str__(self) -> str:
        if self.unix_path:
            return f"unix://{self.unix_path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _schema_of_text(cls: Any) -> Any:
    """For pydantic: an instance of ``cls``, or a text that its `parse` reads."""
    from pydantic_core import core_schema  # noqa: PLC0415  only models need it

    def validate(value: Any) -> Any:
        if isinstance(value, str):
            return cls.parse(value)
        if not isinstance(value, cls):
            raise ValueError(f"expected a string, got {type(value).__name__}")  # noqa: TRY004
        return value

    return core_schema.no_info_plain_validator_function(validate)


def split_host_port(text: str) -> tuple[str, int]:
    """The host, without brackets, and the port (0 to 65535) of ``HOST:PORT``.

    Raises `ValueError` that says what is missing or wrong.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ValueError(f'{_quoted(text)}: "]" is missing after the IPv6 address')
        _check_ipv6(host, text)
        if not rest.startswith(":"):
            raise ValueError(f"{_quoted(text)}: the port is missing; write [{host}]:PORT")
        return host, _port(rest[1:], text)
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"{_quoted(text)}: the port is missing; write HOST:PORT")
    if ":" in host:
        raise ValueError(f"{_quoted(text)}: too many colons; write an IPv6 address as [::1]:4317")
    if not all(c.isprintable() and not c.isspace() for c in host) or set(host) & set('/?#@"<>\\'):
        raise ValueError(f"{_quoted(text)}: the host has characters that no host name has")
    return host, _port(port, text)


def _check_ipv6(host: str, text: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError as error:
        raise ValueError(f"{_quoted(text)}: {_quoted(host)} is no IPv6 address") from error


def _port(text: str, whole: str) -> int:
    if not text:
        raise ValueError(f"{_quoted(whole)}: the port is missing")
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{_quoted(whole)}: the port {_quoted(text)} is not a number")
    if len(text) > 5 or int(text) > 65535:
        raise ValueError(f"{_quoted(whole)}: the port {text[:12]} is above 65535")
    return int(text)


def without_password(text: str) -> str:
    """The text with the passwords masked that stand in its URLs (``http://user:secret@host``)."""
    return _USER_INFO.sub(rf"\1:{REDACTED}@", text) if "@" in text else text


def _quoted(text: str, limit: int = 60) -> str:
    text = without_password(f'"{text}"')[1:-1]
    return f'"{text if len(text) <= limit else text[:limit] + "..."}"'
