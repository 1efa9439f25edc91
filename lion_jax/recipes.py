"""The package's own configurations, by name: the files of `configs/`.

A wheel has them within the package; a source tree has them beside it.
"""

import ast
import fnmatch
from pathlib import Path

PACKAGE = Path(__file__).parent
PLACES = PACKAGE / "configs", PACKAGE.parent / "configs"
LIST = "list"  # in place of a name: prints all


def files() -> dict[str, Path]:
    """Returns the configuration files by name."""
    for place in PLACES:
        if found := sorted(place.glob("*.py")):
            return {path.stem: path for path in found}
    return {}


def find(name: str) -> list[Path]:
    """Returns the files that a name or a pattern stands for.

    Args:
      name: As a path in a source tree, `configs/quickstart.py`, or `quickstart` alone.
    """
    stem = name.removeprefix("configs/").removesuffix(".py")
    return [path for key, path in files().items() if fnmatch.fnmatchcase(key, stem)]


def first_line(path: Path) -> str:
    """Returns the first line of a file's docstring; does not run the file."""
    text = path.read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def table() -> str:
    """Returns the names, each with its file's first line."""
    return "\n".join(f"{key:<21} {first_line(path)}" for key, path in files().items())
