"""Compare what was built with what git tracks: `python .ci/check_wheel.py dist`.

The wheel must hold every tracked file of the four packages and of `configs/`, and nothing else
besides its metadata; the sdist must hold every tracked file but those of CI. Exit status 1 and a
line a difference otherwise.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOTS = {
    "mlsysops_pipeline/": "mlsysops_pipeline/",
    "receivers/mlsysops_receivers/": "mlsysops_receivers/",
    "processors/mlsysops_processors/": "mlsysops_processors/",
    "exporters/mlsysops_exporters/": "mlsysops_exporters/",
    "configs/": "mlsysops_pipeline/configs/",
}


def tracked() -> set[str]:
    """The files of this checkout, as git knows them."""
    output = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607  whichever git is on the PATH
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return set(filter(None, output.split("\0")))


def expected_wheel(files: set[str]) -> set[str]:
    """Where the tracked files of the packages stand in the wheel."""
    return {
        inside + file.removeprefix(root)
        for file in files
        for root, inside in ROOTS.items()
        if file.startswith(root)
    }


def only(path: Path, pattern: str) -> Path:
    """The one file of the folder that matches."""
    (found,) = path.glob(pattern)
    return found


def main() -> int:
    """Print the differences."""
    folder, files = Path(sys.argv[1]), tracked()
    with zipfile.ZipFile(only(folder, "*.whl")) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    with tarfile.open(only(folder, "*.tar.gz")) as sdist:
        source = {member.name.partition("/")[2] for member in sdist if member.isfile()}
    wanted = expected_wheel(files)
    differences = [f"missing in the wheel: {name}" for name in sorted(wanted - inside)]
    differences += [f"only in the wheel: {name}" for name in sorted(inside - wanted)]
    shipped = {file for file in files if not file.startswith(".ci/")}
    differences += [f"missing in the sdist: {name}" for name in sorted(shipped - source)]
    differences += [
        f"only in the sdist: {name}" for name in sorted(source - shipped - {"PKG-INFO"})
    ]
    print("\n".join(differences) or f"wheel and sdist are complete: {len(inside)} files")  # noqa: T201
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
