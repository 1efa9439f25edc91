"""Text files that appear whole or not at all, whatever ends the process."""

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
