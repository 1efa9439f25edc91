"""What identifies code: the sha256 of files, or the version of what is installed."""

import ast
import hashlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OURS = Path(__file__).parents[1]  # of which a run's record holds version and commit
PACKAGES = {"site-packages", "dist-packages"}  # folders of what is installed


def installed(module: str, path: Path) -> dict[str, Any]:
    """Returns the package and version of an installed module; nothing for others."""
    if not PACKAGES & set(path.parts):
        return {}
    top = module.partition(".")[0]
    try:
        return {"package": top, "version": importlib.metadata.version(top)}
    except importlib.metadata.PackageNotFoundError:
        pass
    for package in importlib.metadata.packages_distributions().get(top, ()):
        return {"package": package, "version": importlib.metadata.version(package)}
    return {}


def of_file(path: Path) -> dict[str, Any]:
    """Returns the sha256 of one file; nothing of a folder, or where there is none."""
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        return {"sha256": {path.name: hashlib.file_digest(file, "sha256").hexdigest()}}


def of_files(path: Path, *roots: Path) -> dict[str, str]:
    """Returns the sha256 of a file and of all those below some folders that it imports.

    Imports are read from the text, also those within functions; nothing is run.

    Args:
      path: A Python file.
      *roots: The folders from which it imports others; the first one that has a module
        is where it is.

    Returns:
      sha256 by path relative to the folder, in order.
    """
    digests: dict[str, str] = {}
    waiting = [path] if path.is_file() else []
    while waiting:
        file = waiting.pop()
        root = next(root for root in roots if file.is_relative_to(root))
        key = file.relative_to(root).as_posix()
        if key in digests:
            continue
        content = file.read_bytes()
        digests[key] = hashlib.sha256(content).hexdigest()
        for root in reversed(roots):  # read from the end: the first folder's first
            waiting += _imported(content, file, root)
    return dict(sorted(digests.items()))


def _imported(content: bytes, file: Path, root: Path) -> Iterator[Path]:
    """Yields the files below a folder that a file's imports name."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # reported when it is run
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names, base = [alias.name for alias in node.names], root
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[node.level - 1] if node.level else root
            module = node.module or ""
            names = [f"{module}.{alias.name}".strip(".") for alias in node.names]
            names.append(module)
        else:
            continue
        for name in names:
            yield from _files(name, base, root)


def _files(name: str, base: Path, root: Path) -> Iterator[Path]:
    """Yields the files that importing a dotted name runs, those of packages too."""
    places = [base]
    for part in filter(None, name.split(".")):
        places.append(places[-1] / part)
    for place in places:
        if not place.is_relative_to(root) or place.is_relative_to(OURS):
            return
        module = place.parent / f"{place.name}.py"
        for file in (module, place / "__init__.py"):
            if place != root and file.is_file():
                yield file
