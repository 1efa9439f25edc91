"""Arithmetic that low precision does not hurt."""

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Inexact


def check_momentum_dtype(mu_dtype: DTypeLike | None) -> DTypeLike | None:
    """Returns the dtype asked for a momentum.

    Raises:
      ValueError: If it is not None, int8, or floating with at least 16 bits.
    """
    if mu_dtype is None:
        return None
    dtype = jnp.dtype(mu_dtype)
    wide_enough = jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize >= 2
    if not wide_enough and dtype != jnp.int8:
        raise ValueError(
            f"lion: {mu_dtype=}, but it must be a floating dtype of at least 16 bits,"
            " 'int8' or None."
        )
    return dtype


def trained(x: ArrayLike) -> bool:
    """Whether a leaf is a floating or complex array: others are left alone."""
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def wide(x: ArrayLike) -> Inexact[Array, "*shape"]:
    """Returns a floating or complex array in at least float32."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def narrow(
    x: Inexact[Array, "*shape"],
    dtype: DTypeLike,
    side: Inexact[Array, "*shape"] | None = None,
) -> Inexact[Array, "*shape"]:
    """Rounds to a dtype, and not across a given number.

    Args:
      x: What to round.
      dtype: Floating or complex.
      side: If given, and if `dtype` is bfloat16, the result lies on the side of this
        number where x lies: of x's two neighbours in bfloat16 the nearer is taken
        unless it is on the wrong side.
    """
    if side is None or jnp.dtype(dtype) != jnp.bfloat16:
        return x.astype(dtype)
    x, side = x.astype(jnp.float32), side.astype(jnp.float32)
    # On integers: XLA drops a round trip of floats, and is slow at reduce_precision.
    bits = lax.bitcast_convert_type(x, jnp.int32)
    ties_to_even = (bits >> 16) & 1
    rounded = (bits + 0x7FFF + ties_to_even) & ~0xFFFF
    other = jnp.where(rounded > bits, rounded - 0x10000, rounded + 0x10000)
    nearest = lax.bitcast_convert_type(rounded, jnp.float32)
    kept = jnp.sign(nearest - side) == jnp.sign(x - side)
    chosen = lax.bitcast_convert_type(jnp.where(kept, rounded, other), jnp.float32)
    return jnp.where(jnp.isnan(x), x, chosen).astype(dtype)
