"""Where arrays live: one mesh of all devices with one axis, `data`."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding
from jaxtyping import Array, PyTree

from lion_jax import cluster
from lion_jax.config import Config, ConfigError
from lion_jax.config import check_devices as divide
from lion_jax.optimizer import distributed, signs, votes

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
    available = count_devices()
    if cluster.processes() > 1 and config.devices not in (0, available):
        raise ConfigError(
            f"devices={config.devices}, but {cluster.processes()} processes have"
            f" {available}, all of which are used; leave --config.devices at 0."
        )
    devices = divide(config, available, processes=cluster.processes())
    if devices == 1 and config.mesh.vote != "none":
        raise ConfigError(
            f"mesh.vote={config.mesh.vote!r}, but one device has none to vote with; set"
            " more --config.devices, or on a CPU JAX_NUM_CPU_DEVICES=8 in the"
            " environment, or, for another run, --config.mesh.vote=none."
        )
    return devices


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch(mesh: Mesh) -> NamedSharding:
    """The leading axis sharded across the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def put(tree: PyTree[Any], sharding: Sharding) -> PyTree[Array]:
    """Puts arrays of the host on the devices, also of several processes.

    Each process has all of every array, and sends what its own devices need.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def of_all(array: Any) -> Array:
        array = np.asarray(array)
        return jax.make_array_from_callback(
            array.shape, sharding, lambda index: array[index]
        )

    return jax.tree.map(of_all, tree)


def describe(mode: str, held: Mapping[str, int]) -> str:
    """Returns in words what a device holds of a state, from `Program.memory`."""
    return (
        f"each device holds {held['parameters'] / 1e6:.3g} MB of parameters and"
        f" {held['optimizer_state'] / 1e6:.3g} MB of the optimizer's state"
        f" (mesh.mode={mode})"
    )


def bytes_of_a_part(array: Any) -> int:
    """Returns how many bytes of an array one device holds."""
    return math.prod(array.sharding.shard_shape(array.shape)) * array.dtype.itemsize


@dataclass(frozen=True)
class Layout:
    """What a device holds of the parameters and of the optimizer's state.

    Args:
      mesh: The devices; None for one, on which nothing is divided.
      mode: `mesh.mode` of the configuration.
      vote: Where each device has momenta of its own: how these vote.
    """

    mesh: Mesh | None
    mode: str = "data"
    vote: votes.Vote | None = None

    @classmethod
    def of(cls, config: Config, mesh: Mesh) -> "Layout":
        """Returns a configuration's layout."""
        rule, fields = config.mesh.vote, config.mesh
        if rule == "none":
            return cls(mesh, config.mesh_mode)
        vote = votes.Vote(rule, fields.ties, fields.sync_every)
        return cls(mesh, config.mesh_mode, vote)

    def in_force(self) -> AbstractContextManager[Any]:
        """Tells layers, while they are traced, how many devices share a batch."""
        mesh = self.mesh and self.mesh.abstract_mesh
        return jax.sharding.use_abstract_mesh(mesh) if mesh else nullcontext()

    @property
    def whole(self) -> NamedSharding:
        """A copy on every device."""
        assert self.mesh is not None
        return replicated(self.mesh)

    def part(self, array: Any) -> NamedSharding:
        """Chooses how an array is divided: along its longest axis that divides evenly.

        Arrays of one shape are divided alike, so that an optimizer's step on parts of
        gradients, parameters and momenta needs no communication. Small ones are not.
        """
        axis = self.axis(array.shape)
        if axis is None:
            return self.whole
        return NamedSharding(self.whole.mesh, PartitionSpec(*[None] * axis, AXIS))

    def axis(self, shape: tuple[int, ...]) -> int | None:
        """Returns the axis along which an array of a shape is divided, if it is."""
        devices = self.whole.mesh.size
        divisible = [i for i, n in enumerate(shape) if n % devices == 0]
        if not divisible or math.prod(shape) < MIN_SHARDED_SIZE:
            return None
        return max(divisible, key=lambda i: shape[i])

    def of_model(self, abstract: PyTree[Any]) -> PyTree[NamedSharding]:
        """Returns a sharding for each array of a model."""
        return self._placed(abstract, self.mode == "fsdp")

    def of_optimizer(self, abstract: PyTree[Any]) -> PyTree[NamedSharding]:
        """Returns a sharding for each array of an optimizer's state."""
        if self.vote:
            own = distributed.of_each_device(abstract)
            assert self.mesh is not None
            each, whole = batch(self.mesh), self.whole
            return jax.tree.map(lambda mine: each if mine else whole, own)
        return self._placed(abstract, self.mode != "data")

    def _placed(self, abstract: PyTree[Any], in_parts: bool) -> PyTree[NamedSharding]:
        return jax.tree.map(self.part if in_parts else lambda _: self.whole, abstract)

    def spread(self, rows: Array) -> Array:
        """Returns the numbers of a batch's examples, some for each device; traced."""
        if self.mesh is None:
            return rows
        return jax.lax.with_sharding_constraint(rows, batch(self.mesh))

    def gathered(self, params: PyTree[Array], dtypes: PyTree[Any]) -> PyTree[Array]:
        """Returns whole parameters on every device; traced, before they are used.

        Otherwise XLA may gather the activations of the whole batch in their place.

        Args:
          params: The parameters, perhaps in parts.
          dtypes: In which they are sent, from `computed.traced`.
        """
        if self.mode != "fsdp":
            return params

        def whole(x: Array, dtype: Any) -> Array:
            # In parts first, or XLA would convert what it has gathered.
            return _sent(x, dtype, self.part(x), self.whole)

        return jax.tree.map(whole, params, dtypes)

    def divided(self, gradients: PyTree[Array], dtypes: PyTree[Any]) -> PyTree[Array]:
        """Returns gradients of which each device has the part that it needs.

        Args:
          gradients: Sums over the devices.
          dtypes: In which they are sent, from `computed.traced`.
        """

        def part(x: Array, dtype: Any) -> Array:
            # First whole, or XLA would gather the whole batch's activations to compute
            # a part of a gradient. It makes a reduce-scatter of both.
            return _sent(x, dtype, self.whole, self.part(x))

        return jax.tree.map(part, gradients, dtypes)

    def exchanged(self, directions: optax.Updates, count: Any) -> optax.Updates:
        """Returns a step's directions, from the devices' parts or their votes."""
        if vote := self.vote:
            return votes.elect(directions, count, AXIS, vote.rule, vote.ties)

        def gather(direction: Array) -> Array:
            axis = self.axis(direction.shape)
            if axis is None:
                return direction
            return signs.gather(direction, axis, self.whole)

        return jax.tree.map(gather, directions)


def _sent(array: Array, dtype: Any, *places: Sharding) -> Array:
    """Moves an array in a dtype from one place to another."""
    sent = array.astype(dtype)
    for place in places:
        sent = jax.lax.with_sharding_constraint(sent, place)
    return sent.astype(array.dtype)


ONE_DEVICE = Layout(None)
