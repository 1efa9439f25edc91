"""Where the images lie while a run computes: on the devices, or streamed from the host.

Either gives the same bits: a step cuts the same batch out of the whole split, or out of
a window that the host gathered.
"""

import math

import jax

from lion_jax import environment
from lion_jax.config import Config, ConfigError
from lion_jax.data import Dataset

SHARE = 0.25  # of a device's memory that images take at most, unless asked for
WINDOWS = 5  # at a time: in use, queued by the loop, gathered ahead


def is_streamed(config: Config, dataset: Dataset) -> bool:
    """Returns whether batches are streamed from the host's memory or disk.

    Raises:
      ConfigError: If they are, and a dispatch's batches would take as much memory as
        the whole set may.
    """
    placement, limit = config.data.placement, SHARE * _memory()
    if placement == "device" or (placement == "auto" and image_bytes(dataset) <= limit):
        return False
    batch = config.batch_size * math.prod(dataset.train_images.shape[1:])
    if config.scan_steps > 1 and config.scan_steps * batch * WINDOWS > limit:
        most = max(1, int(limit / (batch * WINDOWS)))
        raise ConfigError(
            f"scan_steps={config.scan_steps}: images are streamed, and a dispatch's"
            f" batches take {config.scan_steps * batch / 1e9:.2g} GB, {WINDOWS} times;"
            f" set --config.scan_steps={most}."
        )
    return True


def image_bytes(dataset: Dataset) -> int:
    """Returns how many bytes the images of both splits take."""
    return dataset.train_images.nbytes + dataset.test_images.nbytes


def describe(dataset: Dataset) -> str:
    """Returns in words that images are streamed."""
    return (
        f"the images ({image_bytes(dataset) / 1e9:.3g} GB) are streamed from the host;"
        f" the device has {_memory() / 1e9:.3g} GB"
    )


def _memory() -> int:
    """Returns the bytes of a device's memory; a CPU's is the host's."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics.get("bytes_limit") or environment.host_memory()
