"""Finding components: entry points to factories, loaded only when a configuration names them.

Built-in components come through the same door as those of any other package: an entry point in
the group `mlsysops_pipeline.receivers` (or processors, exporters, connectors, extensions) whose
name is the type and whose value is a `Factory`. An entry point under another name than its
factory's type is an alias: an old spelling.

The registry is a value. Tests and embedding programs make their own, or extend the installed one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline import entry_points as points
from mlsysops_pipeline.component import Factory, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlsysops_pipeline.entry_points import EntryPoint


class RegistryError(Exception):
    """A registered component cannot be loaded; the message says which package and why."""


class Registry:
    """Component factories by kind and type."""

    def __init__(
        self,
        factories: Iterable[Factory] = (),
        entry_points: Iterable[EntryPoint] = (),
    ) -> None:
        self._factories: dict[tuple[Kind, str], Factory] = {}
        self._entry_points: dict[tuple[Kind, str], list[EntryPoint]] = {}
        groups = {kind.entry_points: kind for kind in Kind}
        for entry_point in entry_points:
            key = (groups[entry_point.group], entry_point.name)
            known = self._entry_points.setdefault(key, [])
            if entry_point.value not in {other.value for other in known}:
                known.append(entry_point)
        for factory in factories:
            for name in (factory.type, *factory.aliases):
                self._factories[factory.kind, name] = factory

    @classmethod
    def installed(cls) -> Registry:
        """Every component of every installed package. Reads package metadata, imports nothing."""
        return cls(entry_points=points.installed([kind.entry_points for kind in Kind]))

    def extended(self, factories: Iterable[Factory]) -> Registry:
        """A registry that knows these factories too; they win over installed ones."""
        registry = Registry()
        registry._entry_points = self._entry_points
        registry._factories = dict(self._factories)
        for factory in factories:
            for name in (factory.type, *factory.aliases):
                registry._factories[factory.kind, name] = factory
        return registry

    def lookup(self, kind: Kind, type_name: str) -> Factory | None:
        """The factory of a type, importing its module on first use; ``None`` if unknown.

        Raises `RegistryError` if it cannot be loaded or if two packages claim the type.
        """
        key = (kind, type_name)
        if key not in self._factories:
            candidates = self._entry_points.get(key)
            if candidates is None:
                return None
            self._factories[key] = self._load(key, candidates)
        return self._factories[key]

    @staticmethod
    def _load(key: tuple[Kind, str], candidates: list[EntryPoint]) -> Factory:
        kind, type_name = key
        if len(candidates) > 1:
            claims = ", ".join(sorted(f"{point.package} ({point.value})" for point in candidates))
            raise RegistryError(f"{kind.value} type {type_name!r} is claimed by {claims}")
        (point,) = candidates
        try:
            factory = point.load()
        except Exception as error:
            raise RegistryError(
                f"{kind.value} type {type_name!r} of {point.package} cannot be loaded from "
                f"{point.value}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(factory, Factory) or factory.kind is not kind:
            raise RegistryError(
                f"{kind.value} type {type_name!r} of {point.package}: {point.value} is not a "
                f"Factory for the kind {kind.value}"
            )
        return factory

    def types(self, kind: Kind) -> list[str]:
        """Every known type name of a kind, old spellings included, sorted."""
        names = {name for known, name in self._factories if known is kind}
        names |= {name for known, name in self._entry_points if known is kind}
        return sorted(names)

    def factories(self, kind: Kind) -> Iterator[Factory]:
        """Every factory of a kind, loaded, without repeating those with old spellings."""
        for name in self.types(kind):
            factory = self.lookup(kind, name)
            if factory is not None and factory.type == name:
                yield factory

    def __repr__(self) -> str:
        counts = " ".join(f"{kind.section}={len(self.types(kind))}" for kind in Kind)
        return f"<Registry {counts}>"
