"""Finds out where the collector runs, and gives every resource attributes that say so.

Component reference: C15. Detection happens once at start, which it delays by no more than its
timeout, and again every `refresh_interval`; a failed one leaves what was known before. Only the
resource of each group is opened, and its result is remembered by its bytes. Groups without a schema
URL get that of the attributes.

Where it does otherwise than the Collector: no answer of Docker or of the API server is tried again
within the timeout, where that may help, and said as a warning; what is known without it, such as
the name of the node, is kept. Name servers that do not answer do not use up the time of the other
sources of the host name.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from mlsysops_pipeline.component import Factory, Kind, Stability, Status
from mlsysops_pipeline.pdata import any_values
from mlsysops_pipeline.pdata.attribute_actions import Action, BoundActions, Verb
from mlsysops_pipeline.pdata.byte_cache import ByteCache
from mlsysops_pipeline.pdata.resources import apply_to_resource, rewrite_resources
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_processors.resource_detection.config import Config
from mlsysops_processors.resource_detection.detection import (
    SCHEMA_URL,
    Detected,
    Detection,
    DetectionError,
    Detector,
)

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Settings
    from mlsysops_pipeline.pdata.payload import Payload

__all__ = ["FACTORY", "Config", "ResourceDetectionProcessor"]

_CACHE_BYTES_MAX = 4 << 20
_NOTHING = BoundActions((), ())


class ResourceDetectionProcessor:
    """Implements `Processor`. One object for all pipelines that name it."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._detection = Detection(_detectors(config, settings), config, settings)
        self._verb = Verb.UPSERT if config.override else Verb.INSERT
        self._detected: Detected | None = None
        self._actions = _NOTHING
        self._schema_url = b""
        self._cache = ByteCache(_CACHE_BYTES_MAX)
        meter = settings.meter
        name = "otelcol_resourcedetection.attributes.detected"
        meter.gauge(name, "{attribute}", "Attributes that were found").observe(
            {"processor": str(settings.id)},
            lambda: None if self._detected is None else len(self._detected.found),
        )

    async def start(self) -> None:
        """Detect. Raises `DetectionError` if nothing may run with what was found."""
        self._take(await self._detection.run())
        if self._config.refresh_interval:
            self._settings.tasks.spawn_forever("refresh", self._refresh)

    async def shutdown(self) -> None:
        """Detect no more."""
        await self._settings.tasks.shutdown()

    async def _refresh(self) -> None:
        while True:
            await self._settings.clock.sleep(self._config.refresh_interval)
            try:
                detected = await self._detection.run()
            except DetectionError as error:
                self._settings.logger.warning("detection failed, what was found is kept: %s", error)
                continue
            if detected.failures and self._detected is not None and self._detected.found:
                continue  # which has been said; half of it would be worse than what was
            self._take(detected)

    def _take(self, detected: Detected) -> None:
        """Give resources these attributes from now on."""
        self._settings.logger.info("detected resource information: %s", detected.found)
        self._settings.host.report_status(Status.OK, _state(detected))
        before, self._detected = self._detected, detected
        if before is not None and before.found == detected.found:
            return
        actions = [
            Action(self._verb, key.encode(), any_values.serialize(value))
            for key, value in detected.found.items()
        ]
        self._actions = BoundActions(actions, [None] * len(actions))
        self._schema_url = SCHEMA_URL.encode() if detected.has_schema else b""

    def process(self, payload: Payload) -> Payload:
        """Give every resource the attributes. Raises `MalformedError` for broken framing."""
        actions, cache = self._actions, self._cache
        if actions is _NOTHING:
            return payload

        def changed(resource: bytes) -> bytes:
            key = resource + actions.mark
            result = cache.get(key)
            if result is None:
                result = apply_to_resource(actions, resource)
                cache.put(key, result)
            return result

        rewrite = partial(rewrite_resources, change=changed, schema_url=self._schema_url)
        wires = tuple(map(rewrite, payload.wires))
        if wires == payload.wires:  # the same objects unless something changed
            return payload
        return payload.with_wires(wires, items=payload.items)

    def __repr__(self) -> str:
        found = 0 if self._detected is None else len(self._detected.found)
        counts = f"attributes={found} known={len(self._cache)}"
        return f"<ResourceDetectionProcessor {self._settings.id} {counts}>"


def _state(detected: Detected) -> str:
    """What health says of it."""
    if not detected.failures:
        return ""
    return "; ".join(f"{name}: {error}" for name, error in detected.failures.items())


def _detectors(config: Config, settings: Settings) -> dict[str, Detector]:
    """The configured detectors, by name; no module of another is loaded."""
    return {name: _detector(name, config, settings) for name in config.names}


def _detector(name: str, config: Config, settings: Settings) -> Detector:
    if name == "env":
        from mlsysops_processors.resource_detection import environment  # noqa: PLC0415  as asked

        return environment.EnvironmentDetector()
    if name == "system":
        from mlsysops_processors.resource_detection import system  # noqa: PLC0415  as asked

        timeout_s = config.timeout or config.limit_s
        return system.SystemDetector(config.system, timeout_s, settings)
    if name == "docker":
        from mlsysops_processors.resource_detection import docker  # noqa: PLC0415  as asked

        return docker.DockerDetector(config.docker)
    from mlsysops_processors.resource_detection import kubernetes  # noqa: PLC0415  as asked

    section = config.k8snode if name == "k8snode" else config.k8s_api
    return cast(Detector, kubernetes.KubernetesDetector(section, settings))


def _create(
    config: Config,
    settings: Settings,
    next_: None,  # noqa: ARG001  the factory's contract
) -> ResourceDetectionProcessor:
    return ResourceDetectionProcessor(config, settings)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="resource_detection",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    stability=Stability.BETA,
    aliases=("resourcedetection",),
    shared=True,
)
