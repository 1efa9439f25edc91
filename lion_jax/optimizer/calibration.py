"""Which exponent the codes of each int8 momentum are relative to, and when it moves.

A row is what lies along the last axis. From the largest gradient and the largest code
of a row follows a bound of its new momentum; the exponent that one half of an array's
rows reach becomes the array's. So one outlier costs its row's vote and nothing else;
maxima and counts are exact in any order of evaluation, on any number of devices (in a
`jax.shard_map`, a row is what a device holds of it).
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float32, Int, Int8

from lion_jax.optimizer import int8
from lion_jax.optimizer.float_bits import to_bits
from lion_jax.optimizer.leaves import factor

PERIOD = 256  # steps between measurements, after those at 0, 1, 2, 4, 8, ... 128
MIN_ROWS = 16  # an array with fewer rows is measured in pieces of them
PIECE = 64  # values
EXPONENTS = 256  # of a float32; 0 stands for zero, 255 for an infinity and NaN


def exponents(
    codes: Sequence[Int8[Array, "..."]],
    gradients: Sequence[Array],
    old: Int[Array, " arrays"],
    decay: Any,
    count: ArrayLike,
) -> tuple[list[Int[Array, ""]], list[Int[Array, ""]]]:
    """Returns the exponents of the arrays' codes before and after this step.

    In most steps the exponent stays. An exponent of 0 stands for an array that never
    had a gradient; it is measured as soon as it has one.
    """
    axes = _axes_counted_over([*gradients, *codes], old)

    def measured() -> Int[Array, " arrays"]:
        rows = _rows_by_exponent(codes, gradients, old, decay)
        rows = lax.psum(rows, axes) if axes else rows
        reaching = lax.cumsum(rows[:, 1:-1], axis=1, reverse=True)
        half = 2 * reaching >= reaching[:, :1]
        median = jnp.sum(half, axis=1, dtype=jnp.int32)
        wanted = (_is_due(count) | (old == 0)) & (reaching[:, 0] > 0)
        return jnp.where(wanted, median, old)

    new = lax.cond(_is_due(count) | (old == 0).any(), measured, lambda: old)
    places = _places(len(codes), count)
    return _taken(old, places), _taken(new, places)


def _places(n: int, count: ArrayLike) -> list[Int[Array, ""]]:
    """Returns 0, 1, ... n - 1 as numbers that the compiler does not know.

    A place that is known becomes a constant of the kernel that reads there, and each
    such kernel is compiled by itself: 20 ms for each array, on a CPU. A place that is
    an argument leaves arrays of one shape with equal kernels, compiled once.
    """
    always = (jnp.asarray(count) | 1) != 0  # not known to the compiler either
    known = [jnp.int32(i) for i in range(n)]
    return lax.cond(always, lambda: known, lambda: [jnp.int32(0)] * n)


def _taken(
    exponents: Int[Array, " arrays"], places: list[Int[Array, ""]]
) -> list[Int[Array, ""]]:
    return [lax.dynamic_index_in_dim(exponents, i, keepdims=False) for i in places]


def _is_due(count: ArrayLike) -> Bool[Array, ""]:
    count = jnp.asarray(count)
    early = ((count & (count - 1)) == 0) & (count < PERIOD)
    return early | (count % PERIOD == 0)


def _rows_by_exponent(
    codes: Sequence[Array], gradients: Sequence[Array], old: Array, decay: Any
) -> Int[Array, "arrays exponents"]:
    """Counts the rows of each array whose bound has each biased exponent.

    Only the maxima are taken for each array; all else is done once for the rows of all
    arrays, since every operation for each array costs time at compilation.
    """
    rows = [_largest(c, g) for c, g in zip(codes, gradients, strict=True)]
    array = np.repeat(np.arange(len(rows)), [level.size for level, _ in rows])
    level, steepest = (jnp.concatenate(part) for part in zip(*rows, strict=True))
    decay = factor(decay, steepest)
    bound = (1 - decay) * steepest + decay * int8.load(level, old[array])
    zeros = jnp.zeros((len(rows), EXPONENTS), jnp.int32)
    return zeros.at[array, _biased_exponent(bound)].add(1)


def _largest(
    codes: Array, gradient: Array
) -> tuple[Int8[Array, " rows"], Float32[Array, " rows"]]:
    """Returns each row's largest level and largest magnitude of the gradient."""
    gradient, codes = _in_pieces(gradient), _in_pieces(codes)
    # Nothing but an absolute value: XLA:CPU puts any other operand in memory first.
    steepest = jnp.max(jnp.abs(gradient), axis=-1).astype(jnp.float32)
    highest, lowest = jnp.max(codes, axis=-1), jnp.min(codes, axis=-1)
    level = jnp.maximum(highest, -jnp.maximum(lowest, -int8.INFINITE))
    return _flat(level), _flat(steepest)


def _flat(x: Array) -> Array:
    """A vector of all values, on every device."""
    spec = jax.typeof(x).sharding.spec
    if any(axes is not None for axes in spec):  # of a mesh with explicit axes
        x = jax.sharding.reshard(x, PartitionSpec(*[None] * x.ndim))
    return x.reshape(-1)


def _in_pieces(x: Array) -> Array:
    """Cuts few long rows into more and shorter ones; what is left over is left out."""
    *rows, length = x.shape
    if math.prod(rows) >= MIN_ROWS or length < PIECE:
        return x
    if not _holds_whole_pieces(x):
        spec = jax.typeof(x).sharding.spec
        x = jax.sharding.reshard(x, PartitionSpec(*spec[:-1], None))
    if length % PIECE:
        x = x[..., : length // PIECE * PIECE]
    return x.reshape(*rows, -1, PIECE)


def _holds_whole_pieces(x: Array) -> bool:
    """Whether explicit axes of a mesh, if they cut rows, cut them between pieces."""
    sharding = jax.typeof(x).sharding
    axes = sharding.spec[-1] if len(sharding.spec) == x.ndim else None
    names = axes if isinstance(axes, tuple) else (axes,)
    devices = math.prod(sharding.mesh.shape[name] for name in names if name)
    return devices == 1 or x.shape[-1] % (PIECE * devices) == 0


def _biased_exponent(magnitude: Float32[Array, "..."]) -> Int[Array, "..."]:
    return (to_bits(magnitude) >> 23) & (EXPONENTS - 1)


def _axes_counted_over(
    values: Sequence[Array], exponents: Int[Array, " arrays"]
) -> tuple[str, ...]:
    """Returns the axes of a `jax.shard_map` that cut the values, not the exponents."""
    cut = [jax.typeof(x).manual_axis_type.varying for x in values]
    shared = jax.typeof(exponents).manual_axis_type.varying
    return tuple(sorted(frozenset().union(*cut) - shared))
