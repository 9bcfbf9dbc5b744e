"""Rules about the source that no linter has: sizes, leftovers, and what stands at the top level.

The sizes are a ratchet: `OLD_OFFENDERS` may shrink, and nothing new may join it.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500
LINE_LENGTH_MAX = 100
LONG_FOR_A_REASON = ("https://", "# noqa", "# type: ignore")
MARKS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")  # tidy: the list of marks
TOP_LEVEL = {
    "LICENSE",
    "Makefile",
    "README.md",
    "benchmarks",
    "configs",
    "exporters",
    "mlsysops_pipeline",
    "processors",
    "pyproject.toml",
    "receivers",
    "tests",
}
MADE = {"build", "dist", "node_modules", "__pycache__"}
PACKAGES = (
    "mlsysops_pipeline",
    "receivers/mlsysops_receivers",
    "processors/mlsysops_processors",
    "exporters/mlsysops_exporters",
)
OLD_OFFENDERS: dict[str, int] = {}
"""Files or ``file:function`` that are over a limit, with the size that they may not pass."""


@cache
def sources() -> dict[str, str]:
    """Every Python file of the project that is not a test's or a build's, by name."""
    folders = ("mlsysops_pipeline", "receivers", "processors", "exporters", "benchmarks", "tests")
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not {"node_modules", ".venv"} & set(path.parts)
        and not path.is_relative_to(ROOT / "benchmarks" / "peers")
    }


def test_modules_are_small() -> None:
    sizes = {
        name: len(text.splitlines())
        for name, text in sources().items()
        if not name.startswith("tests/")
    }

    assert {} == {
        name: size
        for name, size in sizes.items()
        if size > OLD_OFFENDERS.get(name, MODULE_LINES_MAX)
    }


def test_functions_are_short() -> None:
    sizes = {
        f"{name}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, text in sources().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert {} == {
        name: size
        for name, size in sizes.items()
        if size > OLD_OFFENDERS.get(name, FUNCTION_LINES_MAX)
    }


def test_lines_are_not_long() -> None:
    assert [] == [
        f"{name}:{number}"
        for name, text in sources().items()
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > LINE_LENGTH_MAX and not any(r in line for r in LONG_FOR_A_REASON)
    ]


def test_no_marks_of_unfinished_work_are_left() -> None:
    assert [] == [
        f"{name}:{number}"
        for name, text in sources().items()
        for number, line in enumerate(text.splitlines(), 1)
        if MARKS.search(line) and "tidy:" not in line
    ]


def test_no_exception_is_swallowed_by_a_bare_except() -> None:
    assert [] == [
        f"{name}:{node.lineno}"
        for name, text in sources().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]


def test_old_offenders_are_still_there() -> None:
    assert [] == [name for name in OLD_OFFENDERS if not (ROOT / name.partition(":")[0]).exists()]


def test_the_top_level_is_the_one_that_was_agreed_on() -> None:
    entries = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}

    assert TOP_LEVEL == entries - MADE


def test_every_package_is_typed_for_its_users() -> None:
    assert [] == [name for name in PACKAGES if not (ROOT / name / "py.typed").exists()]
