"""Modules and functions that references name, and what identifies their code."""

import contextlib
import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from lion_jax.config import ConfigError
from lion_jax.config.reference import REFERABLE, Reference, normal, parse
from lion_jax.references import fingerprints
from lion_jax.references.importing import execute, folders_of

OURS = str(Path(__file__).parents[1])
JAX = os.path.dirname(getattr(importlib.util.find_spec("jax"), "origin", None) or "?")
# Modules of files by path, with the fingerprint of their code.
_loaded: dict[str, tuple[dict[str, Any], ModuleType]] = {}
# Of imported modules: how they were found, anew with every reload, and the fingerprint
# of their code then.
_imported: dict[str, tuple[Any, dict[str, Any]]] = {}


def load(field: str, name: str) -> Callable[..., Any]:
    """Returns the function that a reference names.

    Args:
      field: The configuration's field that holds it, for messages.
      name: The reference. A file that has changed since is loaded again.

    Raises:
      ConfigError: If there is no such module or function, the module raises, or what
        was imported by its name has changed since.
    """
    reference = parse(name)
    assert reference is not None, name
    module = _module(field, name, reference)
    found: Any = module
    for part in reference.function.split("."):
        if not hasattr(found, part):
            members = getattr(found, "__dict__", {})
            names = [key for key in members if not key.startswith("_")]
            own = [key for key in names if callable(members[key])]
            meant = difflib.get_close_matches(part, names) or own[:8]
            raise ConfigError(
                f"{field}={name!r}: {reference.module} has no {part!r}; it has"
                f" {', '.join(meant) or 'no function'}."
            )
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(
            f"{field}={name!r}: {reference.function} is of type"
            f" {type(found).__name__}, but it must be a function or a class."
        )
    return found


@contextlib.contextmanager
def blamed(field: str, name: str) -> Iterator[None]:
    """Reports what foreign code raises in one line, with its file and line.

    Raises:
      ConfigError: For whatever is raised within, but for an interruption.
    """
    try:
        yield
    except (ConfigError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever somebody's code may raise
        words = " ".join(f"{type(error).__name__}: {error}".split())
        words = words.rstrip(".") if len(words) <= 300 else f"{words[:300]} ..."
        place, remedy = place_of(error, _folder_of(name)), "correct it, or its options"
        if isinstance(error, ModuleNotFoundError):
            remedy = "install it, or import what is beside the file at the file's top"
        message = f"{field}={name!r}: {place}{words}; {remedy}."
        raise ConfigError(message) from error


def fingerprint(name: str) -> dict[str, Any]:
    """Returns what identifies the code that a reference names.

    Returns:
      `package` and `version` of what is installed; else `sha256` of the file and of
      those beside it that it imports.
    """
    reference = parse(name)
    assert reference is not None, name
    if reference.is_file:
        path = Path(normal(reference.module))
        roots = map(Path, folders_of(str(path)))
        return {"sha256": fingerprints.of_files(path, *roots)}
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        spec = importlib.util.find_spec(reference.module)
        if spec and spec.origin and os.path.isfile(spec.origin):
            path, depth = Path(spec.origin).absolute(), reference.module.count(".")
            if installed := fingerprints.installed(reference.module, path):
                return installed
            up = depth + (path.name == "__init__.py")
            return {"sha256": fingerprints.of_files(path, path.parents[up])}
    return {}


def _module(field: str, name: str, reference: Reference) -> ModuleType:
    """Returns the module, loaded again if its code has changed."""
    if not reference.is_file:
        with blamed(field, name):
            try:
                module = importlib.import_module(reference.module)
                _require_unchanged(field, name, reference, module)
                return module
            except ModuleNotFoundError as error:
                missing = error.name or ""
                if not f"{reference.module}.".startswith(f"{missing}."):
                    raise  # something that the module itself imports
                raise ConfigError(
                    f"{field}={name!r}: there is no module {missing!r} in"
                    f" {os.getcwd()} or among the installed packages; run the command"
                    " in the folder that holds it, or name its file,"
                    f" ./{reference.module.replace('.', '/')}.py:{reference.function}."
                ) from None
    path = Path(normal(reference.module))
    if not path.is_file():
        beside = [file.name for file in path.parent.glob("*.py")]
        close = difflib.get_close_matches(path.name, beside, cutoff=0.5) or beside[:5]
        there = f"; {path.parent} has {', '.join(close)}" if close else ""
        flag = f"--config.{field}" if field in REFERABLE else f"--{field}"
        raise ConfigError(
            f"{field}={name!r}: there is no file {path}{there}; give its path with"
            f" {flag}=PATH:{reference.function}."
        )
    with blamed(field, name):
        code = fingerprint(name)
        key = str(path)
        if key not in _loaded or _loaded[key][0] != code:
            _loaded[key] = code, execute(path)
    return _loaded[key][1]


def _require_unchanged(
    field: str, name: str, reference: Reference, module: ModuleType
) -> None:
    """Refuses a module whose files are others than when it was imported."""
    found, code = getattr(module, "__spec__", None), fingerprint(name)
    known = _imported.get(reference.module)
    if known is None or known[0] is not found:
        _imported[reference.module] = found, code
    elif known[1] != code:
        raise ConfigError(
            f"{field}={name!r}: its code has changed since it was imported; restart"
            " Python or reload the module, or name its file,"
            f" ./{reference.module.replace('.', '/')}.py:{reference.function}."
        )


def place_of(error: BaseException, folder: str) -> str:
    """Returns where foreign code raised, or gave to others what they refused.

    Args:
      error: What it raised.
      folder: Of that code; empty if unknown.
    """
    if isinstance(error, SyntaxError):
        return ""  # its message has the place
    frames = traceback.extract_tb(error.__traceback__)
    foreign = [x for x in frames if not x.filename.startswith((OURS, JAX, "<"))]
    own = [x for x in foreign if folder and _is_own(x.filename, folder)]
    frame = next(reversed(own or foreign), None)
    return f"{frame.filename}, line {frame.lineno}: " if frame else ""


def _is_own(file: str, folder: str) -> bool:
    """Whether a file is below a folder, and not in an environment that lies there."""
    below = file.removeprefix(folder + os.sep)
    return below != file and "site-packages" not in Path(below).parts


def _folder_of(name: str) -> str:
    """Returns the folder of the module that a reference names; empty if unknown."""
    reference = parse(name)
    if reference is None:
        return ""
    file: str | None = os.path.abspath(os.path.expanduser(reference.module))
    if not reference.is_file:
        file = getattr(sys.modules.get(reference.module), "__file__", None)
    return os.path.dirname(file) if file else ""
