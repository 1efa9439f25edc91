"""An exponential moving average (EMA) of the weights, beside any Optax optimizer.

The average is free of the noise of single steps, and lags behind the weights. Training
goes on with the weights themselves, of which it changes none.
"""

import math
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float32, Inexact, Int32, PyTree

from lion_jax.optimizer.checks import is_known
from lion_jax.optimizer.leaves import is_none, is_trainable, upcast


class EmaState(NamedTuple):
    """State of `with_ema`."""

    inner_state: optax.OptState
    average: PyTree[Array]  # like the parameters, in at least float32
    count: ArrayLike  # int32 scalar


def with_ema(
    inner: optax.GradientTransformation, decay: float
) -> optax.GradientTransformationExtraArgs:
    """Keeps an exponential moving average of the weights in the optimizer's state.

    After step t, of weights theta_1 to theta_t and with the decay d,

        average_t = (1 - w_t) average_(t-1) + w_t theta_t,  w_t = (1 - d) / (1 - d^t)

    which is the mean of theta_i with weights d^(t-i): corrected for bias, so that the
    first weights count no more than others. `averaged(state, params)` returns it.

    Args:
      inner: Any optimizer; its updates are returned as they are. Inside
        `with_error_bits`, the average is that of the float32 weights; inside
        `optax.MultiSteps`, it advances only when the weights do.
      decay: Between 0 and 1, both excluded. About 1 / (1 - decay) steps are averaged.

    Returns:
      A gradient transformation whose state is an `EmaState`. The average is float32
      where weights have fewer bits; leaves that are not floating have none. `update`
      needs `params`.

    Raises:
      TypeError: If `decay` is no number, or one that is traced.
      ValueError: If `decay` is not between 0 and 1.

    Examples:
      >>> import jax.numpy as jnp, optax
      >>> from lion_jax import averaged, lion, with_ema
      >>> tx = with_ema(lion(1.0, weight_decay=0.0), decay=0.5)
      >>> w = jnp.zeros(1)
      >>> state = tx.init(w)
      >>> for _ in range(3):
      ...     updates, state = tx.update(jnp.ones(1), state, w)
      ...     w = optax.apply_updates(w, updates)
      >>> mean = averaged(state, w)  # (1 * -1 + 2 * -2 + 4 * -3) / (1 + 2 + 4)
      >>> print(f"{w[0]:.3f} {mean[0]:.3f}")
      -3.000 -2.429

    References:
      Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992;
      the correction for bias as in Kingma and Ba, Adam, 2015,
      https://arxiv.org/abs/1412.6980.
    """
    _check_decay(decay)
    inner = optax.with_extra_args_support(inner)

    def init(params: optax.Params) -> EmaState:
        average = jax.tree.map(_first_average, params)
        return EmaState(inner.init(params), average, jnp.zeros([], jnp.int32))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("params=None, but update needs the weights it averages.")
        updates, inner_state = inner.update(
            updates, state.inner_state, params, **extra_args
        )
        count = jnp.asarray(optax.safe_increment(state.count))
        weight = _weight(decay, count)

        def advanced(u: Any, p: Any, old: Any) -> Any:
            if u is None or _is_masked(old):  # the weight stays as it is
                return old
            new: Any = optax.apply_updates(p, u)
            return _blend(new, old, weight)

        average = jax.tree.map(
            advanced, updates, params, state.average, is_leaf=is_none
        )
        return updates, EmaState(inner_state, average, count)

    return optax.GradientTransformationExtraArgs(init, update)


def _check_decay(decay: Any) -> None:
    if not is_known(decay):
        raise TypeError(
            f"with_ema: {decay=}, but it must be a number, > 0 and < 1; with"
            " optax.inject_hyperparams set static_args=('decay',)."
        )
    if not 0 < decay < 1:
        raise ValueError(f"with_ema: {decay=!r}, but it must be > 0 and < 1.")


def averaged(state: optax.OptState, params: optax.Params) -> optax.Params:
    """Returns the weights' average, in the form and the dtypes of the weights.

    Args:
      state: A state that holds that of `with_ema`, wherever: in a chain, masked,
        partitioned, injected, in `optax.MultiSteps`; of several, if each is of other
        weights, as in `optax.partition`.
      params: The weights. Those leaves that `with_ema` does not see, such as frozen
        ones, are returned as they are.

    Returns:
      The average. It may share the state's buffers: call this within the function that
      is given the state to donate, or before that with a copy, `jax.tree.map(jnp.copy,
      averaged(state, params))`.

    Raises:
      ValueError: If the state holds none of `with_ema`, or several of one weight, or
        one of other weights.

    Examples:
      See `with_ema`.
    """
    leaves = jax.tree.leaves(state, is_leaf=_is_ema)
    found = [leaf for leaf in leaves if _is_ema(leaf)]
    if not found:
        raise ValueError(
            "averaged: the state holds none of with_ema; give that of an optimizer that"
            " it wraps, wherever."
        )
    average = found[0].average
    if len(found) == 1 and _are_alike(average, params):
        return jax.tree.map(lambda p, a: a.astype(jnp.result_type(p)), params, average)
    # By their places, since where some leaves are masked, or wrapped by a library, the
    # average is another tree than the weights.
    averages: dict[str, Any] = {}
    for state in found:
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.average):
            if (place := _place(path)) in averages:
                raise ValueError(
                    f"averaged: the state holds {len(found)} states of with_ema, two of"
                    f" them of the weight {place or 'that there is'}; wrap each"
                    " weight's optimizer once."
                )
            averages[place] = leaf

    def of_leaf(path: Any, p: Any) -> Any:
        average = averages.get(_place(path))
        if average is None or average.shape != jnp.shape(p):
            return p  # if it has an average, that is said below
        return averages.pop(_place(path)).astype(jnp.result_type(p))

    result = jax.tree_util.tree_map_with_path(of_leaf, params)
    if averages:
        place, leaf = next(iter(averages.items()))
        raise ValueError(
            f"averaged: the state has an average {place or 'of all'} of shape"
            f" {leaf.shape}, but params have no such leaf; give the weights that the"
            " optimizer updates."
        )
    return result


def _are_alike(a: Any, b: Any) -> bool:
    """Whether two trees have one structure and one shape of each leaf."""
    (first, one), (second, other) = map(jax.tree.flatten, (a, b))
    return one == other and [*map(jnp.shape, first)] == [*map(jnp.shape, second)]


def _place(path: tuple[Any, ...]) -> str:
    """Names a leaf's place; a variable of Flax is at the place of its value."""
    is_value = path and path[-1] == jax.tree_util.GetAttrKey("value")
    return jax.tree_util.keystr(path[:-1] if is_value else path)


def _first_average(p: ArrayLike | jax.ShapeDtypeStruct) -> Any:
    """A copy of a leaf: a caller may donate weights and state to the same step."""
    if not is_trainable(p):
        return optax.MaskedNode()
    if isinstance(p, jax.ShapeDtypeStruct):  # for a state to restore into
        return jnp.zeros_like(p, dtype=upcast(jnp.zeros([], p.dtype)).dtype)
    return jnp.array(p, upcast(p).dtype, copy=True)


def _weight(decay: float, count: Int32[Array, ""]) -> Float32[Array, ""]:
    """The newest weights' share, (1 - d) / (1 - d^t), also exact for d close to 1."""
    logarithm = jnp.float32(math.log(decay))
    return jnp.expm1(logarithm) / jnp.expm1(count.astype(jnp.float32) * logarithm)


def _blend(
    new: Inexact[Array, "*s"], old: Inexact[Array, "*s"], weight: Float32[Array, ""]
) -> Any:
    # Not weight * new + (1 - weight) * old: what is lost in rounding 1 - weight would
    # add up, and where weights rest their average would leave them.
    new, share = new.astype(old.dtype), weight.astype(old.dtype)
    return jnp.where(weight == 1, new, old + share * (new - old))


def _is_masked(x: Any) -> bool:
    return isinstance(x, optax.MaskedNode)


def _is_ema(x: Any) -> TypeGuard[EmaState]:
    return isinstance(x, EmaState)
