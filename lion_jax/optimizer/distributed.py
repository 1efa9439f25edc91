"""1-bit communication: Lion by vote, one bit per value instead of gradients.

Every device keeps a momentum of its own gradients and votes with the sign of its own
interpolation; all take the step that most voted for, or the mean of the votes
(`lion_jax.optimizer.votes`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, PyTree

from lion_jax.optimizer import momentum
from lion_jax.optimizer.checks import check_choice
from lion_jax.optimizer.leaves import upcast
from lion_jax.optimizer.lion import scale_by_lion
from lion_jax.optimizer.state import LionState, QuantizedLionState
from lion_jax.optimizer.votes import Rule, Ties, elect


def scale_by_distributed_lion(
    axis_name: str,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99,
    mu_dtype: DTypeLike | Literal["int8"] | None = None,
    *,
    vote: Rule = "majority",
    ties: Ties = "stand",
) -> optax.GradientTransformation:
    """Replaces each device's gradient by the direction that the devices vote for.

    To be used inside `jax.shard_map` with gradients that were not averaged, so with
    `check_vma=False`: otherwise JAX sums the gradients of replicated parameters
    itself. The updates are the same on all devices, so parameters stay replicated; the
    momenta are not, so the state has a leading axis for the devices.

    One bit has no room for zero: a device whose interpolation is zero votes for minus
    in one step and plus in the next, and devices take turns. Where all are zero, an
    even number of devices stands still unless ties alternate; an odd number goes back
    and forth, by one step or by the d-th part of it. A NaN on any device makes the
    whole array's update NaN.

    Args:
      axis_name: Name of the devices' axis.
      b1: Weight of the momentum in the direction, in [0, 1).
      b2: Decay rate of the momentum, in [0, 1).
      mu_dtype: Dtype of the momentum, as in `lion_jax.scale_by_lion`.
      vote: `"majority"`, or `"mean"`: of votes of -1 and 1, between them in steps of
        2 / d.
      ties: Of an even number of devices' majority: `"stand"`, 0, or `"alternate"`, 1
        in one step and -1 in the next, which saves a bit.

    Returns:
      A gradient transformation whose state is that of `scale_by_lion`, of one device.
      On a single device it is `scale_by_lion`.

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
      2024, https://arxiv.org/abs/2404.00438 (majority vote, and its average).
    """
    local = scale_by_lion(b1, b2, mu_dtype)
    check_choice("vote", vote, ("majority", "mean"))
    check_choice("ties", ties, ("stand", "alternate"))

    def update(updates, state, params=None):
        count = jnp.asarray(state.count)
        signs, state = local.update(updates, state, params)
        return elect(signs, count, axis_name, vote, ties), state

    return optax.GradientTransformation(local.init, update)


def of_each_device(state: optax.OptState) -> PyTree[bool]:
    """Marks what each device that votes has of its own in an optimizer's state.

    Args:
      state: A state with that of Lion in it, wherever.

    Returns:
      A tree of its form: True for Lion's momenta, False for all else.
    """

    def mark(part: Any) -> Any:
        if not _is_lion(part):
            return False
        return jax.tree.map(lambda _: True, part)._replace(count=False)

    return jax.tree.map(mark, state, is_leaf=_is_lion)


def map_own(f: Callable[[Array], Array], state: optax.OptState) -> optax.OptState:
    """Applies a function to what each device has of its own; the rest stays."""
    own = of_each_device(state)
    return jax.tree.map(lambda x, mine: f(x) if mine else x, state, own)


def synchronised(state: optax.OptState, axis_name: str) -> optax.OptState:
    """Gives all devices the mean of their momenta; inside of `jax.shard_map`.

    Ishikawa et al., Lion Cub, 2024, https://arxiv.org/abs/2411.16462, synchronise some
    momenta so, which drift apart between the devices otherwise.

    Args:
      state: One device's, with that of Lion in it, wherever.
      axis_name: Name of the devices' axis.
    """

    def mean(part: Any) -> Any:
        if not _is_lion(part):
            return part
        means = lax.pmean(jax.tree.map(upcast, momentum.values(part)), axis_name)
        exponents = getattr(part, "exponents", None)
        if exponents is not None:
            exponents = lax.pmax(exponents, axis_name)
        return momentum.with_values(part, means, exponents)

    return jax.tree.map(mean, state, is_leaf=_is_lion)


def regrouped(state: optax.OptState, devices: int) -> optax.OptState:
    """Gives other devices the mean of the momenta of those that had them.

    Args:
      state: An optimizer's, in which momenta have a leading axis for devices.
      devices: How many there are now.
    """
    own = of_each_device(state)
    axes = jax.tree.map(lambda mine: 0 if mine else None, own)
    alike = jax.vmap(
        partial(synchronised, axis_name="devices"), (axes,), axes, axis_name="devices"
    )(state)
    return map_own(lambda x: jnp.broadcast_to(x[0], (devices, *x.shape[1:])), alike)


def _is_lion(part: Any) -> bool:
    return isinstance(part, LionState | QuantizedLionState)
