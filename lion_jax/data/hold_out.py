"""A test split for sets that have none: part of each class, drawn by a fixed seed."""

import logging

import numpy as np
from jaxtyping import Int, Int32

from lion_jax.data.dataset import DataError

FRACTION = 0.2
SEED = 0  # the same for every run: what is tested is never trained on

_log = logging.getLogger(__name__)


def hold_out(
    labels: Int32[np.ndarray, " n"], title: str
) -> tuple[Int[np.ndarray, " t"], Int[np.ndarray, " m"]]:
    """Cuts examples into a training and a test part, and logs that it does.

    Args:
      labels: The classes of all examples, in their order.
      title: Of the set, for the log and for messages.

    Returns:
      The indices of the training and of the test part, each ascending. They depend on
      the labels and their order alone.

    Raises:
      DataError: If no class has images enough.
    """
    test, small = [], []
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        order = np.random.default_rng([SEED, int(label)]).permutation(of_class)
        test.append(order[: round(FRACTION * len(order))])
        small += [label] * (not len(test[-1]))
    held_out = np.sort(np.concatenate(test))
    if not len(held_out):
        raise DataError(
            f"{title} has no test split, and no class with 3 images or more of which"
            " one could be held out; make a test split."
        )
    _log.info(
        "%s has no test split: %d of its %d images, %.0f %% of each class drawn by a"
        " fixed seed, are held out for testing.",
        title,
        len(held_out),
        len(labels),
        100 * FRACTION,
    )
    if small:
        _log.warning(
            "%s: %d of its %d classes have fewer than 3 images, which are all trained"
            " on: they are not tested.",
            title,
            len(small),
            len(test),
        )
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out
