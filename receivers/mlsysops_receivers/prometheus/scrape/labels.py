"""From the labels of a line to those of a series (SC-4, SC-6, PI-6, PI-7)."""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING, Final

from mlsysops_receivers.prometheus.scrape.encoding import attribute
from mlsysops_receivers.prometheus.scrape.options import ScrapeError
from mlsysops_receivers.prometheus.scrape.series import DROPPED, REJECTED, Place, Scope, Series

if TYPE_CHECKING:
    from mlsysops_pipeline.prometheus.exposition import Head
    from mlsysops_receivers.prometheus.scrape.options import ScrapeOptions, Target

__all__ = ["SeriesMaker"]

_NAME: Final = "__name__"
_SCOPE_PREFIX: Final = "otel_scope_"
_SHOWN: Final = 50
_PLACES_MAX: Final = 1_000
"""Places that are remembered; of one that was forgotten, points may stand apart in a request."""


class SeriesMaker:
    """Makes series for one target."""

    def __init__(self, target: Target, options: ScrapeOptions) -> None:
        self._labels = dict(target.labels)
        self._options = options
        self._default_scope = Scope(options.scope_name, options.scope_version)
        self._places: dict[tuple[str, str, Scope], Place] = {}
        job, instance = target.labels.get("job", ""), target.labels.get("instance", "")
        self.place = self._shared(job, instance, self._default_scope)
        """That of the target's own series."""

    def report_attributes(self) -> tuple[bytes, ...]:
        """The attributes of the series that tell of a scrape."""
        labels = {**self._labels, **self._options.external_labels}
        return tuple(
            attribute(key, value)
            for key, value in sorted(labels.items())
            if value and key not in {"job", "instance"}
        )

    def make(self, raw: bytes, head: Head) -> Series:
        """The series for a head. Raises `ScrapeError` if a limit is exceeded."""
        labels = {_NAME: head.name}
        labels.update(head.labels)
        if len(labels) <= len(head.labels):
            return Series(raw, None, REJECTED)
        kept = self._relabelled(labels)
        if kept is None:
            return Series(raw, None, DROPPED)
        name = kept.get(_NAME, "")
        if not name:
            raise ScrapeError(f"relabelling left no name of {head.name!r}")
        if "" in kept:
            raise ScrapeError(f"a label of {name!r} has no name")
        self._check_limits(name, kept)
        kept.update(self._options.external_labels)
        return self._placed(raw, name, kept)

    def _relabelled(self, labels: dict[str, str]) -> dict[str, str] | None:
        """With the labels of the target, after relabelling; ``None`` if that drops the series."""
        own = self._labels
        if self._options.honor_labels:
            # Also an empty label of the page wins, and is then removed.
            labels = {**own, **labels}
        else:
            clashing = [(key, labels[key]) for key in own if labels.get(key)]
            labels.update(own)
            # Shorter names first, as Prometheus does.
            for key, value in sorted(clashing, key=lambda pair: len(pair[0])):
                exported = f"exported_{key}"
                while labels.get(exported):
                    exported = f"exported_{exported}"
                labels[exported] = value
        labels = {key: value for key, value in labels.items() if value}
        relabel = self._options.relabel
        if relabel is None:
            return labels
        found = relabel(labels)
        # No labels at all is how relabelling says the same.
        return {key: value for key, value in found.items() if value} or None if found else None

    def _check_limits(self, name: str, labels: dict[str, str]) -> None:
        options = self._options
        shown = name[:_SHOWN]
        if 0 < options.label_limit < len(labels):
            raise ScrapeError(
                f"label_limit exceeded: {shown} has {len(labels)} labels, "
                f"the limit is {options.label_limit}"
            )
        names_max, values_max = options.label_name_length_limit, options.label_value_length_limit
        if not (names_max or values_max):
            return
        for key, value in labels.items():
            if 0 < names_max < len(key.encode()):
                raise ScrapeError(
                    f"label_name_length_limit exceeded: {shown} has the label {key[:_SHOWN]}, "
                    f"the limit is {names_max} bytes"
                )
            if 0 < values_max < len(value.encode()):
                raise ScrapeError(
                    f"label_value_length_limit exceeded: the label {key[:_SHOWN]} of {shown} has "
                    f"{len(value.encode())} bytes, the limit is {values_max}"
                )

    def _placed(self, raw: bytes, name: str, labels: dict[str, str]) -> Series:
        scope: dict[str, str] = {}
        pairs: list[bytes] = []
        le = quantile = None
        job, instance = self.place.job, self.place.instance
        for key, value in sorted(labels.items()):
            if key == _NAME or not value:
                continue
            if key == "job":
                job = value
            elif key == "instance":
                instance = value
            elif key == "le":
                le = value
            elif key == "quantile":
                quantile = value
            elif key.startswith(_SCOPE_PREFIX):
                scope[key.removeprefix(_SCOPE_PREFIX)] = value
            else:
                pairs.append(attribute(key, value))
        place = self._shared(job, instance, self._scope(scope))
        return Series(raw, place, intern(name), tuple(pairs), le=le, quantile=quantile)

    def _scope(self, found: dict[str, str]) -> Scope:
        """The scope that labels name, or the default; one without a name has only its own rest."""
        if not found:
            return self._default_scope
        return Scope(
            found.pop("name", ""),
            found.pop("version", ""),
            found.pop("schema_url", ""),
            tuple(sorted(found.items())),
        )

    def _shared(self, job: str, instance: str, scope: Scope) -> Place:
        key = (job, instance, scope)
        place = self._places.get(key)
        if place is None:
            if len(self._places) >= _PLACES_MAX:
                self._places.clear()
            place = self._places[key] = Place(job, instance, scope)
        return place
