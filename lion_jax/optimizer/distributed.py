"""1-bit communication: Lion by majority vote, one bit per value instead of gradients.

Every device keeps a momentum of its own gradients and votes with the sign of its own
interpolation; all take the step that most voted for. Device i counts the votes of the
i-th part of each array and sends the outcome, minus, plus or tie, to all. However many
devices there are, each sends and receives 3 bits per value of a long array: 1 in the
votes, 2 in the outcomes. A mean of float32 gradients takes 64, 32 in its
reduce-scatter and 32 in its all-gather.
"""

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Bool, Int, UInt8

from lion_jax.optimizer.leaves import is_trainable
from lion_jax.optimizer.lion import scale_by_lion
from lion_jax.optimizer.variants import componentwise


def scale_by_distributed_lion(
    axis_name: str,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99,
    mu_dtype: DTypeLike | None = None,
) -> optax.GradientTransformation:
    """Replaces each device's gradient by the direction that most devices vote for.

    To be used inside `jax.shard_map` with gradients that were not averaged, so with
    `check_vma=False`: otherwise JAX sums the gradients of replicated parameters
    itself. The updates are the same on all devices, so parameters stay replicated; the
    momenta are not, so the state has a leading axis for the devices.

    One bit has no room for zero: a device whose interpolation is zero votes for minus
    in one step and plus in the next, and devices take turns. Where all are zero, an
    even number of devices stands still; an odd number goes back and forth by one
    step. A NaN on any device makes the whole array's update NaN.

    Args:
      axis_name: Name of the devices' axis.
      b1: Weight of the momentum in the direction, in [0, 1).
      b2: Decay rate of the momentum, in [0, 1).
      mu_dtype: Dtype of the momentum, as in `lion_jax.scale_by_lion`.

    Returns:
      A gradient transformation whose state is a `LionState`, of one device. On a
      single device it is `scale_by_lion`.

    Raises:
      ValueError: For a value outside of its range.

    Examples:
      >>> import jax, jax.numpy as jnp, optax
      >>> from jax.sharding import AxisType, PartitionSpec as P
      >>> from lion_jax.distributed import scale_by_distributed_lion
      >>> tx = optax.chain(
      ...     scale_by_distributed_lion("data"),
      ...     optax.add_decayed_weights(0.1),
      ...     optax.scale_by_learning_rate(0.5),
      ... )
      >>> def step(params, state, batch):
      ...     mine = jax.tree.map(lambda x: x[0], state)
      ...     grads = jax.grad(lambda p: jnp.mean((batch @ p) ** 2))(params)
      ...     updates, mine = tx.update(grads, mine, params)
      ...     params = optax.apply_updates(params, updates)
      ...     return params, jax.tree.map(lambda x: x[None], mine)
      >>> devices = len(jax.devices())
      >>> mesh = jax.make_mesh((devices,), ("data",), (AxisType.Auto,))
      >>> step = jax.jit(
      ...     jax.shard_map(
      ...         step,
      ...         mesh=mesh,
      ...         in_specs=(P(), P("data"), P("data")),
      ...         out_specs=(P(), P("data")),
      ...         check_vma=False,
      ...     )
      ... )
      >>> params = jnp.array([1.0, -2.0])
      >>> state = jax.tree.map(lambda x: jnp.stack([x] * devices), tx.init(params))
      >>> params, state = step(params, state, jnp.ones((2 * devices, 2)))
      >>> print(params)
      [ 1.45 -1.4 ]

    References:
      Liu et al., Communication Efficient Distributed Training with Distributed Lion,
      2024, https://arxiv.org/abs/2404.00438 (majority vote).
    """
    local = scale_by_lion(b1, b2, mu_dtype)

    def update(updates, state, params=None):
        turn = jnp.asarray(state.count) + lax.axis_index(axis_name)
        signs, state = local.update(updates, state, params)
        if lax.axis_size(axis_name) == 1:
            return signs, state

        @componentwise
        def elect(sign: Array) -> Array:
            plus = (sign > 0) | ((sign == 0) & (turn % 2 == 0))
            outcome = _majority(plus.reshape(-1), axis_name)
            bad = lax.psum(jnp.isnan(sign).any().astype(jnp.int32), axis_name)
            elected = outcome.reshape(sign.shape).astype(sign.dtype)
            return jnp.where(bad > 0, jnp.nan, elected)

        return jax.tree.map(lambda s: elect(s) if is_trainable(s) else s, signs), state

    return optax.GradientTransformation(local.init, update)


def _majority(plus: Bool[Array, " n"], axis_name: str) -> Int[Array, " n"]:
    """Counts the devices' votes: -1, 0 (a tie) or 1 for each of n values."""
    devices = lax.axis_size(axis_name)
    part = 8 * -(-plus.size // (8 * devices))  # whole bytes for each device
    padded = jnp.pad(plus, (0, devices * part - plus.size))
    ballots = jnp.packbits(padded.reshape(devices, part), axis=-1)
    mine = lax.all_to_all(ballots, axis_name, split_axis=0, concat_axis=0)
    votes = jnp.unpackbits(mine, axis=-1).sum(axis=0, dtype=jnp.int32)
    minus, more = 2 * votes < devices, 2 * votes > devices
    outcome = jnp.stack([_packed(minus), _packed(more)])
    everyones = lax.all_gather(outcome, axis_name, axis=1)  # 2, devices, bytes
    outcome = jnp.unpackbits(everyones.reshape(2, -1), axis=-1).astype(jnp.int32)
    return (outcome[1] - outcome[0])[: plus.size]


def _packed(bits: Bool[Array, " n"]) -> UInt8[Array, " m"]:
    return jnp.packbits(bits, axis=-1)
