"""Published variants of Lion's update and weight decay; all of them off by default.

Every function takes one leaf. Complex leaves are pairs of real ones: a sign, a clip or
a comparison is taken of the real and of the imaginary part.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Inexact

from lion_jax.optimizer.checks import check_choice
from lion_jax.optimizer.leaves import factor

Mode = Literal["hard", "smooth", "refined"]
MODES = ("hard", "smooth", "refined")
# From directions and the step's count to the directions that are used.
Exchange = Callable[[optax.Updates, Any], optax.Updates]
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


def direction(
    c: Inexact[Array, "*shape"], mode: str, smooth_beta: ArrayLike
) -> Inexact[Array, "*shape"]:
    """Returns the direction of an interpolation c.

    `"hard"` is sign(c), Lion itself. `"smooth"` is tanh(smooth_beta c) and `"refined"`
    is c clipped to [-1, 1], both as in `optax.scale_by_lion`; they follow A Refined
    Lion Optimizer for Deep Learning, Scientific Reports 2025,
    https://doi.org/10.1038/s41598-025-07112-4, which takes an arctangent.

    Raises:
      ValueError: For an unknown mode.
    """
    check_choice("mode", mode, MODES)
    if mode == "smooth":
        return componentwise(lambda x: jnp.tanh(factor(smooth_beta, x) * x))(c)
    if mode == "refined":
        clip = componentwise(lambda x: jnp.where(jnp.abs(x) < 1.0, x, jnp.sign(x)))
        return clip(c)
    return componentwise(jnp.sign)(c)


@componentwise
def cautious_direction(
    direction: Inexact[Array, "*shape"], gradient: Inexact[Array, "*shape"]
) -> Inexact[Array, "*shape"]:
    """Keeps the part of a direction that agrees in sign with the gradient (C-Lion).

    It is divided by the share of values kept, to keep the mean step; the share is
    counted over the whole array, wherever its parts lie (in a `jax.shard_map`, over
    what a device holds of it), and is at least 0.001. That is timm's form. The authors'
    own code divides by (values kept + 1) / values instead: a scalar then moves by half
    a step, where it moves by a whole one here, and an array with 1,000 values kept by a
    thousandth less. A NaN stays a NaN.

    References:
      Liang et al., Cautious Optimizers: Improving Training with One Line of Code,
      2024, https://arxiv.org/abs/2411.16085
    """
    kept = direction * gradient > 0
    # Integers add up to the same count in any order, so on any number of devices.
    aligned = jnp.sum(kept, dtype=jnp.uint32).astype(direction.dtype)
    share = jnp.maximum(aligned / float(max(kept.size, 1)), MIN_ALIGNED)
    scaled = direction / share
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
