"""Makes the embedded sample: the first images of each class, in the set's order.

    python tools/make_sample.py

needs the full Fashion-MNIST (`python -m lion_jax.data prepare`) and gives the same
arrays every time: 500 training and 100 test images of each of the ten classes.
"""

import dataclasses

import numpy as np

from lion_jax import data
from lion_jax.data import cache


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of the first `count` examples of each class, ascending."""
    classes = np.unique(labels)
    return np.sort(
        np.concatenate([np.flatnonzero(labels == k)[:count] for k in classes])
    )


def main() -> None:
    full = data.load("fashion_mnist")
    train = first_of_each_class(full.train_labels, 500)
    test = first_of_each_class(full.test_labels, 100)
    sample = dataclasses.replace(
        full,
        name=data.SAMPLE,
        source="the sample embedded in lion_jax",
        train_images=full.train_images[train],
        train_labels=full.train_labels[train],
        test_images=full.test_images[test],
        test_labels=full.test_labels[test],
    )
    cache.write(sample, data.SAMPLE_PATH)
    print(data.SAMPLE_PATH, data.SAMPLE_PATH.stat().st_size, sample.sha256())


if __name__ == "__main__":
    main()
