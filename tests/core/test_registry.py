"""Components are found by entry point, loaded when named, and refused with a reason."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml
from pydantic import BaseModel

from mlsysops_pipeline.component import Factory, Kind
from mlsysops_pipeline.entry_points import EntryPoint
from mlsysops_pipeline.registry import Registry, RegistryError
from mlsysops_pipeline.service.catalogue import listing


def factory(kind: Kind = Kind.EXPORTER, type_: str = "mine", **more: object) -> Factory:
    return Factory(kind=kind, type=type_, config=BaseModel, create=print, **more)  # type: ignore[arg-type]


def test_an_installed_component_is_found_and_an_unknown_one_is_not() -> None:
    registry = Registry.installed()
    found = registry.lookup(Kind.EXPORTER, "no_destination")
    assert found is not None
    assert "no_destination" == found.type
    assert registry.lookup(Kind.EXPORTER, "nonsense") is None
    assert registry.lookup(Kind.RECEIVER, "no_destination") is None


def test_old_spellings_lead_to_the_same_factory() -> None:
    registry = Registry([factory(type_="new_name", aliases=("oldname",))])
    assert registry.lookup(Kind.EXPORTER, "oldname") is registry.lookup(Kind.EXPORTER, "new_name")
    assert ["new_name"] == [f.type for f in registry.factories(Kind.EXPORTER)]


def test_a_registry_is_a_value() -> None:
    base = Registry()
    more = base.extended([factory()])
    assert base.lookup(Kind.EXPORTER, "mine") is None
    assert more.lookup(Kind.EXPORTER, "mine") is not None


def point(value: str, name: str = "mine") -> EntryPoint:
    return EntryPoint(name=name, value=value, group=Kind.EXPORTER.entry_points)


def test_a_package_that_cannot_be_imported_is_named_with_its_error() -> None:
    registry = Registry(entry_points=[point("no_such_module_anywhere:FACTORY")])
    with pytest.raises(RegistryError, match=r"no_such_module_anywhere.*ModuleNotFoundError"):
        registry.lookup(Kind.EXPORTER, "mine")


def test_one_that_cannot_be_imported_is_listed_with_its_error_and_hides_no_other() -> None:
    registry = Registry([factory(type_="good")], [point("no_such_module_anywhere:FACTORY")])
    good, broken = yaml.safe_load(listing(registry))["exporters"]
    assert ("good", "pydantic.main") == (good["name"], good["module"])
    assert "mine" == broken["name"]
    assert "ModuleNotFoundError" in broken["error"]


def test_something_else_than_a_factory_is_refused() -> None:
    registry = Registry(entry_points=[point("json:dumps")])
    with pytest.raises(RegistryError, match="is not a Factory for the kind exporter"):
        registry.lookup(Kind.EXPORTER, "mine")


def test_two_packages_that_claim_one_type_are_both_named() -> None:
    registry = Registry(entry_points=[point("one:FACTORY"), point("two:FACTORY")])
    with pytest.raises(RegistryError, match=r"claimed by .*one:FACTORY.*two:FACTORY"):
        registry.lookup(Kind.EXPORTER, "mine")


@pytest.mark.slow
def test_listing_what_is_installed_imports_no_component() -> None:
    code = (
        "import sys; from mlsysops_pipeline.registry import Registry; r = Registry.installed();"
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('mlsysops_receivers','mlsysops_exporters','mlsysops_processors','grpc','aiohttp')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == done.stdout.strip()
