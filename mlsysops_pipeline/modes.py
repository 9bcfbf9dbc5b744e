"""What `--mode` and `--level` mean: a file of `configs/` and the values that go over it.

A mode is nothing but configuration. Environment variables and flags become small configuration
sources of their own, so that `print-config` shows exactly what they did, and `--config` and
`--set` combine with them by the ordinary rules. Order, weakest first:
mode file < environment < `--config` files < flags < `--set`.

Metrics have two routes. The processed one goes to `--export-to` and `--remote-write`; the raw one,
a pipeline of its own, to the Prometheus endpoint. Neither waits for the other: what a queue on the
one has no room for is given up and counted there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlsysops_pipeline.config import ConfigurationSource

MODES = ("agent", "gateway")
LEVELS = ("node", "cluster", "continuum")
ENVIRONMENT_PREFIX = "MLSYSOPS_COLLECTOR_"
_NOWHERE = "no_destination"
_EXPORTER = "otlp_grpc"
_REMOTE_WRITE = "prometheus_remote_write"
_LOKI = "loki"
_TEMPO = "tempo"
_FRAMEWORK_ONLY = ("prometheus_listen", "loki", "tempo")
_PAGE = "prometheus"
_PAGE_FILE = "prometheus.yaml"
_BACK_ENDS = {"metrics": _REMOTE_WRITE, "logs": _LOKI, "traces": _TEMPO}
"""What stores the data of each pipeline."""
# Applications send requests of a few items; bytes (64 MiB) are the limit that matters.
_QUEUED = {
    "sending_queue": {"queue_size": 100_000, "batch": {}},
    # What is above may be down for longer than the Collector's five minutes.
    "retry_on_failure": {"max_elapsed_time": "0s"},
}
_EXPORT_TO = f"--export-to ({ENVIRONMENT_PREFIX}EXPORT_TO)"
_REMOTE_WRITE_TO = f"--remote-write ({ENVIRONMENT_PREFIX}REMOTE_WRITE)"


class ModeError(ValueError):
    """A flag or environment variable has no sense; the message names it."""


@dataclass(frozen=True, slots=True)
class ModeOptions:
    """The values that flags and environment variables can give. ``None``: not given."""

    listen: str | None = None
    otlp_grpc_port: int | None = None
    otlp_http_port: int | None = None
    telemetry_port: int | None = None
    prometheus_port: int | None = None
    export_to: str | None = None
    remote_write: str | None = None
    prometheus_listen: str | None = None
    """Where only the Prometheus endpoint listens. Only the framework's environment has it."""
    loki: str | None = None
    """Where logs go to Loki, a URL. Only the framework's environment has it."""
    tempo: str | None = None
    """Where traces go to Tempo: HOST:PORT or a URL. Only the framework's environment has it."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ModeOptions:
        """Read `MLSYSOPS_COLLECTOR_LISTEN` and so on; an empty variable counts as not set.

        Raises `ModeError` for a port that is none.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            name = ENVIRONMENT_PREFIX + field.name.upper()
            text = environment.get(name, "")
            if text and field.name not in _FRAMEWORK_ONLY:
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
    package = Path(__file__).resolve().parent
    packaged = package / "configs"
    return packaged if packaged.is_dir() else package.parent / "configs"


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


def layers(
    mode: str, level: str | None, given: Mapping[str, ModeOptions]
) -> list[ConfigurationSource]:
    """The sources of a mode: its files, then what each of ``given`` changes, weakest first.

    ``given`` are options under the names of where they come from. A later one that moves a
    listener to another port leaves it at the address that an earlier one gave it.
    Raises `ModeError`.
    """
    from mlsysops_pipeline.config import DictSource  # noqa: PLC0415  the flags come first
    from mlsysops_pipeline.config.nodes import from_plain, merged  # noqa: PLC0415
    from mlsysops_pipeline.config.reading import plain_yaml  # noqa: PLC0415

    path = mode_file(mode, level)
    result: list[ConfigurationSource] = [path]
    base = plain_yaml(path)
    if _has_page(mode, given.values()):
        page = configuration_folder() / _PAGE_FILE
        result.append(page)
        base = merged(from_plain(base), from_plain(plain_yaml(page))).plain()
        host = base["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].rpartition(":")[0]
        section = base["exporters"][_PAGE]
        section["endpoint"] = _moved(section["endpoint"], host, None)
    for name, options in given.items():
        values = overlay(options, base)
        base = merged(from_plain(base), from_plain(values)).plain()
        result.append(DictSource(name, values))
    return result


def _has_page(mode: str, given: Iterable[ModeOptions]) -> bool:
    """An agent has a Prometheus endpoint unless its port is 0, a gateway if anything is given."""
    port_number, host = None, None
    for options in given:
        port_number = port_number if options.prometheus_port is None else options.prometheus_port
        host = options.prometheus_listen or host
    if port_number is not None:
        return port_number != 0
    return mode == "agent" or host is not None


def overlay(options: ModeOptions, base: Mapping[str, Any]) -> dict[str, Any]:
    """The options as configuration, to lie over what comes before (``base``).

    Every pipeline that ends in nothing is led to `--export-to`, those of metrics to
    `--remote-write` as well, and those of logs and traces to Loki and Tempo. Raises `ModeError`.
    """
    result: dict[str, Any] = {}
    if options.listen == "":
        raise ModeError("--listen: the address is empty; write 0.0.0.0 for every interface")
    protocols = base.get("receivers", {}).get("otlp", {}).get("protocols", {})
    for name, number in (("grpc", options.otlp_grpc_port), ("http", options.otlp_http_port)):
        if options.listen is not None or number is not None:
            endpoint = _moved(protocols.get(name, {}).get("endpoint", ""), options.listen, number)
            _put(result, ("receivers", "otlp", "protocols", name, "endpoint"), endpoint)
    page = base.get("exporters", {}).get(_PAGE)
    host, number = options.prometheus_listen or options.listen, options.prometheus_port or None
    if page is not None and (host is not None or number is not None):
        _put(result, ("exporters", _PAGE, "endpoint"), _moved(page["endpoint"], host, number))
    if options.telemetry_port is not None:
        _put(result, ("service", "telemetry", "metrics"), telemetry(options.telemetry_port))
    _lead(options, base, result)
    return result


def _lead(options: ModeOptions, base: Mapping[str, Any], result: dict[str, Any]) -> None:
    """Put the exporters that the options name at the ends of the pipelines of ``base``."""
    exporters: dict[str, Any] = {}
    if options.export_to is not None:
        exporters[_EXPORTER] = _destination(options.export_to)
    if options.remote_write is not None:
        exporters[_REMOTE_WRITE] = _writing_to(
            remote_write_url(options.remote_write, _REMOTE_WRITE_TO)
        )
    if options.loki is not None:
        exporters[_LOKI] = {"endpoint": options.loki, **_QUEUED}
    if options.tempo is not None:
        is_plain = "://" not in options.tempo
        exporters[_TEMPO] = {
            "endpoint": options.tempo,
            **({"tls": {"insecure": True}} if is_plain else {}),
            **_QUEUED,
        }
    for name, section in exporters.items():
        _put(result, ("exporters", name), section)
    for pipeline, plan in base.get("service", {}).get("pipelines", {}).items():
        if _PAGE in plan["exporters"]:
            continue
        first = [_EXPORTER] if _EXPORTER in exporters else []
        last = [name for name in (_BACK_ENDS.get(pipeline, ""),) if name in exporters]
        if first or last:
            # Written even if it was so before: a `--config` file may lie between the two.
            known = [name for name in plan["exporters"] if name != _NOWHERE]
            ends = list(dict.fromkeys([*first, *known, *last]))
            _put(result, ("service", "pipelines", pipeline, "exporters"), ends)


def _moved(endpoint: str, host: str | None, number: int | None) -> str:
    """``endpoint`` at another host or port."""
    known_host, _, known = str(endpoint).rpartition(":")
    host = known_host if host is None else host
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{host}:{known if number is None else number}"


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
        **_QUEUED,
    }


def remote_write_url(text: str, name: str) -> str:
    """A URL that requests can be posted to. Raises `ModeError`, which says ``name``."""
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not text.isprintable() or " " in text:
        raise ModeError(f"{name}: expected http://HOST:PORT/PATH or https://..., got {text!r}")
    return text


def _writing_to(url: str) -> dict[str, Any]:
    return {
        "endpoint": url,
        # As on the page: the same program on two nodes has different series.
        "resource_to_telemetry_conversion": {"enabled": True},
        **_QUEUED,
    }


def _put(target: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        target = target.setdefault(key, {})
    target[path[-1]] = value
