"""Finding a function by its name, ``package.module:callable``.

Importing runs the module, with all rights of the collector: whoever may write the configuration,
the folder it is in or `sys.path` decides what runs. So nothing is imported before the collector
starts; `validate` reads the name only.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class LoadError(Exception):
    """A function cannot be used; the message says why."""


def is_name(text: str) -> bool:
    """Whether it has the form ``package.module:callable``; the callable may be ``Class.method``."""
    return _NAME.fullmatch(text) is not None


def load(name: str, folders: Iterable[Path]) -> Callable[..., Any]:
    """Import a function. Does I/O and runs code of the user; may take seconds.

    ``folders`` are searched after all of `sys.path`, so that nothing in them hides an installed
    module, and stay in `sys.path` if the module was found there. Raises `LoadError`.
    """
    module_name, _, path = name.partition(":")
    target: Any = _imported(module_name, folders)
    for step in path.split("."):
        target = getattr(target, step, None)
        if target is None:
            raise LoadError(f"module {module_name} has no {path}")
    if not callable(target):
        raise LoadError(f"{name} is not callable, it is a {type(target).__name__}")
    _check_signature(name, target)
    function: Callable[..., Any] = target
    return function


def _imported(name: str, folders: Iterable[Path]) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(name, error) from error
    except BaseException as error:
        raise _failed(name, error) from error
    added = [text for folder in folders if (text := str(folder)) not in sys.path]
    sys.path += added
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except BaseException as error:
        sys.path[:] = [entry for entry in sys.path if entry not in added]
        places = "".join(f", nor in {text}" for text in added)
        hint = f" (not in sys.path{places})" if isinstance(error, ModuleNotFoundError) else ""
        raise _failed(name, error, hint) from error


def _failed(name: str, error: BaseException, hint: str = "") -> LoadError:
    return LoadError(f"cannot import {name}: {type(error).__name__}: {error}{hint}")


def _check_signature(name: str, function: Any) -> None:
    """Find out early that it does not take one argument."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C: the first call will tell
        return
    try:
        signature.bind(object())
    except TypeError as error:
        raise LoadError(f"{name} cannot be called with one argument: {error}") from error
