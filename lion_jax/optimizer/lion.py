"""Lion, the whole algorithm on one page.

With gradient g, momentum m, parameters theta, learning rate eta, decay lambda:

    c     = b1 m + (1 - b1) g           interpolation: only its sign is used
    m     = b2 m + (1 - b2) g           momentum: the one buffer Lion keeps
    theta = theta - eta (sign(c) + lambda theta)

The first two are `_directions`, the third is `lion`; see `in_place` for which momentum
c is read from and why, `momentum` for how it is stored, and `variants`.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike, DTypeLike

from lion_jax.optimizer import checks, in_place, momentum, variants
from lion_jax.optimizer.leaves import (
    as_dtype_of,
    at,
    factor,
    for_every_leaf,
    is_trainable,
    map_updates,
    upcast,
    wider_dtype,
)
from lion_jax.optimizer.state import LionState, QuantizedLionState
from lion_jax.optimizer.variants import Exchange, Mode


def scale_by_lion(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99,
    mu_dtype: DTypeLike | Literal["int8"] | None = None,
    *,
    mode: Mode = "hard",
    smooth_beta: ArrayLike = 1.0,
    cautious: bool = False,
) -> optax.GradientTransformation:
    r"""Replaces each gradient by the direction of Lion's step.

    .. math::
        u_t = \operatorname{sign}(b_1 m_{t-1} + (1 - b_1) g_t), \qquad
        m_t = b_2 m_{t-1} + (1 - b_2) g_t

    All is computed in float32 or wider, whatever the dtypes. Where gradient and
    momentum are zero, the step is zero; a NaN stays a NaN. Directions equal those of
    `optax.scale_by_lion` except where |c| is below the rounding error of its own two
    terms (see `lion_jax.optimizer.in_place`).

    Args:
      b1: Weight of the momentum in the step's direction, in [0, 1).
      b2: Decay rate of the momentum, in [0, 1). If b1 and b2 are traced, b2 must be at
        least b1 / 16: below, directions are NaN.
      mu_dtype: Dtype of the momentum: floating, None for each parameter's own, or
        `"int8"` for one byte per value (`lion_jax.optimizer.int8`); arrays of fewer
        than 4,096 values then have float32 or wider. Complex momenta keep their dtype.
        bfloat16 is rounded to nearest: above b2 = 0.996 it may stop forgetting.
      mode: What is made of the interpolation c: `"hard"` sign(c), `"smooth"`
        tanh(smooth_beta c), `"refined"` c clipped to [-1, 1].
      smooth_beta: Slope of the smooth mode at 0, > 0; the other modes ignore it.
      cautious: Whether to step only where the direction has the gradient's sign, as
        in `lion_jax.optimizer.variants.cautious_direction`.

    Returns:
      A gradient transformation whose state is a `LionState`, or, for an int8
      momentum, a `lion_jax.optimizer.state.QuantizedLionState`. The updates have the
      gradients' shapes and dtypes and point uphill, as Optax expects before
      `optax.scale_by_learning_rate`. Complex values have a sign each for their real
      and imaginary part. Integers and booleans have no momentum and zero updates.

    Raises:
      TypeError: If b1, b2 or smooth_beta is no number, or `cautious` no boolean.
      ValueError: For a value outside of its range; traced values are taken as they
        are. As in Optax, an unknown mode is refused by `update`.

    Examples:
      >>> import jax.numpy as jnp
      >>> from lion_jax import scale_by_lion
      >>> tx = scale_by_lion()
      >>> updates, state = tx.update(jnp.array([3.0, 0.0, -0.1]), tx.init(jnp.zeros(3)))
      >>> print(updates)
      [ 1.  0. -1.]

    References:
      Chen et al., Symbolic Discovery of Optimization Algorithms, 2023,
      https://arxiv.org/abs/2302.06675. For the modes see `lion_jax.optimizer.variants`.
    """
    inner = _directions(b1, b2, mu_dtype, mode, smooth_beta, cautious)

    def update(updates, state, params=None):
        directions, state = inner.update(updates, state, params)
        return jax.tree.map(as_dtype_of, directions, updates), state

    return optax.GradientTransformation(inner.init, update)


def _directions(
    b1: Any, b2: Any, mu_dtype: Any, mode: str, smooth_beta: Any, cautious: Any
) -> optax.GradientTransformation:
    """`scale_by_lion` with its directions in float32 or wider."""
    checks.check_number("b1", b1, lambda b: 0 <= b < 1, "in [0, 1)")
    checks.check_number("b2", b2, lambda b: 0 <= b < 1, "in [0, 1)")
    finite = "positive and finite"
    checks.check_number("smooth_beta", smooth_beta, lambda x: 0 < x < math.inf, finite)
    checks.check_flag("cautious", cautious)
    momentum.check_dtype(mu_dtype)
    interpolation = in_place.Interpolation.of(b1, b2, exact=mode != "hard")

    def init(params: optax.Params) -> LionState | QuantizedLionState:
        return momentum.first_state(params, mu_dtype)

    def average(g: Any, m: Any) -> Any:
        if isinstance(m, optax.MaskedNode):
            return m
        return momentum.average(m, upcast(g), b2, interpolation.side(m, upcast(g)))

    def direction(g: Any, old: Any, new: Any) -> Any:
        if isinstance(old, optax.MaskedNode):
            return jnp.zeros(jnp.shape(g), bool)
        c = interpolation(upcast(g), old, new)
        u = variants.direction(c, mode, smooth_beta)
        return variants.cautious_direction(u, upcast(g)) if cautious else u

    def update(updates, state, params=None):
        del params
        old = momentum.opened(state, updates, b2)
        new = jax.tree.map(average, updates, old)
        directions = jax.tree.map(direction, updates, old, new)
        return directions, momentum.closed(state, new)

    return optax.GradientTransformation(init, update)


def lion(
    learning_rate: ArrayLike | optax.Schedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99,
    mu_dtype: DTypeLike | Literal["int8"] | None = None,
    weight_decay: ArrayLike | optax.Schedule = 1e-3,
    mask: Any | Callable[[optax.Params], Any] | None = None,
    *,
    mode: Mode = "hard",
    smooth_beta: ArrayLike = 1.0,
    cautious: bool = False,
    cautious_weight_decay: bool = False,
    independent_weight_decay: bool = False,
    exchange: Exchange | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""The Lion optimizer, a drop-in for `optax.lion`.

    .. math::
        \theta_t = \theta_{t-1} - \eta_t \, (\operatorname{sign}(b_1 m_{t-1}
        + (1 - b_1) g_t) + \lambda \theta_{t-1})

    Every weight moves by the learning rate: Lion's authors advise a 3-10x smaller one
    and a 3-10x larger weight decay than for AdamW. For equal float32 gradients, momenta
    are bitwise those of `optax.lion`, updates too, except where |c| is below float32
    rounding error. `lion_jax.from_optax` continues a run begun with `optax.lion`.

    Args:
      learning_rate: Step size, >= 0, or a schedule (count -> step size).
      b1: Weight of the momentum in the step's direction, in [0, 1).
      b2: Decay rate of the momentum, in [0, 1); see `scale_by_lion` for traced betas.
      mu_dtype: Dtype of the momentum, see `scale_by_lion`: floating, `"int8"`, or
        None for each parameter's own.
      weight_decay: Decoupled decay lambda, >= 0, or a schedule of it; it is
        multiplied by the learning rate.
      mask: Which parameters decay: a tree of booleans, a prefix of the parameters'
        tree, or a callable that makes one from the parameters; None for all.
      mode: `"hard"`, `"smooth"` or `"refined"`, see `scale_by_lion`.
      smooth_beta: Slope of the smooth mode at 0, > 0; the other modes ignore it.
      cautious: Whether to step only where the direction has the gradient's sign, as
        in `lion_jax.optimizer.variants.cautious_direction`.
      cautious_weight_decay: Whether to decay only where that does not work against
        the direction, as in `lion_jax.optimizer.variants.cautious_decay`.
      independent_weight_decay: Whether weight decay is not multiplied by the learning
        rate: theta <- theta - eta u - lambda theta, as in Wortsman et al., 2023,
        https://arxiv.org/abs/2309.14322. Lambda is then small, such as 1e-4, and
        should follow a schedule of the learning rate's shape.
      exchange: What directions pass through before they are used, such as a gather
        or a vote between devices: a function of them and of the step's count.

    Returns:
      A gradient transformation with a state as that of `scale_by_lion`; its `update`
      needs `params`. Updates have the wider of the gradient's and the parameter's
      dtype; where the gradient is None there is no update, if `init` had None there.

    Raises:
      TypeError: If a number is no number, or a flag or what the mask holds no boolean.
      ValueError: For a value outside of its range, or a variant of weight decay
        without any. Traced values are taken as they are.

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
      https://arxiv.org/abs/2302.06675; of the variants: `lion_jax.optimizer.variants`
    """
    checks.check_rate("learning_rate", learning_rate)
    checks.check_rate("weight_decay", weight_decay)
    checks.check_mask(mask)
    checks.check_choice("mode", mode, variants.MODES)
    checks.check_decay(weight_decay, cautious_weight_decay, independent_weight_decay)
    inner = _directions(b1, b2, mu_dtype, mode, smooth_beta, cautious)

    def pull(p: Any, u: Any, decay: Any) -> Any:
        pull = factor(decay, u) * upcast(p)
        return variants.cautious_decay(pull, u) if cautious_weight_decay else pull

    def update(updates, state, params=None, **extra_args):
        del extra_args
        if params is None:
            raise ValueError("lion: params=None, but update needs them for its decay.")
        eta, decay = (at(x, state.count) for x in (learning_rate, weight_decay))

        def step(u: Any, g: Any, p: Any, decays: Any) -> Any:
            if not is_trainable(p):
                return jnp.zeros_like(p)
            back, rate = 0.0, factor(eta, u)
            if decays and not checks.is_zero(weight_decay):
                back = pull(p, u, decay)
            u = -rate * u - back if independent_weight_decay else -rate * (u + back)
            return u.astype(wider_dtype(g, p))

        count, (directions, state) = state.count, inner.update(updates, state)
        directions = exchange(directions, count) if exchange else directions
        decays = for_every_leaf(mask, params)
        return map_updates(step, directions, updates, params, decays), state

    return optax.GradientTransformationExtraArgs(inner.init, update)
