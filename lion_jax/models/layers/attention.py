"""Softmax attention, by cuDNN's fused kernel where there is one."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def attend(
    query: Float[Array, "b n h e"],
    key: Float[Array, "b n h e"],
    value: Float[Array, "b n h e"],
) -> Float[Array, "b n h e"]:
    """Mixes values by softmax(query key / sqrt(e)), for each of h heads of e values."""
    settings: Any = jax.config  # the types of jax 0.10 lack its attributes
    device = settings.jax_default_device or jax.devices()[0]
    fused = _cudnn_applies(device, query.shape[-1], query.dtype)
    return jax.nn.dot_product_attention(
        query, key, value, implementation="cudnn" if fused else "xla"
    )


def _cudnn_applies(device: Any, head: int, dtype: DTypeLike) -> bool:
    """Returns whether cuDNN's kernel takes these heads: NVIDIA's Ampere or newer.

    Asked when the program is traced, since JAX traces that kernel only where it can
    run: `lax.platform_dependent` would fail on every other machine.
    """
    capability = getattr(device, "compute_capability", "") or "0.0"
    return (
        device.platform == "gpu"
        and capability.replace(".", "").isdigit()  # AMD's is a name
        and float(capability) >= 8.0
        and dtype in (jnp.bfloat16, jnp.float16)
        and head % 8 == 0
        and head <= 128
    )
