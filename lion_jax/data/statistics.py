"""Mean and standard deviation of pixels, exactly, from how often each value occurs."""

import numpy as np
from jaxtyping import Int, UInt8

from lion_jax.data.rows import Rows, blocks


def pixel_statistics(
    images: np.ndarray | Rows,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation of each channel, for pixels in [0, 1].

    The deviation of a channel that is constant is 1: it is 0 after standardizing, and
    what augmentation puts beside it stays a number of its size.

    Args:
      images: uint8, of shape (n, height, width, channels); read in blocks.
    """
    values = np.arange(256) / 255
    counts = sum(_counts(block) for block in blocks(images))
    means, deviations = [], []
    for channel in np.asarray(counts):
        mean = np.average(values, weights=channel)
        means.append(float(mean))
        variance = np.average((values - mean) ** 2, weights=channel)
        deviations.append(
            float(variance**0.5) if np.count_nonzero(channel) > 1 else 1.0
        )
    return tuple(means), tuple(deviations)


def _counts(images: UInt8[np.ndarray, "n h w c"]) -> Int[np.ndarray, "c 256"]:
    """Counts each channel's values, two neighbouring bytes at a time.

    That is three times as fast as one by one, each channel apart.
    """
    channels = images.shape[-1]
    flat = np.ascontiguousarray(images).reshape(-1)
    even = flat.size - flat.size % (2 * channels)
    counts = np.zeros((channels, 256), np.int64)
    # Of every 2 c bytes, which are c pairs, pair i holds the channels 2 i and 2 i + 1.
    pairs = flat[:even].view("<u2").reshape(-1, channels)
    for i in range(channels):
        both = np.bincount(pairs[:, i], minlength=2**16).reshape(256, 256)
        counts[2 * i % channels] += both.sum(axis=0)
        counts[(2 * i + 1) % channels] += both.sum(axis=1)
    for channel, value in enumerate(flat[even:]):
        counts[channel, value] += 1
    return counts
