"""Where arrays live: one mesh of all devices with one axis, `data`."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from lion_jax.config import Config, ConfigError
from lion_jax.config import check_devices as divide

AXIS = "data"
MIN_SHARDED_SIZE = 2**16  # smaller arrays cost more to gather than to keep


def make_mesh(devices: int | None = None) -> Mesh:
    """Makes a mesh of the first `devices` devices; None for all of them."""
    chosen = jax.devices()[:devices]
    return jax.make_mesh((len(chosen),), (AXIS,), (AxisType.Auto,), devices=chosen)


def count_devices() -> int:
    """Returns how many devices JAX finds.

    Raises:
      ConfigError: If it finds none of the platform that is asked for, or is not to
        compile.
    """
    settings: Any = jax.config  # the types of jax 0.10 lack its attributes
    if settings.jax_disable_jit:
        raise ConfigError(
            "JAX_DISABLE_JIT is set, but the steps must be compiled; unset it."
        )
    try:
        return jax.device_count()
    except (RuntimeError, AssertionError) as error:  # JAX asserts that it has a backend
        asked = settings.jax_platforms
        words = " ".join(str(error).split())[:200]
        reason = f" ({words})" if words else ""
        raise ConfigError(
            f"JAX_PLATFORMS={asked or ''}: JAX finds no such device{reason}; unset"
            " JAX_PLATFORMS, or install JAX for that platform, such as jax[cuda12]."
        ) from error


def check_devices(config: Config) -> int:
    """Checks a configuration's batches against the devices; returns how many to use.

    Raises:
      ConfigError: If there are too few devices, or they do not divide a batch.
    """
    return divide(config, count_devices())


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch(mesh: Mesh) -> NamedSharding:
    """The leading axis sharded across the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def state(abstract: PyTree[Any], mesh: Mesh, *, sharded: bool) -> PyTree[Any]:
    """Chooses a sharding for every array of a training state.

    Parameters and momenta of one shape get one sharding, so the optimizer's update
    needs no communication.

    Args:
      abstract: The state, or its shapes and dtypes.
      mesh: The devices.
      sharded: Whether large arrays are sharded across the devices, along their
        longest axis that divides evenly, instead of copied to each.

    Returns:
      A tree of `NamedSharding` of the same structure.
    """

    def choose(array) -> NamedSharding:
        shape = np.shape(array)
        divisible = [i for i, n in enumerate(shape) if n % mesh.size == 0]
        if not sharded or not divisible or np.prod(shape) < MIN_SHARDED_SIZE:
            return replicated(mesh)
        longest = max(divisible, key=lambda i: shape[i])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, AXIS))

    return jax.tree.map(choose, abstract)
