"""Files run as modules, and the modules beside them."""

import contextlib
import importlib.machinery
import importlib.util
import itertools
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

_numbers = itertools.count()


def folders_of(path: str) -> list[str]:
    """Returns the folder of a file and, of a link, before it that of the real file."""
    places = os.path.realpath(path), os.path.abspath(path)
    return [*dict.fromkeys(map(os.path.dirname, places))]


@contextlib.contextmanager
def importable(path: str) -> Iterator[None]:
    """Lets what is beside a file be imported; others may have the same names."""
    before, folders = {*sys.modules}, folders_of(path)
    sys.path[:0] = folders
    try:
        yield
    finally:
        for folder in folders:
            sys.path.remove(folder)
        for name in {*sys.modules} - before:
            if _is_beside(sys.modules.get(name.partition(".")[0]), folders):
                del sys.modules[name]


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the file as it is: the age of bytecode is known to the second only."""

    def path_stats(self, path):
        raise OSError(path)

    def source_to_code(self, data, path, *, _optimize=-1):
        # JAX keeps the file of what it traces, and takes no bytes that are not UTF-8.
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        return super().source_to_code(data, shown, _optimize=_optimize)


def execute(path: Path) -> ModuleType:
    """Runs a file as a module, as Python does for `import`."""
    # Two folders may have files of one name.
    title = f"{re.sub(r'[^0-9a-zA-Z_]', '_', path.stem)}_{next(_numbers)}"
    loader = _Loader(title, str(path))
    spec = importlib.util.spec_from_file_location(title, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    with importable(str(path)):
        sys.modules[title] = module  # where dataclasses look for their module's names
        loader.exec_module(module)
    sys.modules[title] = module
    return module


def _is_beside(module: ModuleType | None, folders: list[str]) -> bool:
    """Whether a module is a file of one of the folders, or a package in it."""
    file = getattr(module, "__file__", None)
    if not file:
        return False
    place = os.path.dirname(os.path.abspath(file))
    if os.path.basename(file) == "__init__.py":
        place = os.path.dirname(place)
    return place in folders
