"""gRPC peers that are told call by call what to do, over lines of JSON.

@grpc/grpc-js, tonic and grpc-go: ``node/grpc.mjs`` says what the lines are; ``rust/src/main.rs``
and ``grpc_go/main.go`` take the same.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from mlsysops_pipeline import Signal
from tests.interop.conftest import Program

if TYPE_CHECKING:
    from collections.abc import Iterable

_FOLDER: Final = Path(__file__).parent
_NODE_MODULES: Final = _FOLDER / "node" / "node_modules" / "@grpc"
_TONIC: Final = _FOLDER / "rust" / "target" / "release" / "tonic-peer"
_GRPC_GO: Final = _FOLDER / "go" / "grpc-go-peer"

COMMANDS: Final = {
    "grpc-js": [shutil.which("node") or "node", str(_FOLDER / "node" / "grpc.mjs")],
    "tonic": [str(_TONIC)],
    "grpc-go": [str(_GRPC_GO)],
}
METADATA: Final = {"tenant": "a b", "tenant-bin": "AP8="}


def is_installed(peer: str) -> bool:
    """Whether ``peer`` can be run here."""
    if peer == "tonic":
        return _TONIC.is_file()
    if peer == "grpc-go":
        return _GRPC_GO.is_file()
    return shutil.which("node") is not None and _NODE_MODULES.is_dir()


def needs(peer: str) -> str:
    """The program without which ``peer`` cannot be installed."""
    return {"tonic": "cargo", "grpc-go": "go"}.get(peer, "node")


class Said(NamedTuple):
    """How a call ended."""

    code: int
    message: str
    body: bytes


def call(
    peer: str,
    port: int,
    calls: Iterable[tuple[str, bytes]],
    compression: str = "identity",
    *,
    ca: str = "",
    timeout_ms: int = 10_000,
) -> list[Said]:
    """Make calls (path and message), one after the other on one connection."""
    lines = [
        json.dumps(
            {
                "path": path,
                "body": base64.b64encode(body).decode(),
                "metadata": METADATA,
                "timeout_ms": timeout_ms,
            }
        )
        for path, body in calls
    ]
    host = "localhost" if ca else "127.0.0.1"
    command = [*COMMANDS[peer], "client", f"{host}:{port}", compression, *([ca] if ca else [])]
    done = subprocess.run(
        command, input="\n".join(lines), capture_output=True, text=True, timeout=40, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)
    said = map(json.loads, done.stdout.splitlines())
    return [Said(one["code"], one["message"], base64.b64decode(one["body"])) for one in said]


class Server:
    """A server of one of these peers, for the three services of OTLP."""

    def __init__(self, peer: str, port: int, log: Path, compression: str = "identity") -> None:
        paths = [signal.method for signal in Signal] if peer == "grpc-js" else [compression]
        self.program = Program([*COMMANDS[peer], "server", f"127.0.0.1:{port}", *paths], log)
        self.port = port

    def requests(self) -> list[tuple[str, bytes, str]]:
        """Path, message and encoding (empty where the peer does not tell) of every request."""
        lines = [line for line in self.program.text().splitlines() if line.startswith("{")]
        said = [json.loads(line) for line in lines]
        return [
            (one["path"], base64.b64decode(one["body"]), one.get("encoding", "")) for one in said
        ]
