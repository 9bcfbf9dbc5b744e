"""Files that a configuration names: certificates, keys and secrets that nobody can read.

A component reads them when it starts, or when it needs them. Whoever checks a configuration wants
to know before, though perhaps on another machine: these are warnings.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import fields_of, models_in
from mlsysops_pipeline.config.problems import Problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlsysops_pipeline.config.document import Configuration

_KEYS = frozenset(
    {
        "bearer_token_file",
        "ca_file",
        "cert_file",
        "client_ca_file",
        "credentials_file",
        "key_file",
        "password_file",
        "username_file",
        "value_file",
    }
)


def unreadable(configuration: Configuration) -> Iterator[Problem]:
    """A warning for each file of a component that cannot be opened, at the key that names it."""
    for kind in Kind:
        for id_, section in configuration.sections(kind).items():
            for inner, model in models_in(section.config):
                for field in fields_of(type(model)):
                    name = getattr(model, field.name) if field.key in _KEYS else ""
                    reason = _reason(name) if isinstance(name, str) and name else ""
                    if reason:
                        path = (kind.section, str(id_), *inner, field.key)
                        node, steps = configuration.root.find(path)
                        at = node.position if steps == len(path) else node.at
                        yield warning(at, path, f"unable to read the file {name}: {reason}")


def _reason(name: str) -> str:
    """Why a file cannot be opened; empty if it can."""
    try:
        with Path(name).open("rb"):
            return ""
    except (OSError, ValueError) as failure:
        return getattr(failure, "strerror", None) or str(failure)
