"""A list of a folder's files with their sha256, and whether it still holds.

Orbax restores a flipped bit without a word; this is what notices. Files that systems
leave behind whoever looks into a folder are no part of it.
"""

import fnmatch
import hashlib
import json
import os
from pathlib import Path

from lion_jax.files import write_whole

# Left by file managers, indexers, network disks and synchronisation.
LITTER = (".DS_Store", "._*", ".nfs*", ".fuse_hidden*", ".directory", ".localized")
LITTER += ("Thumbs.db", "desktop.ini", "@eaDir", ".snapshot", "Icon\r", "*~")


class DamageError(Exception):
    """A file that is not what the list says; its text names the file."""


def write(folder: Path, to: Path) -> None:
    """Lists all files of a folder with size and sha256; `to` appears whole or not."""
    to.parent.mkdir(parents=True, exist_ok=True)
    listed = {name: _describe(path) for name, path in _files(folder).items()}
    write_whole(to, json.dumps(listed, indent=0))


def check(folder: Path, against: Path) -> None:
    """Compares a folder with the list that `write` made.

    Raises:
      DamageError: If a file is missing, altered, not listed, or a link.
    """
    try:
        listed = json.loads(against.read_text())
        expected = {name: (size, digest) for name, (size, digest) in listed.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DamageError(f"{against} cannot be read ({error})") from error
    files = _files(folder)
    for name in sorted(expected.keys() | files.keys()):
        if name not in files:
            raise DamageError(f"{folder / name} is missing")
        if name not in expected:
            raise DamageError(f"{files[name]} does not belong there")
        size, digest = expected[name]
        if files[name].stat().st_size != size:
            raise DamageError(f"{files[name]} is not {size} bytes long any more")
        if _describe(files[name])[1] != digest:
            raise DamageError(f"{files[name]} has changed: its sha256 is another")


def _files(folder: Path) -> dict[str, Path]:
    """Returns the files of a folder by name, links refused: they may lead anywhere."""
    paths = {}
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _is_litter(name)]
        for name in (*folders, *filter(lambda name: not _is_litter(name), files)):
            path = Path(parent) / name
            if path.is_symlink():
                raise DamageError(f"{path} is a link, which no checkpoint holds")
            if path.is_file():
                paths[str(path.relative_to(folder))] = path
    return paths


def _is_litter(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in LITTER)


def _describe(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
