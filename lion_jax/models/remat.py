"""Rematerialisation: which activations of a block the backward pass computes again."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

POLICIES: dict[str, Callable[..., bool] | None] = {
    "dots": jax.checkpoint_policies.dots_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}
CHOICES = ("none", *POLICIES)


def apply(remat: str, block: nnx.Module, x: jax.Array, **options: Any) -> jax.Array:
    """Returns `block(x, **options)`.

    Args:
      remat: What is kept for the backward pass: `none` computes nothing again and
        keeps everything; `dots` keeps the results of matrix products and
        convolutions; `full` keeps `x` only.
      block: A module; it may update its variables.
      x: Its input.
      **options: Arguments that are no arrays.
    """
    if remat == "none":
        return block(x, **options)

    def call(block, x):
        return block(x, **options)

    return nnx.remat(call, policy=POLICIES[remat])(block, x)
