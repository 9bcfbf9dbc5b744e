"""What users write about detection: keys, defaults and messages of the Collector's processor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Final, Literal

from mlsysops_pipeline.config.schema import (
    ComponentConfig,
    Duration,
    Finding,
    Severity,
    no_effect,
)
from mlsysops_pipeline.delivery.config import RetryConfig

DETECTORS: Final = ("env", "system", "docker", "k8snode", "k8s_api")
"""The detectors there are. The last is the newer name of the one before it."""
_ELSEWHERE: Final = frozenset(
    [
        "akamai",
        "aks",
        "alibaba_ecs",
        "azure",
        "azurecontainerapps",
        "consul",
        "digitalocean",
        "dynatrace",
        "ec2",
        "ecs",
        "eks",
        "elasticbeanstalk",
        "gcp",
        "heroku",
        "hetzner",
        "ibmcloud_classic",
        "ibmcloud_vpc",
        "kubeadm",
        "lambda",
        "nova",
        "openshift",
        "oraclecloud",
        "scaleway",
        "tencent_cvm",
        "upcloud",
        "vultr",
    ]
)
"""Detectors of the Collector that are not built here: all ask the host of a cloud."""
_THOSE: Final = "env, system, docker and k8snode"


class AttributeConfig(ComponentConfig):
    """One attribute that a detector can find."""

    enabled: bool | None = None
    """Whether it is looked for. Unset: as is usual for this attribute."""


class DetectorConfig(ComponentConfig):
    """What detectors have in common."""

    usual: ClassVar[Mapping[str, bool]] = {}
    """The attributes that the detector can find, and whether it does unless told."""

    resource_attributes: dict[str, AttributeConfig] = {}  # noqa: RUF012  models are frozen
    """Which attributes are looked for, by name."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        for name in self.resource_attributes:
            if name not in self.usual:
                message = f"is no attribute of this detector: {', '.join(self.usual)}"
                yield Finding(("resource_attributes", name), message)

    @property
    def wanted(self) -> frozenset[str]:
        """The names of the attributes that are looked for."""
        found = {name for name, is_usual in self.usual.items() if is_usual}
        for name, attribute in self.resource_attributes.items():
            if attribute.enabled is not None:
                (found.add if attribute.enabled else found.discard)(name)
        return frozenset(found)


class EnvConfig(ComponentConfig):
    """The detector `env` has nothing to configure."""


class SystemConfig(DetectorConfig):
    """The machine."""

    usual: ClassVar[Mapping[str, bool]] = {
        "host.name": True,
        "os.type": True,
        **dict.fromkeys(
            [
                "host.arch",
                "host.cpu.cache.l2.size",
                "host.cpu.family",
                "host.cpu.model.id",
                "host.cpu.model.name",
                "host.cpu.stepping",
                "host.cpu.vendor.id",
                "host.id",
                "host.interface",
                "host.ip",
                "host.mac",
                "os.build.id",
                "os.description",
                "os.name",
                "os.version",
            ],
            False,
        ),
    }

    hostname_sources: tuple[Literal["dns", "os", "cname", "lookup"], ...] = ("dns", "os")
    """Where `host.name` is looked for, in order: ``dns`` (the hosts file, then the canonical name,
    then the names of our addresses), ``os`` (what the kernel says), ``cname``, ``lookup`` (the
    names of our addresses). None: ``dns`` and ``os``."""


class DockerConfig(DetectorConfig):
    """The Docker daemon at ``/var/run/docker.sock``, or where ``DOCKER_HOST`` says."""

    usual: ClassVar[Mapping[str, bool]] = {
        "host.name": True,
        "os.type": True,
        "container.name": False,
        "container.image.name": False,
    }


class KubernetesConfig(DetectorConfig):
    """The API server of the cluster that the collector runs in."""

    usual: ClassVar[Mapping[str, bool]] = {
        "k8s.node.name": True,
        "k8s.node.uid": True,
        "k8s.cluster.uid": True,
    }

    auth_type: Literal["serviceAccount", "none", "kubeConfig", "tls"] = "serviceAccount"
    """How we identify ourselves: by the token of the pod's service account, or not at all."""
    context: Annotated[str, no_effect("there is no kubeconfig")] = ""
    """The context of the kubeconfig."""
    kube_api_qps: Annotated[float, no_effect("two questions are asked in all")] = 0.0
    """Questions a second."""
    kube_api_burst: Annotated[int, no_effect("two questions are asked in all")] = 0
    """Questions at once."""
    node_from_env_var: str = "K8S_NODE_NAME"
    """The environment variable with the name of our node, filled by the downward API."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        yield from super().check()
        if self.auth_type not in {"serviceAccount", "none"}:
            message = f'"{self.auth_type}" is not supported: use serviceAccount, or none'
            yield Finding(("auth_type",), message)


class DetectionRetryConfig(RetryConfig):
    """How often a detector that failed is tried again."""

    initial_interval: Duration = 1.0
    """Wait after the first failure, in seconds, before jitter."""
    multiplier: float = 2.0
    """Each wait is this many times the one before."""
    max_elapsed_time: Duration = 0.0
    """Give up after this many seconds; start waits as long. 0: after ``timeout``."""


class Config(ComponentConfig):
    """Who is asked, and what counts more."""

    detectors: tuple[str, ...] = ("env",)
    """Who is asked, in order: of an attribute that several find the first one's value counts.
    env, system, docker, k8snode (which newer files call k8s_api)."""
    override: bool = True
    """Whether what was found replaces attributes that resources have already."""
    timeout: Duration = 5.0
    """Seconds that detection may take in all, and so delay the start; with
    ``retry.max_elapsed_time`` those of one attempt."""
    refresh_interval: Duration = 0.0
    """Seconds between detections after the first. 0: there is only one."""
    fail_on_missing_metadata: bool = False
    """Whether the collector does not start without an answer of Docker or of the API server.
    ``false``: that is said in the log, and data goes without those attributes."""
    retry: DetectionRetryConfig = DetectionRetryConfig()
    """Trying again detectors that failed."""
    env: EnvConfig = EnvConfig()
    """``OTEL_RESOURCE_ATTRIBUTES``: ``key=value,key2=value2``, values in percent-encoding."""
    system: SystemConfig = SystemConfig()
    """The machine."""
    docker: DockerConfig = DockerConfig()
    """The Docker daemon."""
    k8snode: KubernetesConfig = KubernetesConfig()
    """The Kubernetes node, as ``k8s_api``."""
    k8s_api: KubernetesConfig = KubernetesConfig()
    """The Kubernetes node and cluster."""

    def check(self) -> Iterable[Finding]:
        """See `ComponentConfig.check`."""
        if not self.detectors:
            yield Finding(("detectors",), f"at least one is needed, of {_THOSE}")
        for index, written in enumerate(self.detectors):
            name = written.strip()
            if name in _ELSEWHERE:
                message = f'detector "{name}" is not supported: there are {_THOSE}'
                yield Finding(("detectors", index), message)
            elif name not in DETECTORS:
                message = f"invalid detector key: {name}: there are {_THOSE}"
                yield Finding(("detectors", index), message)
            elif name == "k8snode":
                message = "the k8snode detector name is deprecated, use k8s_api instead"
                yield Finding(("detectors", index), message, Severity.WARNING)
        if not self.timeout and not self.retry.max_elapsed_time:
            message = "0 needs retry.max_elapsed_time above 0, or a detector could hang for ever"
            yield Finding(("timeout",), message)

    @property
    def names(self) -> tuple[str, ...]:
        """The detectors, each once."""
        return tuple(dict.fromkeys(name.strip() for name in self.detectors))

    @property
    def limit_s(self) -> float:
        """How long a detection may take, with everything that is tried again."""
        return self.retry.max_elapsed_time or self.timeout
