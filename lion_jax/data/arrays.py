"""Arrays of images and labels as people have them, made what a data set holds."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int32, UInt8

from lion_jax.data.dataset import DataError
from lion_jax.data.rows import blocks

MOST_CHANNELS = 4
SCALED = "({0} - low) / (high - low), with the lowest and highest value of all splits"


def pixels(key: str, array: np.ndarray) -> UInt8[np.ndarray, "n h w c"]:
    """Returns images as uint8, with an axis of channels.

    Args:
      key: The array's name, for messages.
      array: uint8, or floats in [0, 1], of shape (n, height, width) or with channels.

    Raises:
      DataError: If it holds something else; says what to give instead.
    """
    if array.shape[:1] == (0,):
        raise DataError(
            f"{key} holds no image; give some, or leave a test split out, for which"
            " part of the training split is then held out."
        )
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


def labels(key: str, array: np.ndarray, most: int) -> Int32[np.ndarray, " n"]:
    """Returns labels as numbers of classes.

    Args:
      key: The array's name, for messages.
      array: Integers from 0, of shape (n,) or (n, 1).
      most: How many classes there are at most.

    Raises:
      DataError: If it holds something else; says what to give instead.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(
            f"{key} has shape {array.shape}, but labels have shape (n,) or (n, 1); give"
            f" {key}.argmax(axis=1) if they are one-hot, or one label per image."
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
            f" numbered from 0, here to {most - 1} at most; give np.unique({key},"
            " return_inverse=True)[1], of all splits at once."
        )
    return array.astype(np.int32)
