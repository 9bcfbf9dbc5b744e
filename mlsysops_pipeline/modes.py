"""What `--mode` and `--level` mean: a file of `configs/` and the values that go over it.

A mode is nothing but configuration. Environment variables and flags become small configuration
sources of their own, so that `print-config` shows exactly what they did, and `--config` and
`--set` combine with them by the ordinary rules. Order, weakest first:
mode file < environment < `--config` files < flags < `--set`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MODES = ("agent", "gateway")
LEVELS = ("node", "cluster", "continuum")
ENVIRONMENT_PREFIX = "MLSYSOPS_COLLECTOR_"
_EXPORTER = "otlp_grpc"
_EXPORT_TO = f"--export-to ({ENVIRONMENT_PREFIX}EXPORT_TO)"


class ModeError(ValueError):
    """A flag or environment variable has no sense; the message names it."""


@dataclass(frozen=True, slots=True)
class ModeOptions:
    """The values that flags and environment variables can give. ``None``: not given."""

    listen: str | None = None
    otlp_grpc_port: int | None = None
    otlp_http_port: int | None = None
    telemetry_port: int | None = None
    export_to: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ModeOptions:
        """Read `MLSYSOPS_COLLECTOR_LISTEN` and so on; an empty variable counts as not set.

        Raises `ModeError` for a port that is none.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            name = ENVIRONMENT_PREFIX + field.name.upper()
            text = environment.get(name, "")
            if text:
                values[field.name] = port(text, name) if field.name.endswith("_port") else text
        return cls(**values)

    def given(self) -> dict[str, Any]:
        """Only what was given."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}


def port(text: str, name: str) -> int:
    """A TCP port, 0 to 65535. Raises `ModeError`."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ModeError(f"{name}: expected a port from 0 to 65535, got {text!r}")
    return int(text)


def configuration_folder() -> Path:
    """Where `configs/` is: inside the wheel, or at the top of a checkout."""
    packaged = resources.files("mlsysops_pipeline").joinpath("configs")
    if packaged.is_dir():
        return Path(str(packaged))
    return Path(__file__).resolve().parent.parent / "configs"


def mode_file(mode: str, level: str | None) -> Path:
    """The file that `--mode` and `--level` pick.

    Raises `ModeError` when the two do not go together: a node runs an agent, the others gateways.
    """
    if level is None:
        return configuration_folder() / f"{mode}.yaml"
    if (mode == "agent") != (level == "node"):
        fitting = "agent" if level == "node" else "gateway"
        raise ModeError(f"--level {level} goes with --mode {fitting}, not with --mode {mode}")
    return configuration_folder() / f"{level}.yaml"


def overlay(options: ModeOptions, base: Mapping[str, Any]) -> dict[str, Any]:
    """The options as configuration, to lie over what comes before (``base``: the mode file).

    Every pipeline of the mode file that ends in nothing is led to `--export-to` instead.
    """
    result: dict[str, Any] = {}
    if options.listen == "":
        raise ModeError("--listen: the address is empty; write 0.0.0.0 for every interface")
    protocols = base.get("receivers", {}).get("otlp", {}).get("protocols", {})
    for name, number in (("grpc", options.otlp_grpc_port), ("http", options.otlp_http_port)):
        if options.listen is None and number is None:
            continue
        host, _, known = str(protocols.get(name, {}).get("endpoint", "")).rpartition(":")
        host = options.listen if options.listen is not None else host
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        endpoint = f"{host}:{known if number is None else number}"
        _put(result, ("receivers", "otlp", "protocols", name, "endpoint"), endpoint)
    if options.telemetry_port is not None:
        _put(result, ("service", "telemetry", "metrics"), telemetry(options.telemetry_port))
    if options.export_to is not None:
        _put(result, ("exporters", _EXPORTER), _destination(options.export_to))
        for pipeline in base.get("service", {}).get("pipelines", {}):
            _put(result, ("service", "pipelines", pipeline, "exporters"), [_EXPORTER])
    return result


def telemetry(port_number: int) -> dict[str, Any]:
    """`service.telemetry.metrics` with self-metrics on this port of the loopback; 0 = off."""
    if port_number == 0:
        return {"level": "none", "readers": []}
    exporter = {"prometheus": {"host": "127.0.0.1", "port": port_number}}
    return {"readers": [{"pull": {"exporter": exporter}}]}


def _destination(text: str) -> dict[str, Any]:
    """`HOST:PORT` is plain gRPC, `https://HOST:PORT` is gRPC over TLS."""
    from mlsysops_pipeline.config.values import split_host_port  # noqa: PLC0415  flags come first

    scheme, _, rest = text.rpartition("://")
    try:
        host, number = split_host_port(rest)
    except ValueError as error:
        raise ModeError(f"{_EXPORT_TO}: {error}") from error
    if scheme not in {"", "http", "https"} or not host or not number:
        raise ModeError(f"{_EXPORT_TO}: expected HOST:PORT or https://HOST:PORT, got {text!r}")
    return {
        "endpoint": text,
        "tls": {"insecure": scheme != "https"},
        # Applications send requests of a few items; bytes (64 MiB) are the limit that matters.
        "sending_queue": {"queue_size": 100_000, "batch": {}},
    }


def _put(target: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        target = target.setdefault(key, {})
    target[path[-1]] = value
