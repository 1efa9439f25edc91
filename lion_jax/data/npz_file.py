"""A data set from the arrays of an .npz file, as NumPy and Keras write them.

The file itself is `data.name`: unlike a folder's place, it is part of what a run is.
"""

import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from lion_jax.data.cache import UNREADABLE
from lion_jax.data.class_folders import TEST_NAMES
from lion_jax.data.dataset import DataError, Dataset
from lion_jax.data.hold_out import hold_out
from lion_jax.data.rows import blocks
from lion_jax.data.source import Place, Request, require_no_image_size
from lion_jax.files import expanded

ENDING = ".npz"
# Names of a split's images and labels, and of those of a set without a test split.
PAIRS = (
    ("{}_images", "{}_labels"),
    ("x_{}", "y_{}"),
    ("X_{}", "y_{}"),
    ("{}_x", "{}_y"),
    ("{}_X", "{}_y"),
)
WHOLE = (("images", "labels"), ("x", "y"), ("X", "y"))
MOST_CHANNELS = 4
SHOWN = 3  # names of classes without images
SCALED = "({0} - low) / (high - low), with the lowest and highest value of all splits"

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
            arrays = {key: _array(path, file, key) for key in wanted}
    except UNREADABLE as error:
        raise DataError(f"{path} is no usable .npz file ({error}).") from error
    most = max(2, arrays[keys["train"][1]].size)  # classes
    splits = {
        split: (_pixels(images, arrays[images]), _labels(labels, arrays[labels], most))
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
    given = arrays.get("class_names")
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
    tests = [name for name in TEST_NAMES if name in found]
    if "train" in found:
        if tests and tests[0] != "test":
            _log.info("%s: %s serves as the test split.", path, found[tests[0]][0])
        for name in tests[1:]:
            _log.info("%s: %s is not used.", path, found[name][0])
        chosen = {"train": found["train"]}
        return chosen | ({"test": found[tests[0]]} if tests else {})
    for pair in WHOLE:
        if {*pair} <= {*there}:
            return {"train": pair}
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


def _pixels(key: str, array: np.ndarray) -> UInt8[np.ndarray, "n h w c"]:
    """Returns images as uint8, with an axis of channels."""
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != 4 or not array.size:
        raise DataError(
            f"{key} has shape {array.shape}, but images have shape (n, height, width)"
            f" or (n, height, width, channels); give {key}.reshape(-1, 28, 28), for"
            " instance."
        )
    if array.shape[3] > MOST_CHANNELS:
        raise DataError(
            f"{key} has shape {array.shape}, whose last axis is no axis of channels (1"
            f" to {MOST_CHANNELS}); give {key}.transpose(0, 2, 3, 1), for instance."
        )
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(
            f"{key} is {array.dtype}, but images are uint8, 0 to 255, or floats in"
            f" [0, 1]; give {_eight_bits(key, array)}."
        )
    return np.concatenate([*_scaled(key, array)])


def _eight_bits(key: str, array: np.ndarray) -> str:
    """Returns how to make uint8 of an array of whole numbers."""
    if array.dtype == np.bool_:
        return f"255 * {key}.astype(np.uint8)"
    if array.dtype.kind in "iu":
        low, high = int(array.min()), int(array.max())
        if low >= 0 and high <= 255:
            return f"{key}.astype(np.uint8)"
        if low >= 0 and high <= 65535:
            return f"np.round({key} / 257).astype(np.uint8), if they are of 16 bits"
    return SCALED.format(key)


def _scaled(key: str, array: np.ndarray) -> Iterator[np.ndarray]:
    for block in blocks(array):
        low, high = block.min(), block.max()
        if not np.isfinite([low, high]).all():
            raise DataError(
                f"{key} holds NaN or an infinity, which are no pixels; give"
                f" np.nan_to_num({key}, posinf=1, neginf=0), black and white, or other"
                " images."
            )
        if not (low >= 0 and high <= 1):
            remedy = SCALED.format(key)
            if low >= 0 and high <= 255 and not np.any(block % 1):
                remedy = f"{key}.astype(np.uint8), whose 0 to 255 these seem to be"
            raise DataError(
                f"{key} is {array.dtype} with values from {low:g} to {high:g}, but"
                f" floats must be in [0, 1]; give {remedy}."
            )
        yield np.round(255 * block).astype(np.uint8)


def _labels(key: str, array: np.ndarray, most: int) -> Int32[np.ndarray, " n"]:
    """Returns labels as numbers of classes, of which there are at most some."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(
            f"{key} has shape {array.shape}, but labels have shape (n,) or (n, 1); give"
            f" {key}.argmax(axis=1) if they are one-hot."
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"{key} is {array.dtype}, but labels are integers from 0; give"
            f" np.unique({key}, return_inverse=True)[1], of all splits at once,"
            " and class_names."
        )
    if len(array) and not 0 <= array.min() <= array.max() < most:
        raise DataError(
            f"{key} holds labels from {array.min()} to {array.max()}, but classes are"
            f" numbered from 0; give np.unique({key}, return_inverse=True)[1], of all"
            " splits at once."
        )
    return array.astype(np.int32)


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
