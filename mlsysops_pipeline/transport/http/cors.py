"""Cross-origin requests of browsers (Fetch standard; behaviour of the Collector's HTTP server)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mlsysops_pipeline.transport.http.http1 import Head
    from mlsysops_pipeline.transport.server_settings import CorsConfig

_ALWAYS_ALLOWED: Final = frozenset({"accept", "content-type", "origin", "x-requested-with"})
_METHODS: Final = frozenset({"GET", "HEAD", "POST"})


class Cors:
    """The rules of one server. ``None`` instead of it where no origin is allowed."""

    def __init__(self, config: CorsConfig) -> None:
        self._allows_any = "*" in config.allowed_origins
        self._patterns = [tuple(origin.lower().partition("*")) for origin in config.allowed_origins]
        self._headers = _ALWAYS_ALLOWED | {name.lower() for name in config.allowed_headers}
        self._exposed = ", ".join(config.exposed_headers)
        self._max_age = config.max_age

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may send."""
        origin = origin.lower()
        for before, star, after in self._patterns:
            if not star and origin == before:
                return True
            is_long_enough = len(origin) >= len(before) + len(after)
            if star and is_long_enough and origin.startswith(before) and origin.endswith(after):
                return True
        return False

    def is_preflight(self, head: Head) -> bool:
        """Whether a browser asks before it sends."""
        return (
            head.method == "OPTIONS"
            and "origin" in head.headers
            and "access-control-request-method" in head.headers
        )

    def preflight_fields(self, head: Head) -> list[tuple[str, str]]:
        """The fields of the answer to a preflight; without permission if it is refused."""
        fields = [("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")]
        method = head.header("access-control-request-method")
        requested = head.header("access-control-request-headers")
        names = {name.strip().lower() for name in requested.split(",") if name.strip()}
        if not self.allows(head.header("origin")) or method not in _METHODS:
            return fields
        if "*" not in self._headers and not names <= self._headers:
            return fields
        fields += self._permission(head.header("origin"))
        fields.append(("access-control-allow-methods", method))
        if requested:
            fields.append(("access-control-allow-headers", requested))
        if self._max_age:
            fields.append(("access-control-max-age", str(self._max_age)))
        return fields

    def fields(self, head: Head) -> list[tuple[str, str]]:
        """The fields that every other answer carries."""
        fields = [("vary", "Origin")]
        origin = head.header("origin")
        if origin and self.allows(origin):
            fields += self._permission(origin)
            if self._exposed:
                fields.append(("access-control-expose-headers", self._exposed))
        return fields

    def _permission(self, origin: str) -> list[tuple[str, str]]:
        # With "*" a browser sends no credentials, so a wildcard never exposes a user's session.
        shown = "*" if self._allows_any else origin
        return [
            ("access-control-allow-origin", shown),
            ("access-control-allow-credentials", "true"),
        ]

    def __repr__(self) -> str:
        return f"<Cors origins={len(self._patterns)}>"
