"""Data sets as arrays: one row of SOURCES per kind of source."""

import dataclasses
import logging
import os
from pathlib import Path

import numpy as np
from jaxtyping import Int

from lion_jax.config.reference import ARRAYS, parse
from lion_jax.data import cache, debian, folder, npz_file, own, tfds_source
from lion_jax.data.dataset import DataError, Dataset, ForbiddenError
from lion_jax.data.rows import Rows
from lion_jax.data.source import (
    Place,
    Request,
    Source,
    require_no_folder,
    require_no_image_size,
)
from lion_jax.data.statistics import pixel_statistics
from lion_jax.files import cache_folder, expanded

__all__ = ["SAMPLE", "SOURCES", "DataError", "Dataset", "Place", "Request", "Source"]
__all__ += ["Rows", "is_in_files", "load", "pixel_statistics", "source_of", "split"]

SAMPLE = "fashion_mnist_sample"
SAMPLE_PATH = Path(__file__).with_name(f"{SAMPLE}.npz")

_log = logging.getLogger(__name__)


def load(
    name: str = "fashion_mnist",
    data_dir: str = "",
    cache_dir: str = "",
    image_size: int = 0,
    options: str = "",
) -> Dataset:
    """Loads an image classification set from the source to which its name belongs.

    The embedded sample is read from the package, and only if asked for by its name.
    `folder` is a folder of images in class folders; a name that ends in `.npz` is a
    file of arrays. Every other name is TFDS's. These sets come from the nearest place
    that has them: the verified cache; a prepared TFDS folder; the TFDS download; for
    Fashion-MNIST, Debian's package. What the last three give is cached, and so are
    decoded images.

    Args:
      name: `fashion_mnist_sample`, `folder`, a path of an .npz file, a name in
        TensorFlow Datasets, or a reference to a function that returns a `Dataset`, as
        `./file.py:function`.
      data_dir: The folder of images, that of the file, or TFDS's folder; empty for
        TFDS's default, `~/tensorflow_datasets`.
      cache_dir: Folder of the cache; empty for the user's own.
      image_size: Height and width in pixels to which the images are cut and resized
        when they are decoded; 0 to leave them as they are.
      options: Arguments of that function, in JSON.

    Raises:
      DataError: If the set is unavailable; names the remedies.

    Examples:
      >>> from lion_jax import data
      >>> sample = data.load("fashion_mnist_sample")
      >>> sample.train_images.shape, sample.test_images.shape, sample.class_names[9]
      ((5000, 28, 28, 1), (1000, 28, 28, 1), 'Ankle boot')
    """
    request = Request(name, data_dir, cache_dir, image_size, options)
    return source_of(name).load(request)


def source_of(name: str) -> Source:
    """Returns the source to which a data set's name belongs."""
    return next(source for source in SOURCES if source.has(name))


def is_in_files(name: str) -> bool:
    """Returns whether a name stands for files of the user's: folder, or FILE.npz."""
    return name == folder.NAME or name.endswith(ARRAYS)


def _load_sample(request: Request) -> Dataset:
    require_no_image_size(request)
    require_no_folder(request, f"{request.name} comes with lion_jax")
    try:
        return cache.read(SAMPLE_PATH)
    except DataError as error:
        raise DataError(f"{error} It came with lion_jax; install it again.") from error


def _load_from_tfds(request: Request) -> Dataset:
    path = _cached(request)
    if path.exists():
        try:
            cached = cache.read(path)
            source = f"the cache {path}, made from {cached.source}"
            return dataclasses.replace(cached, source=source)
        except ForbiddenError:
            raise
        except DataError as error:
            _log.warning("%s It is made again.", error)
    dataset = tfds_source.load(request.name, request.data_dir, request.image_size)
    prepared, _ = tfds_source.prepared_folder(request.name, request.data_dir)
    try:
        cache.write(dataset, path, prepared.parent)
    except OSError as error:
        _log.warning("%s is not cached: %s.", request.name, error)
    return dataset


def _places_of_tfds(request: Request) -> list[Place]:
    path = _cached(request)
    prepared = tfds_source.prepared_folder(request.name, request.data_dir)
    places = [
        Place("verified cache", path, path.exists()),
        Place("prepared TFDS folder", *prepared),
        Place("TFDS download", None, False),
    ]
    if request.name == "fashion_mnist":
        places.append(Place("Debian's copy", debian.FOLDER, debian.is_installed()))
    return places


def _cached(request: Request) -> Path:
    chosen = request.cache_dir
    return cache.path_of(
        request.name,
        expanded(chosen) if chosen else cache_folder(),
        request.data_dir or os.environ.get("TFDS_DATA_DIR", ""),
        request.image_size,
    )


# The first row to which a name belongs serves it; all names are TFDS's in the end.
SOURCES = (
    Source(
        lambda name: name == SAMPLE,
        _load_sample,
        lambda _: [Place("embedded sample", SAMPLE_PATH, SAMPLE_PATH.exists())],
    ),
    Source(lambda name: name == folder.NAME, folder.load, folder.places),
    Source(lambda name: name.endswith(ARRAYS), npz_file.load, npz_file.places),
    Source(lambda name: parse(name) is not None, own.load, own.places),
    Source(lambda _: True, _load_from_tfds, _places_of_tfds),
)


def split(
    n: int, validation_fraction: float, seed: int
) -> tuple[Int[np.ndarray, " t"], Int[np.ndarray, " v"]]:
    """Splits n examples at random into training and validation indices.

    Args:
      n: Number of examples.
      validation_fraction: Share of the validation part, in (0, 1).
      seed: Seed of the split; the same for every run that is to be compared.

    Returns:
      The indices of the training and of the validation part, each ascending.
    """
    order = np.random.default_rng(seed).permutation(n)
    validation = round(n * validation_fraction)
    return np.sort(order[validation:]), np.sort(order[:validation])
