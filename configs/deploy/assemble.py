# ruff: noqa: INP001  a script of the build, not a package
"""Copies what the collector needs to run into a folder: `python assemble.py /image`.

For the last stage of the Dockerfile, which has nothing else: this Python without what serves
developers, installed packages without their sources in C, the libraries that both are linked to,
certificates of authorities, and a user. It runs with the Python that it copies.
"""

from __future__ import annotations

import compileall
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

USER: Final = 10001
PROGRAM: Final = "mlsysops-collector"

_LEFT_OUT: Final = frozenset(
    {
        *("test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3"),
        *("pydoc_data", "venv", "pip", "setuptools", "wheel", "__pycache__", "sqlite3", "dbm"),
        *("_pyrepl", "curses"),
    }
)
"""Folders of Python and of packages that nothing here imports."""

_SOURCES: Final = frozenset({".c", ".h", ".cpp", ".pyx", ".pxd", ".pxi", ".pyi", ".a", ".exe"})
_EXTENSIONS: Final = ("_test", "_tkinter", "_sqlite3", "_dbm", "_gdbm", "_curses", "readline", "xx")
_SYSTEM_LIBRARIES: Final = ("libgcc_s.so.1",)
"""What is loaded by name while the program runs."""

_COPIED: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ld.so.cache",  # where the loader finds libpython, which is below /usr/local
)
_FILES: Final = {
    "etc/passwd": f"root:x:0:0::/:/nologin\ncollector:x:{USER}:{USER}::/:/nologin\n",
    "etc/group": f"root:x:0:\ncollector:x:{USER}:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",  # whatever runs the image replaces it
}


def is_wanted(name: str, folder: str) -> bool:
    """Whether a file or folder of Python's library is needed to run the collector."""
    path = Path(name)
    if name in _LEFT_OUT or path.suffix in _SOURCES or name.startswith("config-"):
        return False
    if path.name.endswith(".dist-info"):
        return not path.name.startswith(("pip-", "setuptools-", "wheel-"))
    return not (Path(folder).name == "lib-dynload" and name.startswith(_EXTENSIONS))


def _ignored(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not is_wanted(name, folder)]


def copy_python(image: Path) -> list[Path]:
    """Copy interpreter, library and packages; the places where they are in the image."""
    prefix = Path(sys.base_prefix)
    library = Path(sysconfig.get_path("stdlib"))
    inside = image / library.relative_to("/")
    shutil.copytree(library, inside, symlinks=True, ignore=_ignored, dirs_exist_ok=True)
    compileall.compile_dir(
        inside,
        stripdir=str(image),
        prependdir="/",
        quiet=1,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    binaries = image / prefix.relative_to("/") / "bin"
    binaries.mkdir(parents=True, exist_ok=True)
    executable = Path(sys.executable).resolve()
    shutil.copy2(executable, binaries / executable.name)
    for name in ("python3", "python"):
        if name != executable.name:
            (binaries / name).symlink_to(executable.name)
    shutil.copy2(prefix / "bin" / PROGRAM, binaries / PROGRAM)
    return [inside, binaries]


def strip(place: Path) -> None:
    """Take what serves debuggers out of programs and extensions: a sixth of the image."""
    for path in _binaries(place):
        subprocess.run(["strip", "--strip-debug", str(path)], check=True)  # noqa: S603, S607  the stage's


def libraries_of(places: Iterable[Path], image: Path) -> set[Path]:
    """The shared libraries that programs and extensions in the image are linked to."""
    found: set[Path] = set()
    for place in places:
        for path in _binaries(place):
            original = Path("/") / path.relative_to(image)
            listed = subprocess.run(  # noqa: S603  a path of this stage
                ["ldd", str(original)],  # noqa: S607  the system's
                check=False,  # a static program has none, and is an error to ldd
                capture_output=True,
                text=True,
            ).stdout
            found |= set(_listed(listed))
    return found


def _binaries(place: Path) -> Iterator[Path]:
    for path in place.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def _listed(text: str) -> Iterator[Path]:
    """``libm.so.6 => /lib/…/libm.so.6 (0x…)``, and the loader: ``/lib64/ld-… (0x…)``."""
    for line in text.splitlines():
        target = line.rpartition("=> ")[2].split(" (")[0].strip()
        if target.startswith("/"):
            yield Path(target)


def copy_libraries(libraries: Iterable[Path], image: Path) -> None:
    """Copy libraries to where the loader looks for them."""
    libraries = list(libraries)
    for name in _SYSTEM_LIBRARIES:
        beside = {library.parent / name for library in libraries}
        libraries += [path for path in beside if path.exists()]
    for folder in ("lib", "lib64"):
        target = Path("/") / folder
        if target.is_symlink():
            (image / folder).symlink_to(target.readlink())
    for library in libraries:
        inside = image / library.parent.resolve().relative_to("/") / library.name
        if not inside.exists():
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library.resolve(), inside)


def copy_system(image: Path) -> None:
    """Certificates, names of users, and a place for temporary files."""
    for name, content in _FILES.items():
        path = image / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    for name in _COPIED:
        inside = image / name.removeprefix("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, inside)
    temporary = image / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)


def main() -> None:
    """Fill the folder."""
    image = Path(sys.argv[1])
    image.mkdir(parents=True)
    places = copy_python(image)
    for place in places:
        strip(place)
    copy_libraries(libraries_of(places, image), image)
    copy_system(image)


if __name__ == "__main__":
    main()
