"""A data set from the arrays of an .npz file, as NumPy and Keras write them.

The file itself is `data.name`: unlike a folder's place, it is part of what a run is.
"""

import itertools
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from lion_jax.data import arrays
from lion_jax.data.cache import UNREADABLE
from lion_jax.data.class_folders import TEST_NAMES
from lion_jax.data.dataset import DataError, Dataset
from lion_jax.data.hold_out import hold_out
from lion_jax.data.source import Place, Request, require_no_image_size
from lion_jax.files import expanded

# Names of a split's images and labels, and of those of a set without a test split.
PAIRS = (
    ("{}_images", "{}_labels"),
    ("x_{}", "y_{}"),
    ("X_{}", "y_{}"),
    ("{}_x", "{}_y"),
    ("{}_X", "{}_y"),
)
WHOLE = (("images", "labels"), ("x", "y"), ("X", "y"))
SHOWN = 3  # names of classes without images

_log = logging.getLogger(__name__)


def load(request: Request) -> Dataset:
    """Loads arrays of images and labels.

    Args:
      request: `name` is the file, below `data_dir` if it is a relative path.

    Raises:
      DataError: If the file cannot be read, or its arrays are no images or labels.
    """
    require_no_image_size(request)
    path = _path(request)
    if not os.path.isfile(path):  # pathlib's raises, as for a name too long
        raise DataError(
            f"data.name={request.name!r}: {path} is no file; give its path."
        )
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            keys = _keys(path, file.files)
            wanted = [*itertools.chain(*keys.values())]
            wanted += ["class_names"] * ("class_names" in file.files)
            found = {key: _array(path, file, key) for key in wanted}
            unused = [key for key in file.files if key not in wanted]
    except UNREADABLE as error:
        raise DataError(f"{path} is no usable .npz file ({error}).") from error
    if unused:
        _log.info("%s: not used: %s.", path, ", ".join(unused))
    given = found.get("class_names")
    # Without names there are no more classes than labels.
    most = sum(found[labels].size for _, labels in keys.values())
    most = max(2, most) if given is None else 2**31
    splits = {
        split: (
            arrays.pixels(images, found[images]),
            arrays.labels(labels, found[labels], most),
        )
        for split, (images, labels) in keys.items()
    }
    for split, (images, labels) in keys.items():
        _check_alike(images, labels, *splits[split])
    images, labels = splits["train"]
    if "test" not in splits:
        train, test = hold_out(labels, str(path))
        splits = {
            "train": (images[train], labels[train]),
            "test": (images[test], labels[test]),
        }
    elif images.shape[1:] != splits["test"][0].shape[1:]:
        shapes = [array.shape[1:] for array, _ in splits.values()]
        raise DataError(
            f"{path}: training images are {shapes[0]}, but test images {shapes[1]};"
            " make their shapes equal."
        )
    names = _class_names(path, [labels for _, labels in splits.values()], given)
    source = f"the file {path}"
    dataset = Dataset(path.name, "", source, names, *splits["train"], *splits["test"])
    return dataset.versioned_by_content()


def places(request: Request) -> list[Place]:
    """Returns the file."""
    path = _path(request)
    return [Place(".npz file", path, os.path.isfile(path))]


def _path(request: Request) -> Path:
    return (expanded(request.data_dir) / expanded(request.name)).resolve()


def _keys(path: Path, there: list[str]) -> dict[str, tuple[str, str]]:
    """Returns the names of images and labels by split."""
    found = {}
    for pair in PAIRS:
        for split in ("train", *TEST_NAMES):
            images, labels = (key.format(split) for key in pair)
            if images in there and labels in there:
                found.setdefault(split, (images, labels))
    for pair in WHOLE:
        if {*pair} <= {*there}:
            found.setdefault("train", pair)
    test = next((name for name in TEST_NAMES if name in found), None)
    if "train" in found and test:
        if test != "test":
            _log.info("%s: %s serves as the test split.", path, found[test][0])
        return {"train": found["train"], "test": found[test]}
    if "train" in found:
        return {"train": found["train"]}
    raise DataError(
        f"{path} holds {', '.join(there) or 'nothing'}; name its arrays train_images,"
        " train_labels, test_images and test_labels, or x_train, y_train, x_test and"
        " y_test, or images and labels."
    )


def _array(path: Path, file: Any, key: str) -> np.ndarray:
    try:
        return file[key]
    except ValueError as error:  # what is pickled is not read
        if "Object arrays" not in str(error):
            raise
        raise DataError(
            f"{path}: {key} holds Python objects, which are not unpickled; give"
            f" np.asarray({key}.tolist()), and images of one shape."
        ) from error


def _check_alike(
    images_key: str, labels_key: str, images: np.ndarray, labels: np.ndarray
) -> None:
    if len(images) != len(labels):
        raise DataError(
            f"{images_key} holds {len(images)} images, but {labels_key}"
            f" {len(labels)} labels; give one label per image."
        )


def _class_names(path: Path, labels: list[np.ndarray], given: Any) -> tuple[str, ...]:
    if given is not None and given.dtype.kind == "S":  # of bytes, as h5py has them
        given = np.char.decode(given, "utf-8", "replace")
    count = 1 + max(int(part.max()) for part in labels)
    names = [str(i) for i in range(count)] if given is None else given.ravel().tolist()
    if count > len(names) or len(names) < 2:
        raise DataError(
            f"{path}: labels go up to {count - 1}, and there are {len(names)} classes;"
            " give two classes or more, and a name for each in class_names."
        )
    missing = np.flatnonzero(np.bincount(labels[0], minlength=len(names)) == 0)
    if len(missing):
        absent = ", ".join(str(names[i]) for i in missing[:SHOWN])
        more = f" and {len(missing) - SHOWN} more" * (len(missing) > SHOWN)
        _log.info("%s has no training images of %s%s.", path, absent, more)
    return tuple(map(str, names))
