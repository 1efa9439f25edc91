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


@contextlib.contextmanager
def importable(folder: str) -> Iterator[None]:
    """Lets a folder's modules be imported; another folder may have the same names."""
    before = {*sys.modules}
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in {*sys.modules} - before:
            if _is_beside(sys.modules.get(name.partition(".")[0]), folder):
                del sys.modules[name]


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles the file as it is: the age of bytecode is known to the second only."""

    def path_stats(self, path):
        raise OSError(path)


def execute(path: Path) -> ModuleType:
    """Runs a file as a module, as Python does for `import`."""
    # Two folders may have files of one name.
    title = f"{re.sub(r'[^0-9a-zA-Z_]', '_', path.stem)}_{next(_numbers)}"
    loader = _Loader(title, str(path))
    spec = importlib.util.spec_from_file_location(title, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    with importable(str(path.parent)):
        sys.modules[title] = module  # where dataclasses look for their module's names
        loader.exec_module(module)
    sys.modules[title] = module
    return module


def _is_beside(module: ModuleType | None, folder: str) -> bool:
    """Whether a module is a file of a folder, or a package in it."""
    file = getattr(module, "__file__", None)
    if not file:
        return False
    place = os.path.dirname(os.path.abspath(file))
    if os.path.basename(file) == "__init__.py":
        place = os.path.dirname(place)
    return place == folder
