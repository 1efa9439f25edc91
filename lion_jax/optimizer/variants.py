"""What others made of Lion's direction and of weight decay; all of it off by default.

Every function takes one leaf. Complex leaves are pairs of real ones: a sign, a clip or
a comparison is taken of the real and of the imaginary part.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Inexact

MODES = ("hard", "smooth", "refined")
MIN_ALIGNED = 1e-3  # share of aligned values below which cautious steps grow no more


def componentwise(f: Callable[..., Array]) -> Callable[..., Array]:
    """Makes a function of real arrays act on real and imaginary parts."""

    def apply(*arrays: Array) -> Array:
        if not jnp.iscomplexobj(arrays[0]):
            return f(*arrays)
        real = f(*(jnp.real(x) for x in arrays))
        imaginary = f(*(jnp.imag(x) for x in arrays))
        return lax.complex(real, imaginary)

    return apply


def shape_of_direction(mode: str, smooth_beta: ArrayLike) -> Callable[[Array], Array]:
    """Returns what is made of the interpolation c.

    `"hard"` is sign(c), Lion itself. `"smooth"` is tanh(smooth_beta c) and `"refined"`
    is c clipped to [-1, 1], both as in `optax.scale_by_lion`; they follow A Refined
    Lion Optimizer for Deep Learning, Scientific Reports 2025,
    https://doi.org/10.1038/s41598-025-07112-4, which takes an arctangent.

    Raises:
      ValueError: For an unknown mode, or a slope that is not positive or not used.
    """
    if mode not in MODES:
        raise ValueError(f"lion: {mode=}, but it must be one of {MODES}.")
    if isinstance(smooth_beta, int | float):  # an array may have no value yet
        if mode != "smooth" and smooth_beta != 1:
            raise ValueError(
                f"lion: {smooth_beta=}, but {mode=} has no slope; set mode='smooth'."
            )
        if not smooth_beta > 0:
            raise ValueError(f"lion: {smooth_beta=}, but it must be positive.")
    if mode == "smooth":
        return componentwise(lambda c: jnp.tanh(smooth_beta * c))
    if mode == "refined":
        return componentwise(lambda c: jnp.where(jnp.abs(c) < 1.0, c, jnp.sign(c)))
    return componentwise(jnp.sign)


@componentwise
def cautious_direction(
    direction: Inexact[Array, "*shape"], gradient: Inexact[Array, "*shape"]
) -> Inexact[Array, "*shape"]:
    """Keeps the part of a direction that agrees in sign with the gradient (C-Lion).

    The rest is scaled up to keep the mean step: divided by the share of values kept,
    counted over the whole array, wherever its parts lie. A NaN stays a NaN.

    References:
      Liang et al., Cautious Optimizers: Improving Training with One Line of Code,
      2024, https://arxiv.org/abs/2411.16085
    """
    kept = direction * gradient > 0
    # Integers add up to the same count in any order, so on any number of devices.
    share = jnp.sum(kept, dtype=jnp.uint32) / jnp.maximum(kept.size, 1)
    scaled = direction / jnp.maximum(share, MIN_ALIGNED).astype(direction.dtype)
    return jnp.where(kept | jnp.isnan(direction), scaled, 0)


@componentwise
def cautious_decay(
    decay: Inexact[Array, "*shape"], direction: Inexact[Array, "*shape"]
) -> Inexact[Array, "*shape"]:
    """Keeps weight decay where it does not work against the direction.

    Args:
      decay: Weight decay times the parameter.
      direction: The optimizer's direction, uphill.

    References:
      Chen et al., Cautious Weight Decay, 2025, https://arxiv.org/abs/2510.12402
    """
    return jnp.where(direction * decay >= 0, decay, 0)
