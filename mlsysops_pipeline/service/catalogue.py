"""What is installed: for `mlsysops-collector components` and for the README's table.

`python -m mlsysops_pipeline.service.catalogue README.md` writes the table anew.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.registry import Registry, RegistryError
from mlsysops_pipeline.version import NAME, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlsysops_pipeline.component import Factory

BEGIN = "<!-- components: written by `python -m mlsysops_pipeline.service.catalogue README.md` -->"
END = "<!-- /components -->"


def listing(registry: Registry) -> str:
    """The installed components as the Collector's `components` command prints them (YAML).

    One that cannot be loaded has an ``error`` in the place of its module, and hides no other.
    """
    import yaml  # noqa: PLC0415  only for this command

    content: dict[str, Any] = {
        "buildinfo": {
            "command": NAME,
            "description": "OpenTelemetry Collector in pure Python",
            "version": VERSION,
        }
    }
    for kind in Kind:
        content[kind.section] = list(_entries(kind, registry))
    content["providers"] = [{"scheme": scheme} for scheme in ("env", "file", "yaml")]
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _entries(kind: Kind, registry: Registry) -> Iterator[dict[str, Any]]:
    for name in registry.types(kind):
        try:
            factory = registry.lookup(kind, name)
        except RegistryError as failure:
            yield {"name": name, "error": str(failure)}
            continue
        if factory is not None and factory.type == name:
            yield _entry(factory)


def _entry(factory: Factory) -> dict[str, Any]:
    stability: dict[str, str] | str = str(factory.stability)
    if factory.kind is Kind.CONNECTOR:
        pairs = sorted(f"{source}-to-{target}" for source, target in factory.pairs)
        stability = dict.fromkeys(pairs, str(factory.stability))
    elif factory.signals:
        stability = dict.fromkeys(sorted(map(str, factory.signals)), str(factory.stability))
    entry: dict[str, Any] = {"name": factory.type, "module": factory.config.__module__}
    entry["stability"] = stability
    if factory.notes:
        entry["notes"] = factory.notes
    return entry


def table(registry: Registry) -> str:
    """The README's table: type, kind, signals, stability, and what it is for."""
    rows = [
        "| component | kind | signals | stability | what it is |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind in Kind:
        rows += [
            f"| {' | '.join(_cells(factory, registry))} |" for factory in registry.factories(kind)
        ]
    return "\n".join(rows) + "\n"


def _cells(factory: Factory, registry: Registry) -> Iterator[str]:
    old = [
        name
        for name in registry.types(factory.kind)
        if name != factory.type and registry.lookup(factory.kind, name) == factory
    ]
    yield f"`{factory.type}`" + "".join(f" (`{name}`)" for name in old)
    yield factory.kind.value
    signals = factory.signals or {source for source, _ in factory.pairs}
    yield ", ".join(sorted(map(str, signals))) or "-"
    yield str(factory.stability)
    module = inspect.getmodule(factory.create) or inspect.getmodule(factory.config)
    summary = (module.__doc__ or "").strip().partition("\n")[0] if module else ""
    yield summary.replace("|", "\\|")


def main() -> None:
    """Put the table into the file that is named on the command line."""
    path = Path(sys.argv[1])
    head, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    path.write_text(f"{head}{BEGIN}\n{table(Registry.installed())}{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
