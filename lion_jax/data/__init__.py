"""Data sets as arrays: one row of SOURCES per kind of source."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
from jaxtyping import Int

from lion_jax.config.reference import parse
from lion_jax.data import cache, debian, own, tfds_source
from lion_jax.data.dataset import DataError, Dataset
from lion_jax.data.source import Place, Source
from lion_jax.files import cache_folder

__all__ = ["SAMPLE", "SOURCES", "DataError", "Dataset", "Place", "Source"]
__all__ += ["load", "pixel_statistics", "source_of", "split"]

SAMPLE = "fashion_mnist_sample"
SAMPLE_PATH = Path(__file__).with_name(f"{SAMPLE}.npz")

_log = logging.getLogger(__name__)


def load(
    name: str = "fashion_mnist",
    data_dir: str = "",
    cache_dir: str = "",
    options: str = "",
) -> Dataset:
    """Loads an image classification set from the source to which its name belongs.

    The embedded sample is read from the package, and only if asked for by its name.
    Every other name is TFDS's. These sets come from the nearest place that has them:
    the verified cache; a prepared TFDS folder; the TFDS download; for Fashion-MNIST,
    Debian's package. What the last three give is cached.

    Args:
      name: `fashion_mnist_sample`, a name in TensorFlow Datasets, or a reference to a
        function that returns a `Dataset`, as `./file.py:function`.
      data_dir: TFDS's folder; empty for its default, `~/tensorflow_datasets`.
      cache_dir: Folder of the cache; empty for the user's own.
      options: Arguments of the function that a reference names, in JSON.

    Raises:
      DataError: If the set is unavailable; names the remedies.

    Examples:
      >>> from lion_jax import data
      >>> sample = data.load("fashion_mnist_sample")
      >>> sample.train_images.shape, sample.test_images.shape, sample.class_names[9]
      ((5000, 28, 28, 1), (1000, 28, 28, 1), 'Ankle boot')
    """
    return source_of(name).load(name, data_dir, cache_dir, options)


def source_of(name: str) -> Source:
    """Returns the source to which a data set's name belongs."""
    return next(source for source in SOURCES if source.has(name))


def _load_sample(*_: str) -> Dataset:
    try:
        return cache.read(SAMPLE_PATH)
    except DataError as error:
        raise DataError(f"{error} It came with lion_jax; install it again.") from error


def _load_from_tfds(name: str, data_dir: str, cache_dir: str, _: str) -> Dataset:
    path = _cached(name, data_dir, cache_dir)
    if path.exists():
        try:
            cached = cache.read(path)
            source = f"the cache {path}, made from {cached.source}"
            return dataclasses.replace(cached, source=source)
        except DataError as error:
            _log.warning("%s It is made again.", error)
    dataset = tfds_source.load(name, data_dir)
    try:
        cache.write(dataset, path)
    except OSError as error:
        _log.warning("%s is not cached: %s.", name, error)
    return dataset


def _places_of_tfds(name: str, data_dir: str, cache_dir: str) -> list[Place]:
    path = _cached(name, data_dir, cache_dir)
    places = [
        Place("verified cache", path, path.exists()),
        Place("prepared TFDS folder", *tfds_source.prepared_folder(name, data_dir)),
        Place("TFDS download", None, False),
    ]
    if name == "fashion_mnist":
        places.append(Place("Debian's copy", debian.FOLDER, debian.is_installed()))
    return places


def _cached(name: str, data_dir: str, cache_dir: str) -> Path:
    folder = Path(cache_dir).expanduser() if cache_dir else cache_folder()
    return cache.path_of(name, folder, data_dir)


# The first row to which a name belongs serves it; all names are TFDS's in the end.
SOURCES = (
    Source(
        lambda name: name == SAMPLE,
        _load_sample,
        lambda *_: [Place("embedded sample", SAMPLE_PATH, SAMPLE_PATH.exists())],
    ),
    Source(
        lambda name: parse(name) is not None,
        lambda name, *rest: own.load(name, rest[-1]),
        lambda name, *_: [Place(f"function {name}", None, False)],
    ),
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


def pixel_statistics(
    images: np.ndarray,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation of each channel, for pixels in [0, 1]."""
    values = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[-1]):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        mean = np.average(values, weights=counts)
        means.append(float(mean))
        variance = np.average((values - mean) ** 2, weights=counts)
        deviations.append(float(max(variance, 1e-12) ** 0.5))
    return tuple(means), tuple(deviations)
