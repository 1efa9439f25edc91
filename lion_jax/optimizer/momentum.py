"""How one leaf's momentum is kept: in which dtype, computed in float32 or wider."""

from typing import Any

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Inexact

from lion_jax.optimizer import int8
from lion_jax.optimizer.float_bits import CUT, from_bits, round_to_bfloat16, to_bits

Momentum = Any  # an array, an Int8Momentum, or MaskedNode for what is not trained


def check_dtype(mu_dtype: DTypeLike | None) -> DTypeLike | None:
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


def zeros(p: ArrayLike, dtype: DTypeLike | None) -> Momentum:
    """Makes the momentum of a parameter.

    Args:
      p: The parameter, or its shape and dtype.
      dtype: Of the momentum; None for the parameter's own. Complex parameters keep
        theirs. int8 holds for arrays that it pays for; the others get float32.

    Returns:
      Zeros of the parameter's shape and sharding; MaskedNode for a parameter that is
      not trained.
    """
    if not trained(p):
        return optax.MaskedNode()
    own = jnp.result_type(p)
    if dtype is None or jnp.issubdtype(own, jnp.complexfloating):
        return jnp.zeros_like(p, dtype=own)
    if jnp.dtype(dtype) != jnp.int8:
        return jnp.zeros_like(p, dtype=dtype)
    if int8.fits(jnp.shape(p)):
        return int8.zeros(p)
    return jnp.zeros_like(p, dtype=jnp.promote_types(own, jnp.float32))


def load(m: Momentum) -> Array:
    """Returns a momentum's values in float32 or wider."""
    return int8.load(m) if isinstance(m, int8.Int8Momentum) else wide(m)


def average(old: Momentum, g: Array, b2: Any, *, count: Any, side: Any) -> Momentum:
    """Returns the new momentum b2 old + (1 - b2) g, stored as the old one is.

    Args:
      old: The momentum before.
      g: The gradient, in float32 or wider.
      b2: The decay rate.
      count: Number of the step.
      side: If not None, a bfloat16 momentum is on the side of this number where it
        was before it was rounded.
    """
    if isinstance(old, int8.Int8Momentum):
        return int8.average(old, g, b2, count)
    return _narrow((1 - b2) * g + b2 * load(old), old.dtype, side)


def _narrow(
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
    # Not by `lax.reduce_precision`, which XLA:CPU is slow at.
    bits = to_bits(x)
    rounded = round_to_bfloat16(bits)
    other = jnp.where(rounded > bits, rounded - (1 << CUT), rounded + (1 << CUT))
    kept = jnp.sign(from_bits(rounded) - side) == jnp.sign(x - side)
    chosen = from_bits(jnp.where(kept, rounded, other))
    return jnp.where(jnp.isnan(x), x, chosen).astype(dtype)
