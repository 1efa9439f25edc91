"""Rematerialisation: which activations of a block the backward pass computes again."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx


def _is_product(primitive: Any, *args: Any, **options: Any) -> bool:
    dots = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    convolution = primitive is jax.lax.conv_general_dilated_p
    return convolution or dots(primitive, *args, **options)


POLICIES: dict[str, Callable[..., bool]] = {
    "dots": _is_product,
    "full": jax.checkpoint_policies.nothing_saveable,
}
CHOICES = ("none", *POLICIES)


def check(remat: str) -> str:
    """Returns `remat`.

    Raises:
      ValueError: If there is no such choice.
    """
    if remat not in CHOICES:
        raise ValueError(f"{remat=}, but it must be one of {[*CHOICES]}.")
    return remat


def apply(remat: str, block: nnx.Module, x: jax.Array, **options: Any) -> jax.Array:
    """Returns `block(x, **options)`.

    Args:
      remat: What is kept for the backward pass beside the parameters: `none` computes
        nothing again and keeps everything; `dots` keeps the results of matrix
        products and convolutions, but not of attention's; `full` keeps `x` only.
      block: A module; it may update its variables.
      x: Its input.
      **options: Arguments that are no arrays.
    """
    if remat == "none":
        return block(x, **options)

    def call(block, x):
        return block(x, **options)

    return nnx.remat(call, policy=POLICIES[remat])(block, x)
