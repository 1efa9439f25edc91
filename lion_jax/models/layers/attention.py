"""Softmax attention, by cuDNN's fused kernel where there is one."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

# The device compiled for, and whether cuDNN's kernel may be chosen.
_target: contextvars.ContextVar[tuple[Any, bool]] = contextvars.ContextVar(
    "target", default=(None, True)
)


@contextlib.contextmanager
def compiling_for(device: Any, *, fused: bool = True) -> Iterator[None]:
    """Has attention that is traced here choose its kernel for a device.

    Args:
      device: One of those that the program is compiled for; JAX need not find it here.
        None: JAX's default device.
      fused: Whether cuDNN's fused kernel may be chosen. Not together with
        `training.lowering.DETERMINISTIC`: jaxlib 0.11.2 with CUDA 13 then fails on an
        H100 ("IndexError: absl::container_internal::raw_hash_map<>::at").
    """
    token = _target.set((device, fused))
    try:
        yield
    finally:
        _target.reset(token)


def attend(
    query: Float[Array, "b m h e"],
    key: Float[Array, "b n h e"],
    value: Float[Array, "b n h e"],
) -> Float[Array, "b m h e"]:
    """Mixes values by softmax(query key / sqrt(e)), for each of h heads of e values."""
    settings: Any = jax.config  # the types of jax 0.10 lack its attributes
    device, fused = _target.get()
    device = device or settings.jax_default_device or jax.devices()[0]
    if isinstance(device, str):  # JAX takes a platform's name as its default device
        device = jax.devices(device)[0]
    same = query.shape == key.shape  # of fewer queries there is little to fuse
    if fused and same and _cudnn_applies(device, query.shape[-1], query.dtype):
        return _with_even_tokens(query, key, value, "cudnn")
    return jax.nn.dot_product_attention(query, key, value, implementation="xla")


def _with_even_tokens(query, key, value, implementation):
    """Attends over an even number of tokens; to an odd one it adds one, masked out.

    Only because JAX (0.10 to 0.12) refuses to differentiate cuDNN's kernel over an odd
    number. cuDNN itself has that limit for the gradient of a bias alone, and JAX takes
    the empty array that stands for no bias for one: in its file
    _src/cudnn/fused_attention_stablehlo.py, `_dot_product_attention_fwd_rule` passes
    `bias is not None` where it should pass `variadic_args[0]`.
    """
    b, n = query.shape[:2]
    attention = jax.nn.dot_product_attention
    if n % 2 == 0:
        return attention(query, key, value, implementation=implementation)
    padded = (jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in (query, key, value))
    lengths = jnp.full(b, n, jnp.int32)
    mixed = attention(
        *padded,
        query_seq_lengths=lengths,
        key_value_seq_lengths=lengths,
        implementation=implementation,
    )
    return mixed[:, :n]


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
