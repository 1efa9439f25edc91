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
      side: If given, the rounded value is greater than `side` just where x is: of the
        two neighbours in `dtype` the nearer is taken unless it is on the wrong side.
        Real only.
    """
    dtype = jnp.dtype(dtype)
    if side is None or jnp.finfo(dtype).nmant >= jnp.finfo(x.dtype).nmant:
        return x.astype(dtype)
    info = jnp.finfo(dtype)
    exponent, mantissa = info.nexp, info.nmant
    # Not x.astype(dtype).astype(x.dtype): XLA removes such pairs on some platforms.
    nearest = lax.reduce_precision(x, exponent, mantissa)
    # 0.64 to 1.28 units in the last place, so rounding gives the other neighbour.
    towards = nearest + jnp.sign(x - nearest) * jnp.abs(nearest) * 0.64 * 2.0**-mantissa
    other = lax.reduce_precision(towards, exponent, mantissa)
    kept = jnp.sign(nearest - side) == jnp.sign(x - side)
    return jnp.where(kept, nearest, other).astype(dtype)
