"""Data sets as arrays: the embedded sample, the cache, TensorFlow Datasets."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
from jaxtyping import Int

from lion_jax.data import cache
from lion_jax.data.dataset import DataError, Dataset
from lion_jax.files import cache_folder

__all__ = ["SAMPLE", "DataError", "Dataset", "load", "pixel_statistics", "split"]

SAMPLE = "fashion_mnist_sample"
SAMPLE_PATH = Path(__file__).with_name(f"{SAMPLE}.npz")

_log = logging.getLogger(__name__)


def load(
    name: str = "fashion_mnist",
    data_dir: str = "",
    cache_dir: str = "",
) -> Dataset:
    """Loads an image classification set, from the nearest place that has it.

    The embedded sample is read from the package, and only if asked for by its name.
    Everything else: the verified cache; a prepared TFDS folder; the TFDS download;
    for Fashion-MNIST, Debian's package. What the last three give is cached.

    Args:
      name: `fashion_mnist_sample`, or a name in TensorFlow Datasets.
      data_dir: TFDS's folder; empty for its default, `~/tensorflow_datasets`.
      cache_dir: Folder of the cache; empty for the user's own.

    Raises:
      DataError: If the set cannot be had; names the remedies.

    Examples:
      >>> from lion_jax import data
      >>> sample = data.load("fashion_mnist_sample")
      >>> sample.train_images.shape, sample.test_images.shape, sample.class_names[9]
      ((5000, 28, 28, 1), (1000, 28, 28, 1), 'Ankle boot')
    """
    if name == SAMPLE:
        return cache.read(SAMPLE_PATH)
    folder = Path(cache_dir).expanduser() if cache_dir else cache_folder()
    path = cache.path_of(name, folder, data_dir)
    if path.exists():
        try:
            cached = cache.read(path)
            source = f"the cache {path}, made from {cached.source}"
            return dataclasses.replace(cached, source=source)
        except DataError as error:
            _log.warning("%s It is made again.", error)
    # Imported late: TFDS takes longer to import than the cache to read.
    from lion_jax.data import tfds_source

    dataset = tfds_source.load(name, data_dir)
    try:
        cache.write(dataset, path)
    except OSError as error:
        _log.warning("%s is not cached: %s.", name, error)
    return dataset


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
