"""Where a job finds its targets: lists, files, HTTP; and the ways that come later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from mlsysops_pipeline.config.schema import (
    ComponentConfig,
    Finding,
    Severity,
    refused,
    split_host_port,
)
from mlsysops_pipeline.transport.client_settings import HttpUrl  # noqa: TC001  pydantic reads it
from mlsysops_receivers.prometheus.client_config import ClientConfig
from mlsysops_receivers.prometheus.scalars import PromDuration, Text

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE_ENDINGS: Final = (".json", ".yml", ".yaml")
_REFRESH_S: Final = {"file": 300.0, "http": 60.0}


def _later(what: str) -> Any:
    return refused(
        f"discovery by {what} comes later; until then let its targets be written to a file and "
        "name that in file_sd_configs, or use http_sd_configs",
        unless=(),
    )


class StaticConfig(ComponentConfig):
    """Targets that stand in the configuration."""

    targets: tuple[Text, ...] = ()
    """HOST:PORT of each target; without a port that of the scheme."""
    labels: dict[str, Text] = {}  # noqa: RUF012  models are frozen
    """Labels of all of them."""

    def check(self) -> Iterable[Finding]:
        """Labels have names."""
        for name in self.labels:
            if not name:
                yield Finding(("labels",), "a label without a name")

    def address_findings(self) -> Iterable[Finding]:
        """A target is an address, not a URL, unless relabelling makes an address of it."""
        for index, target in enumerate(self.targets):
            problem = address_problem(target)
            if problem:
                yield Finding(("targets", index), problem)
            elif reason := _never_scraped(target):
                message = f"can never be scraped: {reason}"
                yield Finding(("targets", index), message, Severity.WARNING)


def _never_scraped(address: str) -> str:
    """Why this is no address; empty if it is one. Prometheus starts with such a target."""
    if ":" not in address or address.endswith("]"):
        return ""  # the port is that of the scheme
    try:
        _, port = split_host_port(address)
    except ValueError as error:
        return str(error)
    return "" if port else f'"{address}": port 0 is nowhere'


def address_problem(address: str) -> str:
    """What is wrong with the address of a target; empty if nothing is."""
    if "://" in address:
        return f"{address!r} is not a valid hostname: write HOST:PORT, and scheme and metrics_path"
    if "/" in address:
        return f"{address!r} is not a valid hostname: the path goes into metrics_path"
    if not address or not address.isprintable() or " " in address:
        return f"{address!r} is not a valid hostname"
    return ""


class FileDiscoveryConfig(ComponentConfig):
    """Targets in files, which may change while we run."""

    files: tuple[str, ...]
    """Paths that end in .json, .yml or .yaml; the last part may hold a `*`."""
    refresh_interval: PromDuration = PromDuration(_REFRESH_S["file"], "5m")
    """How often the files are read even though they seem unchanged."""

    def check(self) -> Iterable[Finding]:
        """Files of a form that can be read."""
        if not self.files:
            yield Finding(
                ("files",), "file service discovery config must contain at least one path name"
            )
        for index, path in enumerate(self.files):
            folder, _, name = path.rpartition("/")
            if not name.endswith(FILE_ENDINGS) or "*" in folder or name.count("*") > 1:
                message = f'path name "{path}" is not valid for file discovery'
                hint = "it ends in .json, .yml or .yaml, and one * may stand in its last part"
                yield Finding(("files", index), message, suggestion=hint)
        if not self.refresh_interval:
            yield Finding(("refresh_interval",), "must be greater than zero")


class HttpDiscoveryConfig(ClientConfig):
    """Targets that an HTTP server lists."""

    url: HttpUrl
    """Where the list is: JSON, `[{"targets": ["HOST:PORT"], "labels": {"name": "value"}}]`."""
    refresh_interval: PromDuration = PromDuration(_REFRESH_S["http"], "1m")
    """How often it is asked for."""

    def check(self) -> Iterable[Finding]:
        """A URL, and an interval."""
        yield from super().check()
        if not self.url:
            yield Finding(("url",), "URL is missing")
        if not self.refresh_interval:
            yield Finding(("refresh_interval",), "must be greater than zero")


Later = tuple[Any, ...]


class DiscoveryConfig(ComponentConfig):
    """The keys of a job that say where its targets are."""

    static_configs: tuple[StaticConfig, ...] = ()
    """Targets that stand here."""
    file_sd_configs: tuple[FileDiscoveryConfig, ...] = ()
    """Targets in files."""
    http_sd_configs: tuple[HttpDiscoveryConfig, ...] = ()
    """Targets that an HTTP server lists."""
    kubernetes_sd_configs: Annotated[Later, _later("Kubernetes")] = ()
    """Targets of a Kubernetes cluster."""
    aws_sd_configs: Annotated[Later, _later("AWS")] = ()  # not yet
    azure_sd_configs: Annotated[Later, _later("Azure")] = ()  # not yet
    consul_sd_configs: Annotated[Later, _later("Consul")] = ()  # not yet
    digitalocean_sd_configs: Annotated[Later, _later("DigitalOcean")] = ()  # not yet
    dns_sd_configs: Annotated[Later, _later("DNS")] = ()  # not yet
    docker_sd_configs: Annotated[Later, _later("Docker")] = ()  # not yet
    dockerswarm_sd_configs: Annotated[Later, _later("Docker Swarm")] = ()  # not yet
    ec2_sd_configs: Annotated[Later, _later("EC2")] = ()  # not yet
    eureka_sd_configs: Annotated[Later, _later("Eureka")] = ()  # not yet
    gce_sd_configs: Annotated[Later, _later("GCE")] = ()  # not yet
    hetzner_sd_configs: Annotated[Later, _later("Hetzner")] = ()  # not yet
    ionos_sd_configs: Annotated[Later, _later("IONOS")] = ()  # not yet
    kuma_sd_configs: Annotated[Later, _later("Kuma")] = ()  # not yet
    lightsail_sd_configs: Annotated[Later, _later("Lightsail")] = ()  # not yet
    linode_sd_configs: Annotated[Later, _later("Linode")] = ()  # not yet
    marathon_sd_configs: Annotated[Later, _later("Marathon")] = ()  # not yet
    nerve_sd_configs: Annotated[Later, _later("Nerve")] = ()  # not yet
    nomad_sd_configs: Annotated[Later, _later("Nomad")] = ()  # not yet
    openstack_sd_configs: Annotated[Later, _later("OpenStack")] = ()  # not yet
    ovhcloud_sd_configs: Annotated[Later, _later("OVHcloud")] = ()  # not yet
    puppetdb_sd_configs: Annotated[Later, _later("PuppetDB")] = ()  # not yet
    scaleway_sd_configs: Annotated[Later, _later("Scaleway")] = ()  # not yet
    serverset_sd_configs: Annotated[Later, _later("Serverset")] = ()  # not yet
    stackit_sd_configs: Annotated[Later, _later("STACKIT")] = ()  # not yet
    triton_sd_configs: Annotated[Later, _later("Triton")] = ()  # not yet
    uyuni_sd_configs: Annotated[Later, _later("Uyuni")] = ()  # not yet
    vultr_sd_configs: Annotated[Later, _later("Vultr")] = ()  # not yet
