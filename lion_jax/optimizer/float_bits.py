"""Floats as the integers that their bits make.

A compiler may drop a round trip between float formats as excess precision; it may not
drop integer arithmetic.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, BFloat16, Float32, Int

SIGN = -(2**31)  # the sign's bit of a float32, as an int32
CUT = 16  # bits of a float32 that a bfloat16 lacks


def to_bits(x: Float32[Array, "*s"]) -> Int[Array, "*s"]:
    """Returns a float32's bits."""
    return lax.bitcast_convert_type(x, jnp.int32)


def from_bits(bits: Int[Array, "*s"]) -> Float32[Array, "*s"]:
    """Returns the float32 with these bits."""
    return lax.bitcast_convert_type(bits, jnp.float32)


def round_to_bfloat16(
    bits: Int[Array, "*s"], noise: Int[Array, "*s"] | None = None
) -> Int[Array, "*s"]:
    """Rounds a float32's bits to those that a bfloat16 has; the others become 0.

    Args:
      bits: Of anything but a NaN.
      noise: Random numbers in [0, 2**16) for rounding up or down at random; None for
        the nearest, ties to even.
    """
    if noise is None:
        noise = (1 << (CUT - 1)) - 1 + ((bits >> CUT) & 1)
    return (bits + noise) & ~((1 << CUT) - 1)


def bits_of_bfloat16(p: BFloat16[Array, "*s"]) -> Int[Array, "*s"]:
    """Returns the float32 bits of a bfloat16."""
    return lax.bitcast_convert_type(p, jnp.uint16).astype(jnp.int32) << CUT
