"""Which images lie in class folders, in which order, and in which split."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from lion_jax.data import walking
from lion_jax.data.dataset import DataError

TRAINING = {"train", "training"}
TESTING = {"test", "testing", "val", "valid", "validation"}
TEST_NAMES = ("test", "val", "valid", "validation")  # the first that is there serves
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

    Classes are in the order of their names' code points, as in torchvision, and the
    images of each in that of their paths.

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
        if others := [p for p in _folders(root) if p not in (train, test)]:
            notes.append(f"Not used, beside {train}: {_some(others)}.")
    classes, left = _classes(train), walking.Left([], [])
    _refuse_splits(title, train, classes)
    trained = _part(classes, [*classes], left)
    empty = _without_images(trained, [*classes])
    if ours := [name for name in empty if _below(classes[name], left.outputs)]:
        classes = {k: folder for k, folder in classes.items() if k not in ours}
        trained = _part(classes, [*classes], walking.Left([], []))
    names = [*classes]
    if len(names) < 2:
        there = f"one class only, {names[0]!r}" if names else "no class folders"
        raise DataError(
            f"{title}: {train} holds {there}; make a folder per class, such as"
            f" {train / 'cat'} and {train / 'dog'}, and move the images there."
        )
    if places := [classes[name] for name in empty if name in classes]:
        there = [path for place in places for path in _below(place, left.files)]
        but = f" (but {_some(there)}, which Pillow does not open)" * bool(there)
        raise DataError(
            f"{title}: no image is in {_some(places)}{but}; put images there, or remove"
            " the folder."
        )
    tested = _part(_classes(test), names, left) if test else None
    if test and tested:
        notes += _check_test(title, test, names, tested)
    notes += _left_out(root, {root, train, test or train}, left)
    return Listing(tuple(names), trained, tested, tuple(notes))


def _left_out(root: Path, parents: set[Path], left: walking.Left) -> list[str]:
    """Says which files below a folder are not used."""
    loose = [
        path
        for parent in sorted(parents)
        for path in sorted(parent.iterdir())
        if walking.is_meant(path.name) and walking.is_image(path) and path.is_file()
    ]
    notes = {
        "Images in no class folder are not used": loose,
        "Files that are no images are ignored": left.files,
        "What lion_jax wrote there is ignored": left.outputs,
    }
    return [
        f"{note}: {_some(path.relative_to(root) for path in paths)}."
        for note, paths in notes.items()
        if paths
    ]


def _refuse_splits(title: str, folder: Path, classes: dict[str, Path]) -> None:
    """Refuses splits that would be classes, or that lie within classes."""
    for path in classes.values():
        inside = {x.name.casefold(): x for x in _folders(path)}
        if inside.keys() & TRAINING and inside.keys() & TESTING:
            splits = [inside[x] for x in sorted(inside.keys() & (TRAINING | TESTING))]
            raise DataError(
                f"{title}: {_some(splits)} look like splits within a class; move them,"
                f" so that a split holds its classes: {folder / 'train' / path.name}."
            )
    words = {name: {*re.split(r"[\W_]+", name.casefold())} for name in classes}
    train = [name for name in classes if words[name] & TRAINING]
    test = [name for name in classes if words[name] & TESTING and name not in train]
    inside = {name: _holds_classes(classes[name]) for name in (*train, *test)}
    alike = [(a, b) for a in train for b in test if inside[a] and inside[b]]
    named = {name.casefold() for name in classes} <= TRAINING | TESTING
    if alike or (named and len(classes) > 1):
        raise DataError(
            f"{title}: {_some(alike[0] if alike else classes)} look like splits, not"
            " classes; name them train and test, with the classes' folders in each."
        )


def _holds_classes(folder: Path) -> bool:
    """Whether a folder holds others, and no image itself."""
    with os.scandir(folder) as entries:
        images = any(walking.is_image(Path(entry.name)) for entry in entries)
    return not images and bool(_folders(folder))


def _below(folder: Path, paths: list[Path]) -> list[Path]:
    return [path for path in paths if folder in (path, *path.parents)]


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


def _part(folders: dict[str, Path], names: list[str], left: walking.Left) -> Part:
    paths, labels = [], []
    for label, name in enumerate(names):
        found = walking.images(folders[name], left) if name in folders else []
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
    with os.scandir(folder) as entries:  # which asks the disk for no file's state
        meant = (entry for entry in entries if walking.is_meant(entry.name))
        return sorted(Path(entry) for entry in meant if entry.is_dir())


def _classes(folder: Path) -> dict[str, Path]:
    """Returns the class folders by name, in order, accents composed."""
    if not folder.is_dir():
        return {}
    found = [path for path in folder.iterdir() if walking.is_meant(path.name)]
    if nowhere := [p for p in found if p.is_symlink() and not p.exists()]:
        raise DataError(
            f"{_some(sorted(nowhere))} leads nowhere; mend the link, or remove it."
        )
    folders = [path for path in found if path.is_dir()]
    classes: dict[str, Path] = {}
    for path in sorted(folders, key=lambda path: walking.order(path.name)):
        name = unicodedata.normalize("NFC", path.name)
        if name in classes:
            raise DataError(
                f"{folder} holds two folders called {name!r}, with accents composed and"
                " decomposed; move the images of both into one."
            )
        classes[name] = path
    return classes


def _some(names: Iterable[object]) -> str:
    first = [str(name) for name in names]
    more = f" and {len(first) - NAMED} more" if first[NAMED:] else ""
    return ", ".join(first[:NAMED]) + more
