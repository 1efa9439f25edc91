"""Lion, the whole algorithm on one page.

With gradient g, momentum m, parameters theta, learning rate eta, decay lambda:

    c     = b1 m + (1 - b1) g           interpolation: only its sign is used
    m     = b2 m + (1 - b2) g           momentum: the one buffer Lion keeps
    theta = theta - eta (sign(c) + lambda theta)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import PyTree

MODES = ("hard", "smooth", "refined")


class LionState(NamedTuple):
    """What Lion remembers: how many updates it made, and one momentum."""

    count: ArrayLike  # int32 scalar
    mu: optax.Updates  # like the parameters


def scale_by_lion(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99,
    mu_dtype: DTypeLike | None = None,
    *,
    mode: str = "hard",
    smooth_beta: float = 1.0,
) -> optax.GradientTransformation:
    r"""Replaces each gradient by the direction of Lion's step.

    .. math::
        u_t = \operatorname{sign}(b_1 m_{t-1} + (1 - b_1) g_t), \qquad
        m_t = b_2 m_{t-1} + (1 - b_2) g_t

    A zero interpolation gives a zero step, and a NaN stays a NaN.

    Args:
      b1: Weight of the momentum in the step's direction, in [0, 1).
      b2: Decay rate of the momentum, in [0, 1).
      mu_dtype: Floating dtype of the momentum; None for each parameter's own.
      mode: What is made of the interpolation c: `"hard"` sign(c), `"smooth"`
        tanh(smooth_beta c), `"refined"` c clipped to [-1, 1].
      smooth_beta: Slope of the smooth mode at 0, > 0; the other modes ignore it.

    Returns:
      A gradient transformation whose state is a `LionState`. The updates have the
      gradients' shapes and point uphill, as Optax expects before
      `optax.scale_by_learning_rate`.

    Raises:
      ValueError: For a value outside of its range. Arrays, traced ones included,
        are taken as they are, so `optax.inject_hyperparams` works.

    Examples:
      >>> import jax.numpy as jnp
      >>> from lion_jax import scale_by_lion
      >>> tx = scale_by_lion()
      >>> updates, state = tx.update(jnp.array([3.0, 0.0, -0.1]), tx.init(jnp.zeros(3)))
      >>> print(updates)
      [ 1.  0. -1.]

    References:
      Chen et al., Symbolic Discovery of Optimization Algorithms, 2023,
      https://arxiv.org/abs/2302.06675. Modes as in `optax.scale_by_lion`.
    """
    _check_number("b1", b1, lambda b: 0 <= b < 1, "in [0, 1)")
    _check_number("b2", b2, lambda b: 0 <= b < 1, "in [0, 1)")
    _check_number("smooth_beta", smooth_beta, lambda beta: beta > 0, "positive")
    if mode not in MODES:
        raise ValueError(f"lion: {mode=}, but it must be one of {MODES}.")
    if mu_dtype is not None and not jnp.issubdtype(jnp.dtype(mu_dtype), jnp.inexact):
        raise ValueError(f"lion: {mu_dtype=}, but it must be a floating dtype or None.")

    def init(params: optax.Params) -> LionState:
        return LionState(
            count=jnp.zeros([], jnp.int32),
            mu=jax.tree.map(lambda p: jnp.zeros_like(p, dtype=mu_dtype), params),
        )

    def direction(g, m):
        c = (1.0 - b1) * g + b1 * m
        if mode == "smooth":
            return jnp.tanh(smooth_beta * c)
        if mode == "refined":
            return jnp.where(jnp.abs(c) < 1.0, c, jnp.sign(c))
        return jnp.sign(c)

    def momentum(g, m):
        return ((1 - b2) * g + b2 * m).astype(m.dtype)

    def update(updates, state, params=None):
        del params
        return jax.tree.map(direction, updates, state.mu), LionState(
            count=optax.safe_increment(state.count),
            mu=jax.tree.map(momentum, updates, state.mu),
        )

    return optax.GradientTransformation(init, update)


def lion(
    learning_rate: optax.ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99,
    mu_dtype: DTypeLike | None = None,
    weight_decay: optax.ScalarOrSchedule = 1e-3,
    mask: PyTree[Any] | Callable[[optax.Params], PyTree[Any]] | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""The Lion optimizer, a drop-in for `optax.lion`.

    .. math::
        \theta_t = \theta_{t-1} - \eta_t \, (\operatorname{sign}(b_1 m_{t-1}
        + (1 - b_1) g_t) + \lambda \theta_{t-1})

    Every weight moves by the learning rate, whatever the gradient's size: take 3 to
    10 times less than for AdamW, and as much more weight decay. In float32 the
    updates equal those of `optax.lion` to the bit.

    Args:
      learning_rate: Step size, >= 0, or a schedule (count -> step size).
      b1: Weight of the momentum in the step's direction, in [0, 1).
      b2: Decay rate of the momentum, in [0, 1).
      mu_dtype: Floating dtype of the momentum; None for each parameter's own.
      weight_decay: Decoupled decay lambda, >= 0, or a schedule of it; it is
        multiplied by the learning rate.
      mask: Which parameters decay: a tree of booleans, a prefix of the parameters'
        tree, or a callable that makes one from the parameters; None for all.

    Returns:
      A gradient transformation; its `update` needs `params`.

    Raises:
      ValueError: For a value outside of its range. Arrays are taken as they are.

    Examples:
      >>> import jax, jax.numpy as jnp, optax
      >>> from lion_jax import lion
      >>> tx = optax.chain(optax.clip_by_global_norm(1.0), lion(0.25, weight_decay=0.0))
      >>> params = {"w": jnp.array([1.0, -2.0])}
      >>> state = tx.init(params)
      >>> for _ in range(3):
      ...     grads = jax.grad(lambda p: jnp.sum(p["w"] ** 2))(params)
      ...     updates, state = tx.update(grads, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(params["w"])
      [ 0.25 -1.25]

    References:
      Chen et al., Symbolic Discovery of Optimization Algorithms, 2023,
      https://arxiv.org/abs/2302.06675
    """
    _check_number("learning_rate", learning_rate, lambda eta: eta >= 0, ">= 0")
    _check_number("weight_decay", weight_decay, lambda decay: decay >= 0, ">= 0")
    return optax.chain(
        scale_by_lion(b1, b2, mu_dtype),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )


def _check_number(
    name: str, value: object, holds: Callable[[float], bool], rule: str
) -> None:
    """Refuses a wrong Python number; arrays may be traced and have no value yet."""
    if isinstance(value, int | float) and not holds(value):
        raise ValueError(f"lion: {name}={value!r}, but it must be {rule}.")
