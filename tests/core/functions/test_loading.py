"""Functions are found by name, in `sys.path` or beside the configuration; or it is said why."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from mlsysops_pipeline.functions.loading import LoadError, is_name, load
from mlsysops_pipeline.functions.options import (
    CallConfig,
    Options,
    collector_processor,
    options_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("text", ["a:b", "a.b_1.c:D.e", "_a:_b"])
def test_names(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize("text", ["", "a", "a:", ":b", "a.b", "a:b:c", "a/b:c", "a..b:c", "1a:b"])
def test_what_is_no_name(text: str) -> None:
    assert not is_name(text)


def test_a_module_beside_the_configuration_is_found_with_its_siblings(tmp_path: Path) -> None:
    write(tmp_path, "zz_helper", "VALUE = 7\n")
    write(tmp_path, "zz_scores", "import zz_helper\ndef score(t): return zz_helper.VALUE\n")

    assert 7 == load("zz_scores:score", [tmp_path])(None)
    assert str(tmp_path) == sys.path[-1]


def test_nothing_beside_the_configuration_hides_an_installed_module(tmp_path: Path) -> None:
    write(tmp_path, "operator", "raise SystemExit\n")

    assert load("operator:truth", [tmp_path]).__module__ == "_operator"
    assert str(tmp_path) not in sys.path


def test_methods_and_classes_can_be_named(tmp_path: Path) -> None:
    text = "class Model:\n    @staticmethod\n    def score(t): return t\n"
    write(tmp_path, "zz_models", text)

    assert 3 == load("zz_models:Model.score", [tmp_path])(3)


BAD = {
    "zz_absent:f": "cannot import zz_absent.*not in sys.path, nor in ",
    "zz_bad:f": "cannot import zz_bad: ZeroDivisionError",
    "zz_needs:f": "cannot import zz_needs: ModuleNotFoundError: No module named 'zz_other'",
    "zz_exits:f": "cannot import zz_exits: SystemExit",
    "zz_good:absent": "module zz_good has no absent",
    "zz_good:VALUE": "zz_good:VALUE is not callable, it is a int",
    "zz_good:none": "zz_good:none cannot be called with one argument",
    "zz_good:two": "zz_good:two cannot be called with one argument",
}


@pytest.mark.parametrize("name", BAD)
def test_why_a_function_cannot_be_used(name: str, tmp_path: Path) -> None:
    write(tmp_path, "zz_bad", "1 / 0\n")
    write(tmp_path, "zz_needs", "import zz_other\n")
    write(tmp_path, "zz_exits", "raise SystemExit(1)\n")
    write(tmp_path, "zz_good", "VALUE = 7\ndef none(): pass\ndef two(a, b): pass\n")

    with pytest.raises(LoadError, match=BAD[name]):
        load(name, [tmp_path])
    if name.endswith(":f"):
        assert str(tmp_path) not in sys.path


def test_a_configuration_goes_over_the_decorator() -> None:
    @collector_processor(view="point", timeout=0.5)
    def function(_: object) -> None: ...

    assert Options("point", "propagate", 0.5) == CallConfig().over(options_of(function))
    written = CallConfig(view="record", error_mode="ignore", timeout=2.0)
    assert Options("record", "ignore", 2.0) == written.over(options_of(function))
    assert Options() == CallConfig().over(options_of(print))
