"""Renaming the metrics of a request, of which nothing but the names is read (component C5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from mlsysops_pipeline.errors import MalformedError
from mlsysops_pipeline.metrics import closed
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.pdata.views import Depth, parse, serialize, view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlsysops_processors.metrics_transform.transforms import Transform

_NAMES_MAX = 10_000
_NAME_BYTES_MAX = 512


class Renaming:
    """What a row of transforms, all of which only rename, makes of a name; remembered."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self._transforms = transforms
        self._known: dict[bytes, bytes] = {}

    def run(self, wire: bytes) -> bytes:
        """A request with other names; itself if none has changed. Raises `MalformedError`."""
        request = parse(Signal.METRICS, Depth.SCOPE, wire)
        has_changed = False
        for group in request.resource_metrics:
            for block in group.scope_metrics:
                metrics = block.metrics[:]
                renamed = [self._renamed(metric) for metric in metrics]
                if renamed != metrics:
                    has_changed = True
                    del block.metrics[:]
                    block.metrics.extend(renamed)
        return serialize(request) if has_changed else wire

    def _renamed(self, metric: bytes) -> bytes:
        found = closed.head(metric)
        if found is None:
            return self._opened(metric)
        name = found[1]
        new = self._known.get(name)
        if new is None:
            new = self._name(name)
        return metric if new == name else closed.renamed(metric, new)

    def _opened(self, metric: bytes) -> bytes:
        try:
            message: Any = view(Signal.METRICS, Depth.RECORD, "Metric").FromString(metric)
        except DecodeError as error:
            raise MalformedError(f"no protobuf metric: {error}") from error
        new = self._name(message.name)
        if new == message.name:
            return metric
        message.name = new
        return serialize(message)

    def _name(self, name: bytes) -> bytes:
        new = name
        for transform in self._transforms:
            new = transform.name_of(new)
        if len(name) <= _NAME_BYTES_MAX and len(new) <= _NAME_BYTES_MAX:
            if len(self._known) >= _NAMES_MAX:
                self._known.clear()
            self._known[name] = new
        return new
