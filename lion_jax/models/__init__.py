"""Flax models by name: one row of MODELS per model."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from lion_jax.models.resnet import ResNet, resnet50, resnet_nano, resnet_tiny
from lion_jax.models.vit import ViT, vit_b16, vit_ti8, vit_tiny

__all__ = ["MODELS", "ResNet", "ViT", "make", "options", "parameters"]
__all__ += ["resnet50", "resnet_nano", "resnet_tiny", "vit_b16", "vit_ti8", "vit_tiny"]

# A row is a module class with its shape. Configurations name it, and of their fields
# for models those apply that its constructor takes.
MODELS: dict[str, partial[Any]] = {
    "resnet50": resnet50,
    "vit_b16": vit_b16,
    "vit_ti8": vit_ti8,
    "resnet_tiny": resnet_tiny,
    "resnet_nano": resnet_nano,
    "vit_tiny": vit_tiny,
}


COMMON = {"image_size", "num_classes", "channels", "dtype"}  # arguments of `make`


def parameters(name: str) -> Mapping[str, Any]:
    """Returns what a model's constructor takes besides keys, with the defaults."""
    row = MODELS[name]
    # Of the constructor itself: nnx hides the signatures of its classes.
    taken = inspect.signature(row.func.__init__).parameters
    left = [*taken][1 + len(row.args) :]  # after self and what the row fixes
    return {key: taken[key].default for key in left if key != "rngs"} | row.keywords


def make(
    name: str,
    *,
    image_size: int,
    num_classes: int,
    channels: int = 3,
    dtype: DTypeLike = jnp.float32,
    rngs: nnx.Rngs,
    **options: Any,
) -> Any:
    """Makes a model by its name.

    Args:
      name: A name in `MODELS`.
      image_size: Height and width of the images in pixels; a multiple of the model's
        patch, if it has one.
      num_classes: Number of logits.
      channels: Channels of the images.
      dtype: Dtype of the computation.
      rngs: Random keys; stream `params`.
      **options: The model's own, such as `pool` or `remat`; see its class.

    Raises:
      ValueError: If there is no model, option or choice of that name, or the model does
        not fit the images.

    Examples:
      >>> from flax import nnx
      >>> from lion_jax import models
      >>> size = {"image_size": 28, "num_classes": 10, "channels": 1}
      >>> net = models.make("resnet_nano", **size, rngs=nnx.Rngs(0))
      >>> net.head.bias.shape
      (10,)
    """
    if name not in MODELS:
        raise ValueError(f"{name=}, but it must be one of {[*MODELS]}.")
    taken = parameters(name)
    if unknown := [option for option in options if option not in taken]:
        raise ValueError(
            f"{unknown[0]}={options[unknown[0]]!r}, but {name} has no such option; it"
            f" has {', '.join(sorted({*taken} - COMMON))}."
        )
    given = {"num_classes": num_classes, "channels": channels}
    given |= {"dtype": _checked(dtype)}
    given |= {"image_size": image_size} if "image_size" in taken else {}
    return MODELS[name](**given, **options, rngs=rngs)


def _checked(dtype: Any) -> jnp.dtype:
    try:
        known = jnp.dtype(dtype)
    except TypeError:
        known = jnp.dtype(bool)
    if not jnp.issubdtype(known, jnp.floating) or known.itemsize < 2:
        raise ValueError(f"{dtype=}, but it must be 'float32' or 'bfloat16'.")
    return known


def options(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of some named values that a model takes."""
    taken = parameters(name)
    return {key: value for key, value in values.items() if key in taken}
