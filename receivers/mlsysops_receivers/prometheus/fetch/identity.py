"""The headers by which a client identifies itself, with secrets from files that may change."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from mlsysops_pipeline.transport.secret_files import SecretFile

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Settings
    from mlsysops_receivers.prometheus.client_config import ClientConfig


class Identity:
    """``lines``: header fields that go to the host that was configured, and to no other."""

    def __init__(self, config: ClientConfig, settings: Settings) -> None:
        self._config = config
        self._texts: dict[str, str] = {}
        self._files = [
            self._file(path, settings)
            for path in dict.fromkeys(p for _, p in config.secret_files())
            if path
        ]
        self.lines = ""

    def _file(self, path: str, settings: Settings) -> SecretFile:
        def use(text: str) -> None:
            if "\n" in text.strip() or "\r" in text.strip():
                raise ValueError("a secret is one line")
            self._texts[path] = text.strip()
            self.lines = self._made()

        return SecretFile(path, use, settings)

    async def load(self) -> None:
        """Read the files for the first time. Raises `OSError` that names one."""
        for file in self._files:
            await file.load()
        self.lines = self._made()

    @property
    def files(self) -> list[SecretFile]:
        """What is worth watching for changes."""
        return self._files

    def _made(self) -> str:
        config = self._config
        fields: list[tuple[str, str]] = []
        basic, authorization = config.basic_auth, config.authorization
        if basic is not None:
            name = self._text(basic.username, basic.username_file)
            password = self._text(basic.password.reveal(), basic.password_file)
            pair = base64.b64encode(f"{name}:{password}".encode()).decode()
            fields.append(("Authorization", f"Basic {pair}"))
        elif authorization is not None:
            secret = self._text(authorization.credentials.reveal(), authorization.credentials_file)
            if secret:
                kind = authorization.type.strip() or "Bearer"
                fields.append(("Authorization", f"{kind} {secret}"))
        elif config.bearer_token or config.bearer_token_file:
            secret = self._text(config.bearer_token.reveal(), config.bearer_token_file)
            fields.append(("Authorization", f"Bearer {secret}"))
        for name, header in config.http_headers.items():
            values = [*map(str, header.values), *(secret.reveal() for secret in header.secrets)]
            values += [self._texts.get(path, "") for path in header.files]
            fields += [(name, value) for value in values]
        return "".join(f"{name}: {_one_line(value)}\r\n" for name, value in fields)

    def _text(self, text: str, path: str) -> str:
        return self._texts.get(path, "") if path else text

    def __repr__(self) -> str:
        return f"<Identity files={len(self._files)}>"


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")
