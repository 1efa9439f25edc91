"""Which images lie below a folder: the same, in one order, on every file system."""

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

# What systems leave, beside what begins with a dot.
LITTER = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "lost+found"}
LITTER |= {"$recycle.bin", "system volume information"}
# By which the folder of a run or a comparison is known: pictures in it are this
# program's own, not data. CACHED is what a folder of the cache holds (`folder.NAME`).
OUTPUTS = (
    {"config.json", "environment.json"},
    {"config.json", ".lock"},
    {"campaigns", "records"},
    {"campaigns", ".lock"},
)
CACHED = re.compile(r"folder-[0-9a-f]{12}(-\d+px)?(\.lock|\.tmp|\.old)?")


class Left(NamedTuple):
    """What was met and left out."""

    files: list[Path]  # that are no images, and links to a folder above
    outputs: list[Path]  # folders of this program's own


def images(folder: Path, left: Left) -> list[Path]:
    """Returns the images at any depth below a class folder, in order.

    Raises:
      OSError: If a folder cannot be listed.
    """
    found = []
    for path in _files(folder, left):
        (found if is_image(path) else left.files).append(path)
    return sorted(found, key=lambda path: order(path.relative_to(folder).as_posix()))


def _files(folder: Path, left: Left) -> Iterator[Path]:
    """Yields what a class folder holds, and links to a folder above it, not followed.

    Other classes are below such a folder. Of two ways to one folder, the first by name
    is taken, on any file system.
    """
    top, seen = Path(os.path.realpath(folder)), set()
    above = {top, *top.parents}
    for where, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(where)
        there = {*folders, *files}
        if any(x <= there for x in OUTPUTS) or any(map(CACHED.fullmatch, there)):
            left.outputs.append(Path(where))
            seen.add(real)
        meant = sorted(filter(is_meant, folders), key=order)
        places = {name: Path(where, name) for name in meant if real not in seen}
        up = [name for name, p in places.items() if Path(os.path.realpath(p)) in above]
        folders[:] = [name for name in places if name not in up]
        yield from (places[name] for name in up)
        if real not in seen:
            yield from (Path(where, name) for name in files if is_meant(name))
        seen.add(real)


def _refuse(error: OSError) -> None:
    raise error  # os.walk would leave the folder out without a word


def is_image(path: Path) -> bool:
    """Whether a file's ending is one of those that Pillow opens."""
    return Image.registered_extensions().get(path.suffix.lower()) in Image.OPEN


def is_meant(name: str) -> bool:
    """Whether a name is none that systems leave."""
    return not name.startswith(".") and name.lower() not in LITTER


def order(name: str) -> tuple[str, str]:
    """Sorts names alike on file systems that keep accents composed and decomposed."""
    return unicodedata.normalize("NFC", name), name
