"""Which images lie in class folders, in which order, and in which split."""

import hashlib
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32
from PIL import Image

from lion_jax.data.dataset import DataError

SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}
TEST_NAMES = ("test", "val", "valid", "validation")  # the first that is there serves
# What systems leave, beside what begins with a dot.
LITTER = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "lost+found"}
LITTER |= {"$recycle.bin", "system volume information"}
NAMED = 3  # in a line about several


@dataclass(frozen=True)
class Part:
    """The images of a split."""

    paths: list[Path]
    labels: Int32[np.ndarray, " n"]


@dataclass(frozen=True)
class Listing:
    """What lies in a folder of images."""

    class_names: tuple[str, ...]
    train: Part
    test: Part | None  # None if the folder has no test split
    notes: tuple[str, ...]  # what a user might not expect

    def fingerprint(self, root: Path, *, times: bool = True) -> str:
        """Returns a checksum of all names, sizes and times of modification."""
        digest = hashlib.sha256(repr(self.class_names).encode(errors="replace"))
        for part in filter(None, (self.train, self.test)):
            digest.update(str(len(part.paths)).encode())
            for path in part.paths:
                try:
                    status = path.stat()
                    state = f"{status.st_size} {status.st_mtime_ns * times}"
                except OSError:  # a symlink that leads nowhere: named when it is read
                    state = "absent"
                digest.update(os.fsencode(path.relative_to(root)))
                digest.update(f"\0{state}\n".encode())
        return digest.hexdigest()


def read(root: Path) -> Listing:
    """Lists ROOT/train/CLASS/... and ROOT/test/CLASS/..., or ROOT/CLASS/...

    Classes and images are in the order of their names' code points, as in torchvision.

    Raises:
      DataError: If the folder is not laid out so, or a folder of it cannot be listed;
        names the first fault.
    """
    try:
        return _read(root)
    except OSError as error:
        raise DataError(
            f"{error.filename or root} cannot be read ({error.strerror}); give yourself"
            " the right to read it, or leave it out."
        ) from error


def _read(root: Path) -> Listing:
    title = f"data.data_dir={str(root)!r}"
    if not root.is_dir():
        raise DataError(
            f"{title} is no folder; give one that holds a folder per class."
        )
    splits = _splits(root, "train")
    train, test, notes = splits[0] if splits else root, None, []
    if splits:
        found = _splits(root, *TEST_NAMES)
        test = found[0] if found else None
        if test and test.name != "test":
            notes.append(f"{test} serves as the test split.")
        if others := [str(p) for p in _folders(root) if p not in (train, test)]:
            notes.append(f"Not used, beside {train}: {_some(others)}.")
    names = list(_classes(train))
    if {name.casefold() for name in names} <= SPLITS and len(names) > 1:
        raise DataError(
            f"{title}: {_some(names)} look like splits, not classes; name them train"
            " and test."
        )
    if len(names) < 2:
        there = f"one class only, {names[0]!r}" if names else "no class folders"
        raise DataError(
            f"{title}: {train} holds {there}; make a folder per class, such as"
            f" {train / 'cat'} and {train / 'dog'}, and move the images there."
        )
    ignored: list[Path] = []
    listing = Listing(
        class_names=tuple(names),
        train=_part(train, names, ignored),
        test=_part(test, names, ignored) if test else None,
        notes=(),
    )
    empty = _without_images(listing.train, names)
    if empty:
        places = [train / name for name in empty]
        there = [str(p) for p in ignored if {*places} & {*p.parents}]
        but = f" (but {_some(there)}, which Pillow does not open)" * bool(there)
        raise DataError(
            f"{title}: no image is in {_some([str(p) for p in places])}{but}; put"
            " images there, or remove the folder."
        )
    if test and listing.test:
        notes += _check_test(title, test, names, listing.test)
    if ignored:
        files = _some([str(path.relative_to(root)) for path in ignored])
        notes.append(f"Files that are no images are ignored: {files}.")
    return Listing(listing.class_names, listing.train, listing.test, tuple(notes))


def _check_test(title: str, folder: Path, names: list[str], part: Part) -> list[str]:
    """Refuses classes that are not trained on; returns notes on those not tested."""
    unknown = [name for name in _classes(folder) if name not in names]
    if unknown:
        raise DataError(
            f"{title}: {folder} holds {_some(unknown)}, which the training split does"
            " not; remove the folder, or make one in the training split."
        )
    if not part.paths:
        raise DataError(
            f"{title}: no image is in {folder}; put images there, or remove it, so that"
            " part of the training split is held out."
        )
    untested = _without_images(part, names)
    return [f"{folder} has no images of {_some(untested)}."] if untested else []


def _without_images(part: Part, names: list[str]) -> list[str]:
    counts = np.bincount(part.labels, minlength=len(names))
    return [name for name, count in zip(names, counts, strict=True) if not count]


def _part(folder: Path, names: list[str], ignored: list[Path]) -> Part:
    folders, paths, labels = _classes(folder), [], []
    for label, name in enumerate(names):
        found = _images(folders[name], ignored) if name in folders else []
        paths += found
        labels += [label] * len(found)
    return Part(paths, np.asarray(labels, np.int32))


def _splits(root: Path, *names: str) -> list[Path]:
    """Returns the folders of splits that have classes, in the order of the names.

    Capitals make no difference, as on file systems that know none.
    """
    folders = sorted(root.iterdir())
    return [
        folder
        for name in names
        for folder in sorted(folders, key=lambda path: path.name != name)
        if folder.name.casefold() == name and _classes(folder)
    ]


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and _is_meant(p.name))


def _classes(folder: Path) -> dict[str, Path]:
    """Returns the class folders by name, in order, accents composed."""
    if not folder.is_dir():
        return {}
    found = [path for path in folder.iterdir() if _is_meant(path.name)]
    if nowhere := [str(p) for p in found if p.is_symlink() and not p.exists()]:
        raise DataError(
            f"{_some(sorted(nowhere))} leads nowhere; mend the link, or remove it."
        )
    folders = sorted((p for p in found if p.is_dir()), key=lambda p: _order(p.name))
    classes: dict[str, Path] = {}
    for path in folders:
        name = unicodedata.normalize("NFC", path.name)
        if name in classes:
            raise DataError(
                f"{folder} holds two folders called {name!r}, with accents composed and"
                " decomposed; move the images of both into one."
            )
        classes[name] = path
    return classes


def _images(folder: Path, ignored: list[Path]) -> list[Path]:
    """Returns the images at any depth below a class folder, in order."""
    extensions = _extensions()
    images = []
    for path in _files(folder):
        if path.suffix.lower() in extensions:
            images.append(path)
        else:
            ignored.append(path)
    return sorted(images, key=lambda path: _order(path.relative_to(folder).as_posix()))


def _files(folder: Path) -> Iterator[Path]:
    """Yields what a class folder holds, and links to a folder above it, not followed.

    Other classes are below such a folder. Of two ways to one folder, the first by name
    is taken, on any file system.
    """
    top, seen = Path(os.path.realpath(folder)), set()
    above = {top, *top.parents}
    for where, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(where)
        meant = sorted(filter(_is_meant, folders), key=_order)
        places = {name: Path(where, name) for name in meant if real not in seen}
        up = [name for name, p in places.items() if Path(os.path.realpath(p)) in above]
        folders[:] = [name for name in places if name not in up]
        yield from (places[name] for name in up)
        if real not in seen:
            yield from (Path(where, name) for name in files if _is_meant(name))
        seen.add(real)


def _refuse(error: OSError) -> None:
    raise error  # os.walk would leave the folder out without a word


def _extensions() -> set[str]:
    """Returns the endings of files that Pillow opens."""
    known = Image.registered_extensions()
    return {ending for ending, format in known.items() if format in Image.OPEN}


def _is_meant(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in LITTER


def _order(name: str) -> tuple[str, str]:
    """Sorts names alike on file systems that keep accents composed and decomposed."""
    return unicodedata.normalize("NFC", name), name


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if names[NAMED:] else ""
    return ", ".join(names[:NAMED]) + more
