"""Flax models: ResNet-50 and ViT-B/16, with small variants for tests."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from lion_jax.models.resnet import ResNet, resnet50, resnet_tiny
from lion_jax.models.vit import ViT, vit_b16, vit_ti8, vit_tiny

__all__ = ["ResNet", "ViT", "make"]
__all__ += ["resnet50", "resnet_tiny", "vit_b16", "vit_ti8", "vit_tiny"]


def make(
    name: str,
    *,
    image_size: int,
    num_classes: int,
    channels: int = 3,
    dtype: DTypeLike = jnp.float32,
    zero_init_residual: bool = False,
    pool: str = "token",
    drop_path: float = 0.0,
    remat: str = "none",
    rngs: nnx.Rngs,
) -> ResNet | ViT:
    """Makes a model by its name.

    Args:
      name: `resnet50`, `resnet_tiny`, `vit_b16`, `vit_ti8` or `vit_tiny`.
      image_size: Height and width of the images in pixels; for a ViT, a multiple of
        its patch.
      num_classes: Number of logits.
      channels: Channels of the images.
      dtype: Dtype of the computation.
      zero_init_residual: ResNet only: each block starts as its shortcut.
      pool: ViT only: what the head sees, the class `token` or the `mean`.
      drop_path: ViT only: chance that the last layer is left out in training.
      remat: What the backward pass computes again: `none`, `dots` (all but matrix
        products and convolutions) or `full` (whole blocks); saves memory.
      rngs: Random keys; stream `params`.

    Raises:
      ValueError: If there is no model or choice of that name, or the model does not
        fit the images.
    """
    shape: dict[str, Any] = {"num_classes": num_classes, "channels": channels}
    shape |= {"dtype": dtype, "remat": remat}
    resnets = {"resnet50": resnet50, "resnet_tiny": resnet_tiny}
    vits = {"vit_b16": vit_b16, "vit_ti8": vit_ti8, "vit_tiny": vit_tiny}
    if name in resnets:
        return resnets[name](**shape, zero_init_residual=zero_init_residual, rngs=rngs)
    if name in vits:
        shape |= {"image_size": image_size, "pool": pool, "drop_path": drop_path}
        return vits[name](**shape, rngs=rngs)
    raise ValueError(f"{name=}, but it must be one of {[*resnets, *vits]}.")
