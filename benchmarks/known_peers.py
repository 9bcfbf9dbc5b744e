"""The collectors beside this one that the harness knows, and where `make peers` puts them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.process import OURS, Peer

FOLDER = Path(__file__).parent / "peers"
_VERSION_S_MAX = 30.0


def go_collector() -> Path | None:
    """The Go collector: as `make peers` builds it, else one on the PATH."""
    built = FOLDER / "go" / "otelcol"
    if built.is_file():
        return built
    found = shutil.which("otelcol") or shutil.which("otelcol-contrib")
    return Path(found) if found else None


def rotel() -> Path | None:
    """Rotel, as `make peers` installs it: the program itself, without the Python around it."""
    return next(FOLDER.glob("rotel/lib/python3*/site-packages/rotel/rotel-agent"), None)


def peers(wanted: list[str], added: list[str]) -> tuple[list[Peer], dict[str, str]]:
    """This collector and those beside it that are there; those that are not, and why.

    ``wanted``: names of known ones, empty for all. ``added``: further ones, NAME=COMMAND, or
    instead of a known one; what is called rotel is started with rotel's arguments. Raises
    `ValueError` for a name that nobody has, or no command behind it.
    """
    found = {OURS.name: OURS}
    absent = {}
    for name, path in (("go", go_collector()), ("rotel", rotel())):
        if path is None:
            absent[name] = "make peers"
        else:
            found[name] = Peer(name, (str(path),), is_rotel=name == "rotel")
    for text in added:
        name, _, command = text.partition("=")
        if not name or not command.strip():
            raise ValueError(f"--peer takes NAME=COMMAND, not {text!r}")
        # A path with spaces is one word where it is a file.
        words = [command] if Path(command).is_file() else shlex.split(command)
        found.pop(name, None)
        absent.pop(name, None)
        if shutil.which(words[0]):
            found[name] = Peer(name, tuple(words), is_rotel=name == "rotel")
        else:
            absent[name] = f"{words[0]} is no program"
    if unknown := set(wanted) - {*found, *absent, "none"}:
        raise ValueError(f"no peer is called {', '.join(sorted(unknown))}")
    if wanted:
        keep = {*wanted, OURS.name, *(text.partition("=")[0] for text in added)}
        found = {name: peer for name, peer in found.items() if name in keep}
        absent = {name: why for name, why in absent.items() if name in keep}
    return list(found.values()), absent


def version(peer: Peer) -> str:
    """What it says when it is asked for its version; the reason when it does not."""
    try:
        done = subprocess.run(
            [*peer.command, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_S_MAX,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({type(error).__name__})"
    return (done.stdout or done.stderr).strip()


if __name__ == "__main__":
    known, missing = peers([], [])
    for one in known:
        print(f"{one.name}: {version(one)}")
    for name, why in missing.items():
        print(f"{name}: absent ({why})")
    sys.exit(bool(missing))
