"""A momentum in one byte per value: a sign and seven bits of logarithm.

The codes have the parameter's shape and sharding. All that an array's values share is
one integer, its exponent; it lies outside of the parameters' tree, out of reach of what
places, masks or wraps a state by its parameters.

**Code.** Bits of floats grow with their logarithm (exactly at powers of two, linearly
between). The levels 1..126 are floats with evenly spaced bits: from 2**-LOW to 2**HIGH
times 2**exponent there are 8 levels per octave, 1/16 to 1/8 of a value apart; beyond
them one level per octave, so that a value far smaller or larger than its
neighbours moves too. Only a zero is stored as zero. Level 127 is an infinity and -128 a
NaN: each costs one value.

**Exponent.** At some steps it becomes that of the median of the rows' largest values
(`calibration`). A factor of 2**k in all gradients changes the exponent by k and no
code. In all other steps everything is elementwise.

**Rounding.** With b2 = 0.99, a gradient no larger than the momentum changes it by 2 %
at most, where levels are 6 % apart: rounded to the nearest it would freeze. Here the
threshold between two levels walks with the step, by the golden ratio, from a start that
differs along the last axis: the errors of successive steps cancel, and so do those of
neighbours.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float32, Int, Int8, UInt32

from lion_jax.optimizer.float_bits import SIGN, from_bits, to_bits
from lion_jax.optimizer.leaves import factor

LOW, HIGH = 10, 2  # octaves below and above 2**exponent with 8 levels each
UP = 8  # octaves above these with one level each; the other levels are below
INFINITE, NAN = 127, -128
STEP = 1 << 20  # bits between two levels: 8 of them are an octave
OCTAVE = 1 << 23
TOP = INFINITE - 1 - UP  # the highest level with fine spacing
BOTTOM = TOP - 8 * (LOW + HIGH)  # the lowest one
INFINITY_BITS = 0x7F800000
SMALLEST, LARGEST = 13, 254 - HIGH - UP  # exponents whose levels' bits do not overflow
MIN_SIZE = 4096  # a smaller array is not worth a byte code
GOLDEN = 0x9E3779B9  # 2**32 divided by the golden ratio
SPREAD = 0xC13FA9A9  # an odd number: from one start to the next


class Int8Momentum(NamedTuple):
    """A momentum while a step works on it."""

    codes: Int8[Array, "*shape"]  # signed levels
    exponent: Int[Array, ""]  # of the codes: a float32's, biased; 0 while all are 0
    next_exponent: Int[Array, ""]  # of the codes after this step
    walk: UInt32[Array, ""]  # where the rounding's threshold is in this step


def fits(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape is stored in bytes; small ones are not."""
    return math.prod(shape) >= MIN_SIZE


def zeros(like: ArrayLike | jax.ShapeDtypeStruct) -> Int8[Array, "*shape"]:
    """Returns the codes of a zero momentum, with a parameter's shape and sharding."""
    return jnp.zeros_like(like, dtype=jnp.int8)


@jax.jit
def load(
    codes: Int8[Array, "*shape"], exponent: Int[Array, "..."]
) -> Float32[Array, "*shape"]:
    """Decodes codes that are relative to an exponent."""
    signed = codes.astype(jnp.int32)
    level = jnp.abs(signed)
    octave = level << 23
    bits = jnp.minimum(level << 20, octave - BOTTOM * (OCTAVE - STEP))
    bits = jnp.maximum(bits, octave - TOP * (OCTAVE - STEP))
    bits = jnp.maximum(bits + _origin(exponent), OCTAVE)  # no subnormals
    special = (level << 22) + (INFINITY_BITS - (INFINITE << 22))  # infinity, then NaN
    bits = jnp.where(level < INFINITE, bits, special) | (signed & SIGN)
    return from_bits(jnp.where(signed == 0, 0, bits))


@jax.jit
def store(
    values: Float32[Array, "*shape"],
    exponent: Int[Array, ""],
    walk: UInt32[Array, ""],
) -> Int8[Array, "*shape"]:
    """Encodes values, as in `Int8Momentum`."""
    bits = to_bits(values)
    magnitude = bits & ~SIGN
    above = magnitude - _origin(exponent)
    eighth = above >> 3  # with it the spacing is an octave
    above = jnp.maximum(above, eighth + BOTTOM * (OCTAVE - STEP) // 8)
    above = jnp.minimum(above, eighth + TOP * (OCTAVE - STEP) // 8)
    level = (above + _thresholds(values.shape, walk)) >> 20
    level = jnp.clip(level, 1, INFINITE - 1)  # never 0: a small value keeps its sign
    level = jnp.minimum(level, magnitude)  # but 0 is 0
    special = INFINITE + (magnitude > INFINITY_BITS).astype(jnp.int32)
    level = jnp.where(magnitude < INFINITY_BITS, level, special)
    # As an int8, 128 is -128: NaN of either sign.
    return jnp.where(bits < 0, -level, level).astype(jnp.int8)


def average(old: Int8Momentum, gradient: Array, decay: Any) -> Int8Momentum:
    """Returns decay * old + (1 - decay) * gradient, encoded."""
    codes = store(mean(old, gradient, decay), old.next_exponent, old.walk)
    return old._replace(codes=codes, exponent=old.next_exponent)


def walk(count: ArrayLike) -> UInt32[Array, ""]:
    """Returns where the thresholds are in a step: evenly spread over steps."""
    return jnp.asarray(count).astype(jnp.uint32) * jnp.uint32(GOLDEN)


def _thresholds(
    shape: tuple[int, ...], walk: UInt32[Array, ""]
) -> Int[Array, "*ones last"]:
    """Bits in [0, STEP), along the last axis, that are added before rounding down."""
    ones = (1,) * (len(shape) - 1)
    index = jnp.arange(shape[-1], dtype=jnp.uint32).reshape(*ones, -1)
    return ((walk + index * jnp.uint32(SPREAD)) >> 12).astype(jnp.int32)


def mean(old: Int8Momentum, gradient: Array, decay: Any) -> Float32[Array, "*shape"]:
    """Returns decay * old + (1 - decay) * gradient before it is encoded."""
    decay = factor(decay, gradient)
    # A float64 gradient meets the float32 momentum in float64.
    old_values = load(old.codes, old.exponent).astype(gradient.dtype)
    return ((1 - decay) * gradient + decay * old_values).astype(jnp.float32)


def _origin(exponent: Int[Array, "*s"]) -> Int[Array, "*s"]:
    """Bits of a level 0 of the fine spacing, which no code stands for."""
    exponent = jnp.clip(exponent, SMALLEST, LARGEST)
    return exponent * OCTAVE - (BOTTOM + 8 * LOW) * STEP
