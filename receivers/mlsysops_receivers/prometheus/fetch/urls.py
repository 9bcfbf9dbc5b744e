"""Where a request goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urljoin, urlsplit

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Url:
    """``host``: without brackets. ``target``: path and query as the request line has them.

    ``authority``: host and port as they were written, for the `Host` field.
    """

    scheme: str
    host: str
    port: int
    target: str
    authority: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an absolute URL. Raises `ValueError`."""
        parts = urlsplit(text)
        if parts.scheme not in _PORTS:
            raise ValueError(f"unsupported protocol scheme {parts.scheme[:40]!r}")
        if not parts.hostname or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(f"{text[:200]!r} is no URL")
        target = parts.path or "/"
        if parts.query:
            target += f"?{parts.query}"
        port = parts.port or _PORTS[parts.scheme]
        authority = parts.netloc.rpartition("@")[2]
        return cls(parts.scheme, parts.hostname, port, target, authority)

    def following(self, location: str) -> Self:
        """Where a redirect leads. Raises `ValueError`."""
        return type(self).parse(urljoin(str(self), location))

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: those who share them share connections and secrets."""
        return self.scheme, self.host, self.port

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"
