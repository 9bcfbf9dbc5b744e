"""The report that the top-level README shows, out of files of results.

``python -m benchmarks publish FILE...`` copies the files to `report/`, writes its README.md and
plots, and puts the goals and some plots between two marks of the top-level README. Of a scenario
in several files the last one counts, so that a part can be measured again.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import markdown, ratios

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parent.parent
FOLDER = Path("benchmarks/report")
_BEGIN = "<!-- measurements: written by `python -m benchmarks publish` -->"
_END = "<!-- /measurements -->"
_SHOWN = ("cost-forward-grpc-metrics-x10", "memory-overload-grpc", "growth-series-grpc-memory")
"""The plots that the top-level README shows, where they are there."""


def main(arguments: list[str]) -> int:
    """The command. Returns its status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks publish", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    options = parser.parse_args(arguments)
    # Where this checkout lies is nobody's business.
    texts = {path: path.read_text().replace(f"{_ROOT}/", "") for path in options.files}
    document = merged([json.loads(text) for text in texts.values()])
    folder, readme = _ROOT / FOLDER, _ROOT / "README.md"
    folder.mkdir(exist_ok=True)
    for path, text in texts.items():
        (folder / path.name).write_text(text)
    for path in folder.glob("*.svg"):
        path.unlink()
    written = markdown.write_as(folder / "README.md", "", document)
    text = with_block(readme.read_text(), block(document, {path.stem for path in written}))
    readme.write_text(text)
    print("written to", *(path.relative_to(_ROOT) for path in (*written, readme)))
    return 0


def merged(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Sessions as one. Raises `ValueError` for sessions of different machines."""
    first = documents[0]
    for key in ("cpu", "cores", "python"):
        if len({json.dumps(one["machine"].get(key)) for one in documents}) > 1:
            raise ValueError(f"{key} differs: figures of two machines do not compare")
    results = {
        (result["scenario"], result["peer"]): result
        for one in documents
        for result in one["results"]
    }
    return first | {
        "sessions": [{key: one[key] for key in ("time", "commit", "command")} for one in documents],
        "peers": {name: text for one in documents for name, text in one["peers"].items()},
        "results": list(results.values()),
        "failures": [text for one in documents for text in one.get("failures", [])],
        "lacking": [text for one in documents for text in one.get("lacking", [])],
    }


def block(document: dict[str, Any], plots: set[str]) -> Iterator[str]:
    """What the top-level README shows."""
    yield from markdown.taken(document)
    yield "A ratio is this collector's CPU per item divided by the Go collector's in the same"
    yield f"session (medians). All figures and plots: [{FOLDER}]({FOLDER}/README.md)."
    yield ""
    yield from markdown.goal_table(list(ratios.goals(document)))
    yield ""
    for name in _SHOWN:
        if name in plots:
            yield f"![{name.replace('-', ' ')}]({FOLDER}/{name}.svg)"


def with_block(text: str, lines: Iterator[str]) -> str:
    """A text with these lines between its two marks. Raises `ValueError` where it has none."""
    pattern = re.compile(rf"{re.escape(_BEGIN)}\n.*?{re.escape(_END)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no {_BEGIN}")
    body = "\n".join(lines)
    return pattern.sub(lambda _: f"{_BEGIN}\n{body}\n{_END}", text)
