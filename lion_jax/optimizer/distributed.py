"""1-bit communication: Lion by majority vote, one bit per value instead of gradients.

Every device keeps a momentum of its own gradients and votes with the sign of its own
interpolation; all take the step that most voted for. All arrays are one row of votes,
of which device i counts the i-th part and sends the outcome, minus, plus or tie, to
all: one all-to-all and one all-gather in a step. However many devices there are, each
sends and receives 3 bits per value: 1 in the votes, 2 in the outcomes. A mean of
float32 gradients takes 64, 32 in its reduce-scatter and 32 in its all-gather.

Votes are counted in their bytes, eight at a time: a count is as many bytes as it has
binary digits, one for each digit, which binary addition and comparison act upon.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Bool, UInt8

from lion_jax.optimizer.leaves import is_trainable
from lion_jax.optimizer.lion import scale_by_lion


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
        count = jnp.asarray(state.count)
        signs, state = local.update(updates, state, params)
        return elect(signs, count, axis_name), state

    return optax.GradientTransformation(local.init, update)


def elect(signs: optax.Updates, count: Array, axis_name: str) -> optax.Updates:
    """Returns the directions that most devices vote for; inside of `jax.shard_map`.

    Args:
      signs: Each device's own directions: -1, 0, 1 or NaN in every value.
      count: Number of the step, which decides how a device votes that has a zero.
      axis_name: Name of the devices' axis.
    """
    if lax.axis_size(axis_name) == 1:
        return signs
    leaves, structure = jax.tree.flatten(signs)
    places = [i for i, leaf in enumerate(leaves) if is_trainable(leaf)]
    if not places:
        return signs
    votes, as_leaves = _flat([leaves[i] for i in places])
    even = (count + lax.axis_index(axis_name)) % 2 == 0
    nan = jnp.stack([jnp.isnan(leaves[i]).any() for i in places])
    outcome, nan = _majority((votes > 0) | ((votes == 0) & even), nan, axis_name)
    for i, elected, bad in zip(places, as_leaves(outcome), nan, strict=True):
        elected = elected.astype(leaves[i].dtype)
        leaves[i] = jnp.where(bad, jnp.full_like(elected, jnp.nan), elected)
    return structure.unflatten(leaves)


def _flat(leaves: list[Array]) -> tuple[Array, Any]:
    """Joins the values of real leaves and the parts of complex ones, as one byte each.

    Returns:
      The row of values, NaN as 0, and the function that makes leaves of such a row.
    """

    def narrow(x: Array) -> Array:
        return jnp.nan_to_num(x).astype(jnp.int8)

    def parts(leaf: Array) -> Any:
        if jnp.iscomplexobj(leaf):
            return narrow(jnp.real(leaf)), narrow(jnp.imag(leaf))
        return narrow(leaf)

    def join(part: Any) -> Array:
        if not isinstance(part, tuple):
            return part
        real, imaginary = (x.astype(jnp.float32) for x in part)
        return lax.complex(real, imaginary)

    row, unravel = ravel_pytree([parts(leaf) for leaf in leaves])
    return row, lambda outcome: [join(part) for part in unravel(outcome)]


def _majority(
    plus: Bool[Array, " n"], flags: Bool[Array, " k"], axis_name: str
) -> tuple[Array, Array]:
    """Counts the devices' votes for plus, and which flags any of them raises.

    Returns:
      -1, 0 (a tie) or 1 for each of n values, in int8; k flags.
    """
    devices = lax.axis_size(axis_name)
    part = 8 * -(-plus.size // (8 * devices))  # whole bytes for each device
    padded = jnp.pad(plus, (0, devices * part - plus.size))
    ballots = jnp.packbits(padded.reshape(devices, part), axis=-1)
    mine = lax.all_to_all(ballots, axis_name, split_axis=0, concat_axis=0)
    digits = _counted(mine)
    # More than half; and not fewer than half, where that is whole.
    more = _at_least(digits, devices // 2 + 1)
    minus = ~_at_least(digits, -(-devices // 2))
    raised = jnp.packbits(flags)
    sent = jnp.concatenate([minus, more, raised])
    everyones = lax.all_gather(sent, axis_name)  # devices, bytes
    minus, more = (
        jnp.unpackbits(x.reshape(-1))[: plus.size].astype(jnp.int8)
        for x in (everyones[:, : part // 8], everyones[:, part // 8 : part // 4])
    )
    raised = lax.reduce(everyones[:, part // 4 :], jnp.uint8(0), lax.bitwise_or, (0,))
    return more - minus, jnp.unpackbits(raised)[: flags.size].astype(bool)


def _counted(ballots: UInt8[Array, "devices n"]) -> UInt8[Array, "digits n"]:
    """Adds up, for each bit, in how many rows it is set; the lowest digit is first."""
    width = len(ballots).bit_length()

    def add(digits: Array, carry: Array) -> tuple[Array, None]:
        after = []
        for digit in digits:
            after.append(digit ^ carry)
            carry = digit & carry
        return jnp.stack(after), None

    # Not of a constant: inside of shard_map, it would be the same on all devices.
    nothing = jnp.stack([ballots[0] ^ ballots[0]] * width)
    digits, _ = lax.scan(add, nothing, ballots)
    return digits


def _at_least(digits: UInt8[Array, "digits n"], bound: int) -> UInt8[Array, " n"]:
    """Returns, for each bit, whether the number that its digits make is >= bound."""
    greater = digits[0] ^ digits[0]
    equal = ~greater
    for place in reversed(range(len(digits))):
        if bound >> place & 1:
            equal = equal & digits[place]
        else:
            greater = greater | (equal & digits[place])
            equal = equal & ~digits[place]
    return greater | equal
