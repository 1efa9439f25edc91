"""Which exponent the codes of each int8 momentum are relative to, and when it moves.

A row is what lies along the last axis. From the largest gradient and the largest code
of a row follows a bound of its new momentum; the exponent that one half of an array's
rows reach becomes the array's. So one outlier costs its row's vote and nothing else;
maxima and counts are exact in any order of evaluation, on any number of devices.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float32, Int

from lion_jax.optimizer import int8
from lion_jax.optimizer.float_bits import to_bits
from lion_jax.optimizer.leaves import factor

PERIOD = 256  # steps between measurements, after those at 0, 1, 2, 4, 8, ... 128
MIN_ROWS = 16  # an array with fewer rows is measured in pieces of them
PIECE = 64  # values
EXPONENTS = 256  # of a float32; 0 stands for zero, 255 for an infinity and NaN


def exponents(
    momenta: Sequence[int8.Int8Momentum],
    gradients: Sequence[Array],
    decay: Any,
    count: ArrayLike,
) -> Int[Array, " arrays"]:
    """Returns the exponent of each array's codes after this step.

    In most steps it is the one before. An exponent of 0 stands for an array that never
    had a gradient; it is measured as soon as it has one.
    """
    old = jnp.stack([m.exponent for m in momenta])
    axes = _axes_counted_over([*gradients, *(m.codes for m in momenta)], old)

    def measured() -> Int[Array, " arrays"]:
        pairs = zip(momenta, gradients, strict=True)
        rows = jnp.stack([_rows_by_exponent(m, g, decay) for m, g in pairs])
        rows = lax.psum(rows, axes) if axes else rows
        known = rows.at[:, 0].set(0).at[:, -1].set(0)
        reaching = lax.cumsum(known, axis=1, reverse=True)
        half = 2 * reaching >= reaching[:, :1]
        median = jnp.sum(half, axis=1, dtype=jnp.int32) - 1
        wanted = (_is_due(count) | (old == 0)) & (reaching[:, 0] > 0)
        return jnp.where(wanted, median, old)

    return lax.cond(_is_due(count) | (old == 0).any(), measured, lambda: old)


def _is_due(count: ArrayLike) -> Bool[Array, ""]:
    count = jnp.asarray(count)
    early = ((count & (count - 1)) == 0) & (count < PERIOD)
    return early | (count % PERIOD == 0)


def _rows_by_exponent(
    m: int8.Int8Momentum, gradient: Array, decay: Any
) -> Int[Array, " exponents"]:
    """Counts the rows whose bound has each biased exponent."""
    gradient, codes = _in_pieces(gradient), _in_pieces(m.codes)
    # Nothing but an absolute value: XLA:CPU puts any other operand in memory first.
    steepest = jnp.max(jnp.abs(gradient), axis=-1).astype(jnp.float32)
    highest, lowest = jnp.max(codes, axis=-1), jnp.min(codes, axis=-1)
    level = jnp.maximum(highest.astype(jnp.int32), -lowest.astype(jnp.int32))
    level = jnp.minimum(level, int8.INFINITE).astype(jnp.int8)
    decay = factor(decay, steepest)
    bound = (1 - decay) * steepest + decay * int8.load(m._replace(codes=level))
    exponent = _biased_exponent(bound).reshape(-1, 1)
    each = jnp.arange(EXPONENTS).reshape(1, -1)
    return jnp.sum(exponent == each, axis=0, dtype=jnp.int32)


def _in_pieces(x: Array) -> Array:
    """Cuts few long rows into more and shorter ones; what is left over is left out."""
    *rows, length = x.shape
    if math.prod(rows) >= MIN_ROWS or length < PIECE:
        return x
    if length % PIECE:
        x = x[..., : length // PIECE * PIECE]
    return x.reshape(*rows, -1, PIECE)


def _biased_exponent(magnitude: Float32[Array, "..."]) -> Int[Array, "..."]:
    return (to_bits(magnitude) >> 23) & (EXPONENTS - 1)


def _axes_counted_over(
    values: Sequence[Array], exponents: Int[Array, " arrays"]
) -> tuple[str, ...]:
    """Returns the axes of a `jax.shard_map` that cut the values, not the exponents."""
    cut = [jax.typeof(x).manual_axis_type.varying for x in values]
    shared = jax.typeof(exponents).manual_axis_type.varying
    return tuple(sorted(frozenset().union(*cut) - shared))
