"""Distributed Lion in training: each device by itself, but for a vote on every step.

With `mesh.vote` each device computes the gradient of its own part of the batch, clips
it, has a momentum of such gradients and norms its part by the part's own statistics.
What the devices send each other is their votes, the mean of the statistics for
evaluation, and with `mesh.sync_every` now and then the mean of their momenta. So
parameters stay the same on all devices; momenta are arrays with an axis for these.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, PyTree

from lion_jax.optimizer import votes
from lion_jax.optimizer.distributed import (
    map_own,
    of_each_device,
    regrouped,
    synchronised,
)
from lion_jax.training import sharding, stored
from lion_jax.training.loss import Batch
from lion_jax.training.state import Outputs, Stepped, TrainState

EACH: Any = PartitionSpec(sharding.AXIS)
ALL: Any = PartitionSpec()
# From a state, a batch and the step's key to what a step makes of them.
Take = Callable[[TrainState, Batch, Any], Stepped]


def for_each_device(state: optax.OptState, layout: sharding.Layout) -> optax.OptState:
    """Gives all devices that vote an optimizer's first state."""
    if not layout.vote:
        return state
    devices = layout.whole.mesh.size
    return map_own(lambda x: jnp.broadcast_to(x, (devices, *x.shape)), state)


def describe(layout: sharding.Layout, images: int) -> str:
    """Returns in words what devices that vote send each other.

    Args:
      layout: The devices, and how they vote.
      images: Of a device's part of the batch.
    """
    vote, devices = layout.vote, layout.whole.mesh.size
    assert vote
    bits = votes.bits(devices, vote.rule, vote.ties)
    said = (
        f"{devices} devices vote on each step (mesh.vote={vote.rule}), each by"
        f" {images} images of its own: {bits} bits per parameter, where float32"
        " gradients take 64"
    )
    if vote.sync_every:
        said += f"; momenta are averaged every {vote.sync_every} steps"
    return said


def by_vote(take: Take, layout: sharding.Layout) -> Take:
    """Returns a step of devices that vote, of one that each of them can take alone.

    Args:
      take: Takes a step, with the directions that `layout.exchanged` returns.
      layout: The devices, and how they vote.
    """
    vote = layout.vote
    assert vote

    def alone(state, images, labels, key):
        state = state._replace(opt_state=map_own(lambda x: x[0], state.opt_state))
        part = lax.axis_index(sharding.AXIS)
        stepped = take(state, Batch(images, labels, part), key)
        opt_state = stepped.opt_state
        if vote.sync_every:
            due = (state.step + 1) % vote.sync_every == 0
            opt_state = lax.cond(due, _synchronised, lambda x: x, opt_state)
        loss, batch_stats = _mean((stepped.loss, stepped.outputs.batch_stats))
        return stepped._replace(
            loss=loss,
            outputs=stepped.outputs._replace(batch_stats=batch_stats),
            opt_state=map_own(lambda x: x[None], opt_state),
        )

    def together(state: TrainState, batch: Batch, key: Any) -> Stepped:
        own = of_each_device(state.opt_state)
        optimizer = jax.tree.map(lambda mine: EACH if mine else ALL, own)
        places = jax.tree.map(lambda _: ALL, state)._replace(opt_state=optimizer)
        outputs = Outputs(losses=EACH, logits=EACH, batch_stats=ALL)
        # JAX would sum the gradients of replicated parameters itself if it checked.
        return jax.shard_map(
            alone,
            mesh=layout.whole.mesh,
            in_specs=(places, EACH, EACH, ALL),
            out_specs=Stepped(ALL, outputs, ALL, optimizer),
            check_vma=False,
        )(state, batch.images, batch.labels, key)

    return together


def as_saved(
    wanted: dict[str, Any], saved: PyTree[Any], devices: int
) -> dict[str, Any]:
    """Returns the shapes of a state to restore, with momenta of those who saved it.

    Args:
      wanted: Shapes and shardings of a state.
      saved: What is stored, as Orbax describes it.
      devices: Number of those that vote; if 0, none do.
    """
    if not devices:
        return wanted
    there = stored.leaves(saved)

    def as_there(path: Any, x: Any, own: bool) -> Any:
        shape: Any = getattr(there.get(stored.key_of(path)), "shape", ())
        if not own or shape[1:] != x.shape[1:] or shape[:1] == x.shape[:1]:
            return x
        evenly = shape[0] % devices == 0
        place = x.sharding if evenly else sharding.replicated(x.sharding.mesh)
        return jax.ShapeDtypeStruct(shape, x.dtype, sharding=place)

    own = of_each_device(wanted)
    return jax.tree_util.tree_map_with_path(as_there, wanted, own)


def as_wanted(
    loaded: dict[str, Any], wanted: dict[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """Returns a state loaded by `as_saved` with a momentum for each device.

    Args:
      loaded: The state.
      wanted: Shapes and shardings, as given to `as_saved`.
      say: Told if it was saved by another number of devices.
    """
    before, now = (_voters(tree) for tree in (loaded, wanted))
    if before == now:
        return loaded
    say(f"momenta of {before} devices: each of {now} begins with their mean")
    places = jax.tree.map(lambda x: x.sharding, wanted)
    regroup = partial(regrouped, devices=now)
    return jax.jit(regroup, out_shardings=places)(loaded)


def _voters(state: PyTree[Any]) -> int:
    own = of_each_device(state)
    sizes = jax.tree.map(lambda x, mine: x.shape[0] if mine else 0, state, own)
    return max(jax.tree.leaves(sizes))


def _synchronised(state: optax.OptState) -> optax.OptState:
    return synchronised(state, sharding.AXIS)


def _mean(tree: PyTree[Array]) -> PyTree[Array]:
    """Returns the devices' means; whole numbers, such as counts, are equal on all."""
    return jax.tree.map(
        lambda x: (
            lax.pmean(x, sharding.AXIS) if jnp.issubdtype(x.dtype, jnp.floating) else x
        ),
        tree,
    )
