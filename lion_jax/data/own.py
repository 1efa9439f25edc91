"""Data sets that a function of the user's own makes."""

import dataclasses
import json
from typing import Any

import numpy as np

from lion_jax import references
from lion_jax.config import ConfigError
from lion_jax.data.dataset import DataError, Dataset
from lion_jax.data.rows import Rows
from lion_jax.data.source import (
    Place,
    Request,
    require_no_folder,
    require_no_image_size,
)

FIELD = "data.name"
TFDS = " A set of TensorFlow Datasets has a name such as fashion_mnist."


def load(request: Request) -> Dataset:
    """Calls the function that a reference names, and checks what it returns.

    Args:
      request: Its name is the reference, of a function that returns a `Dataset`.

    Raises:
      DataError: If there is no such function, it raises, or returns something else.
    """
    require_no_image_size(request)
    name, options = request.name, request.options
    try:
        function = references.load(FIELD, name)
        given = f"{name} takes what it needs as --config.data.options.*"
        require_no_folder(request, given)
        values = json.loads(options) if options else {}
        arguments = references.arguments(FIELD, name, function, {}, values)
        with references.blamed(FIELD, name):
            dataset = function(**arguments)
    except ConfigError as error:
        sets = "" if name.rpartition(":")[0].endswith(".py") else TFDS
        raise DataError(f"{error}{sets}") from error
    if not isinstance(dataset, Dataset):
        raise DataError(
            f"{FIELD}={name!r}: it returned {type(dataset).__name__}, but must return a"
            " lion_jax.data.Dataset."
        )
    return _checked(name, dataset)


def places(request: Request) -> list[Place]:
    """Returns where such a data set is: nowhere but in what its function returns."""
    return [Place(f"function {request.name}", None, False)]


def _checked(name: str, dataset: Dataset) -> Dataset:
    """Returns the data set with labels of int32; refuses what cannot be trained on."""
    changed: dict[str, Any] = {"class_names": tuple(map(str, dataset.class_names))}
    shapes = set()
    for part in ("train", "test"):
        images = dataset.arrays[f"{part}_images"]
        labels = dataset.arrays[f"{part}_labels"]
        shape, dtype = getattr(images, "shape", ()), getattr(images, "dtype", None)
        if len(shape) != 4 or dtype != np.uint8 or not all(shape):
            raise DataError(
                f"{FIELD}={name!r}: {part}_images are {_described(images)}, but must be"
                " a NumPy array of uint8, (n, height, width, channels) with n > 0; for"
                " pixels in [0, 1] give np.round(255 * images).astype(np.uint8)."
            )
        labels = np.asarray(labels)
        if labels.shape != shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(
                f"{FIELD}={name!r}: {part}_labels are {_described(labels)}, but must be"
                f" integers, one for each of the {shape[0]} images."
            )
        if not isinstance(images, np.ndarray | Rows):  # such as JAX's
            changed[f"{part}_images"] = np.asarray(images)
        shapes.add(shape[1:])
        changed[f"{part}_labels"] = labels.astype(np.int32)
    if len(shapes) > 1:
        raise DataError(
            f"{FIELD}={name!r}: training and test images are of the shapes"
            f" {' and '.join(map(str, sorted(shapes)))}, but must be of one; resize"
            " them."
        )
    return dataclasses.replace(dataset, **changed)


def _described(array: Any) -> str:
    shape = getattr(array, "shape", None)
    return f"{array.dtype} {shape}" if shape is not None else type(array).__name__
