"""Entry points come out as the standard library finds them, which takes ten times as long."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.entry_points import EntryPoint, installed

if TYPE_CHECKING:
    from pathlib import Path

GROUPS = [kind.entry_points for kind in Kind]
GROUP = Kind.EXPORTER.entry_points


def package(place: Path, folder: str, text: str, name: str = "") -> None:
    (place / folder).mkdir(parents=True)
    (place / folder / "entry_points.txt").write_text(text, encoding="utf-8")
    if name:
        (place / folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\n")


def from_the_library(groups: list[str]) -> set[tuple[str, str, str, str]]:
    return {
        (point.name, point.value, point.group, point.dist.name if point.dist else "")
        for group in groups
        for point in metadata.entry_points(group=group)
    }


def found(groups: list[str]) -> set[tuple[str, str, str, str]]:
    return {(one.name, one.value, one.group, one.package) for one in installed(groups)}


def test_what_is_installed_is_what_the_standard_library_finds() -> None:
    assert from_the_library(GROUPS) == found(GROUPS)
    assert ("otlp", "mlsysops_receivers.otlp:FACTORY") in {one[:2] for one in found(GROUPS)}
    assert from_the_library(["console_scripts", "pytest11"]) == found(
        ["console_scripts", "pytest11"]
    )


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    places = [tmp_path / "first", tmp_path / "second"]
    for place in places:
        place.mkdir()
    monkeypatch.setattr(sys, "path", [*map(str, places), str(tmp_path / "absent"), *sys.path])
    return places


def test_of_two_packages_of_one_name_the_first_counts(places: list[Path]) -> None:
    package(places[0], "mine-1.0.dist-info", f"[{GROUP}]\nnew = one:F\n", "mine")
    package(places[1], "mine-2.0.dist-info", f"[{GROUP}]\nold = two:F\n", "mine")
    package(places[1], "other.egg-info", f"[{GROUP}]\nold = three:F\n")
    names = {point.name: point.value for point in installed([GROUP])}
    assert ("one:F", "three:F") == (names["new"], names["old"])


def test_comments_spaces_and_other_groups_are_passed_over(places: list[Path]) -> None:
    text = (
        f"# a = b\n[other]\nx = y:Z\n\n[{GROUP}]\n  # c = d\n\n mine  =  some.module : A.b [x] \n"
    )
    package(places[0], "My_Package-1.dist-info", text, "My-Package")
    mine = [point for point in installed([GROUP]) if point.package == "My-Package"]
    assert [("mine", "some.module : A.b [x]")] == [(point.name, point.value) for point in mine]
    assert from_the_library([GROUP]) == found([GROUP])


def test_packages_in_an_archive_are_found_by_the_standard_library(
    places: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = places[0] / "archive.zip"
    archive.write_bytes(b"PK\x05\x06" + bytes(18))  # an empty one
    asked: list[str] = []

    def none(group: str) -> list[metadata.EntryPoint]:
        asked.append(group)
        return []

    monkeypatch.setattr(metadata, "entry_points", none)
    monkeypatch.setattr(sys, "path", [*sys.path, str(archive)])
    assert [] == installed([GROUP])
    assert [GROUP] == asked


def test_an_entry_point_loads_what_it_names() -> None:
    assert "json" == EntryPoint("x", "json", GROUP).load().__name__
    loaded = EntryPoint("x", "json.decoder : JSONDecoder.decode [extra]", GROUP).load()
    assert "JSONDecoder.decode" == loaded.__qualname__
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        EntryPoint("x", "no_such_module:F", GROUP).load()
