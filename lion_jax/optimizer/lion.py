"""Lion, the whole algorithm on one page.

With gradient g, momentum m, parameters theta, learning rate eta, decay lambda:

    c     = b1 m + (1 - b1) g           interpolation: only its sign is used
    m     = b2 m + (1 - b2) g           momentum: the one buffer Lion keeps
    theta = theta - eta (sign(c) + lambda theta)

From which of the two momenta c is read, and why, is in `in_place`; how a momentum is
stored in `momentum`; the published variants of sign and decay in `variants`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import PyTree

from lion_jax.optimizer import in_place, momentum, variants
from lion_jax.optimizer.momentum import trained, wide


class LionState(NamedTuple):
    """What Lion remembers: how many updates it made, and one momentum."""

    count: ArrayLike  # int32 scalar
    mu: optax.Updates  # like the parameters; Int8Momentum leaves if asked for


def scale_by_lion(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99,
    mu_dtype: DTypeLike | None = None,
    *,
    mode: str = "hard",
    smooth_beta: ArrayLike = 1.0,
    cautious: bool = False,
) -> optax.GradientTransformation:
    r"""Replaces each gradient by the direction of Lion's step.

    .. math::
        u_t = \operatorname{sign}(b_1 m_{t-1} + (1 - b_1) g_t), \qquad
        m_t = b_2 m_{t-1} + (1 - b_2) g_t

    A zero interpolation gives a zero step, and a NaN stays a NaN. All is computed in
    float32 or wider, whatever the dtypes. The sign of an interpolation smaller than
    the rounding of its own two terms may differ from `optax.scale_by_lion`'s: where
    0 < b1 <= b2 are numbers, it is computed from the new momentum.

    Args:
      b1: Weight of the momentum in the step's direction, in [0, 1).
      b2: Decay rate of the momentum, in [0, 1).
      mu_dtype: Dtype of the momentum: floating, None for each parameter's own, or
        `"int8"` for one byte a value and a scale a row (`lion_jax.optimizer.int8`);
        arrays of fewer than 4,096 values or with a last axis below 64 then stay
        float32. Complex momenta keep their own dtype.
      mode: What is made of the interpolation c: `"hard"` sign(c), `"smooth"`
        tanh(smooth_beta c), `"refined"` c clipped to [-1, 1].
      smooth_beta: Slope of the smooth mode at 0, > 0; 1 in the other modes.
      cautious: Whether to step only where the direction has the gradient's sign, as
        in `lion_jax.optimizer.variants.cautious_direction`.

    Returns:
      A gradient transformation whose state is a `LionState`. The updates have the
      gradients' shapes and dtypes and point uphill, as Optax expects before
      `optax.scale_by_learning_rate`. Complex values have a sign each for their real
      and imaginary part. Integers and booleans have no momentum and zero updates.

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
      https://arxiv.org/abs/2302.06675. For the modes see `lion_jax.optimizer.variants`.
    """
    _check_number("b1", b1, lambda b: 0 <= b < 1, "in [0, 1)")
    _check_number("b2", b2, lambda b: 0 <= b < 1, "in [0, 1)")
    momentum.check_dtype(mu_dtype)
    sign = variants.shape_of_direction(mode, smooth_beta)
    interpolation = in_place.Interpolation(b1, b2)

    def init(params: optax.Params) -> LionState:
        mu = jax.tree.map(lambda p: momentum.zeros(p, mu_dtype), params)
        return LionState(jnp.zeros([], jnp.int32), mu)

    def average(g: Any, m: Any, count: Any) -> Any:
        if isinstance(m, optax.MaskedNode):
            return m
        g = wide(g)
        return momentum.average(m, g, b2, count=count, side=interpolation.side(m, g))

    def direction(g: Any, old: Any, new: Any) -> Any:
        if isinstance(old, optax.MaskedNode):
            return jnp.zeros(jnp.shape(g), bool)
        dtype, g = jnp.result_type(g), wide(g)
        u = sign(interpolation(g, old, new, exact=mode != "hard"))
        return (variants.cautious_direction(u, g) if cautious else u).astype(dtype)

    def update(updates, state, params=None):
        del params
        mu = jax.tree.map(lambda g, m: average(g, m, state.count), updates, state.mu)
        directions = jax.tree.map(direction, updates, state.mu, mu)
        return directions, LionState(optax.safe_increment(state.count), mu)

    return optax.GradientTransformation(init, update)


def lion(
    learning_rate: optax.ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99,
    mu_dtype: DTypeLike | None = None,
    weight_decay: optax.ScalarOrSchedule = 1e-3,
    mask: PyTree[Any] | Callable[[optax.Params], PyTree[Any]] | None = None,
    *,
    mode: str = "hard",
    smooth_beta: ArrayLike = 1.0,
    cautious: bool = False,
    cautious_weight_decay: bool = False,
    independent_weight_decay: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""The Lion optimizer, a drop-in for `optax.lion`.

    .. math::
        \theta_t = \theta_{t-1} - \eta_t \, (\operatorname{sign}(b_1 m_{t-1}
        + (1 - b_1) g_t) + \lambda \theta_{t-1})

    Every weight moves by the learning rate, whatever the gradient's size: take 3 to
    10 times less than for AdamW, and as much more weight decay. In float32 the
    momenta equal those of `optax.lion` to the bit, and so do the updates, but for
    signs of interpolations lost in rounding (see `scale_by_lion`).

    Args:
      learning_rate: Step size, >= 0, or a schedule (count -> step size).
      b1: Weight of the momentum in the step's direction, in [0, 1).
      b2: Decay rate of the momentum, in [0, 1).
      mu_dtype: Dtype of the momentum, see `scale_by_lion`: floating, `"int8"`, or
        None for each parameter's own.
      weight_decay: Decoupled decay lambda, >= 0, or a schedule of it; it is
        multiplied by the learning rate.
      mask: Which parameters decay: a tree of booleans, a prefix of the parameters'
        tree, or a callable that makes one from the parameters; None for all.
      mode: `"hard"`, `"smooth"` or `"refined"`, see `scale_by_lion`.
      smooth_beta: Slope of the smooth mode at 0, > 0; 1 in the other modes.
      cautious: Whether to step only where the direction has the gradient's sign, as
        in `lion_jax.optimizer.variants.cautious_direction`.
      cautious_weight_decay: Whether to decay only where that does not work against
        the direction, as in `lion_jax.optimizer.variants.cautious_decay`.
      independent_weight_decay: Whether weight decay is not multiplied by the learning
        rate: theta <- theta - eta u - lambda theta, as in Wortsman et al., 2023,
        https://arxiv.org/abs/2309.14322. Lambda is then small, such as 1e-4, and
        should follow a schedule of the learning rate's shape.

    Returns:
      A gradient transformation whose state is a `LionState`; its `update` needs
      `params`. Updates have the wider of the gradient's and the parameter's dtype.

    Raises:
      ValueError: For a value outside of its range, or a variant of weight decay
        without any. Arrays are taken as they are.

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
    without_decay = isinstance(weight_decay, int | float) and weight_decay == 0
    if without_decay and (cautious_weight_decay or independent_weight_decay):
        raise ValueError(
            f"lion: {weight_decay=}, but {cautious_weight_decay=} and"
            f" {independent_weight_decay=} say how to decay; set weight_decay > 0 or"
            " both to False."
        )
    inner = scale_by_lion(
        b1, b2, mu_dtype, mode=mode, smooth_beta=smooth_beta, cautious=cautious
    )

    def pull_of(p: Any, u: Any, decay: Any) -> Any:
        if without_decay:
            return 0.0
        pull = decay * wide(p)
        return variants.cautious_decay(pull, u) if cautious_weight_decay else pull

    def update(updates, state, params=None, **extra_args):
        del extra_args
        if params is None:
            raise ValueError("lion: params=None, but update needs them for its decay.")
        eta, decay = _at(learning_rate, state.count), _at(weight_decay, state.count)

        def step(u: Any, g: Any, p: Any, decays: bool) -> Any:
            if not trained(p):
                return jnp.zeros_like(p)
            u, pull = wide(u), pull_of(p, u, decay) if decays else 0.0
            u = -eta * u - pull if independent_weight_decay else -eta * (u + pull)
            return u.astype(jnp.result_type(g, p))

        directions, state = inner.update(updates, state)
        decays = _for_every_leaf(mask, params)
        return jax.tree.map(step, directions, updates, params, decays), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _at(value: optax.ScalarOrSchedule, count: ArrayLike) -> Any:
    return value(count) if callable(value) else value


def _for_every_leaf(mask: Any, params: optax.Params) -> PyTree[bool]:
    """Spells a decay mask out: a prefix's value holds for all leaves below it."""
    prefix = mask(params) if callable(mask) else True if mask is None else mask
    return jax.tree.map(lambda m, p: jax.tree.map(lambda _: m, p), prefix, params)


def _check_number(
    name: str, value: object, holds: Callable[[float], bool], rule: str
) -> None:
    """Refuses a wrong Python number; arrays may be traced and have no value yet."""
    if isinstance(value, int | float) and not holds(value):
        raise ValueError(f"lion: {name}={value!r}, but it must be {rule}.")
