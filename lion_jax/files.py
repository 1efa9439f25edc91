"""Files that appear whole or not at all, and the user's own cache folder."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes a text file under another name, forces it to the disk and renames it."""
    temporary = temporary_of(path)
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def temporary_of(path: Path) -> Path:
    """Returns the name under which a file is written; an interruption may leave it."""
    return path.with_suffix(".tmp")


def cache_folder() -> Path:
    """Returns `$LION_JAX_CACHE`, or `lion_jax` in the user's cache folder."""
    if folder := os.environ.get("LION_JAX_CACHE"):
        return Path(folder).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "lion_jax"


def make_private(folder: Path) -> None:
    """Makes a folder with mode 0700, and so each one above it that is missing."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
