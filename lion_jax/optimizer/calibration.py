"""Which exponent the codes of each int8 momentum are relative to, and when it moves."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float32, Int, UInt32

from lion_jax.optimizer import int8
from lion_jax.optimizer.float_bits import SIGN, to_bits

PERIOD = 256  # steps between measurements, after those at 0, 1, 2, 4, 8, ... 128


def exponents(
    momenta: Sequence[int8.Int8Momentum],
    gradients: Sequence[Array],
    decay: Any,
    count: ArrayLike,
) -> Int[Array, " arrays"]:
    """Returns the exponent of each array's codes after this step.

    In most steps it is the one before. In the others it is that of the new momentum's
    value which one eighth of the array's finite values other than zero reach, found by
    counting: exact for any order of summation, and deaf to outliers. An exponent of 0
    stands for an array that never had a gradient; it is measured as soon as it has one.
    """
    old = jnp.stack([m.exponent for m in momenta])
    axes = _axes_counted_over([*gradients, *(m.codes for m in momenta)], old)

    def reaching(least: Int[Array, " arrays"], i: Any) -> UInt32[Array, " arrays"]:
        counts, before = [], i
        for m, g, bound in zip(momenta, gradients, least, strict=True):
            # One array after the other, so that XLA never holds more than one new
            # momentum in 4 bytes per value.
            m, g, _ = lax.optimization_barrier((m, g, before))
            before = _count(int8.mean(m, g, decay), bound)
            counts.append(before)
        total = jnp.stack(counts)
        return lax.psum(total, axes) if axes else total

    def is_wanted(known: UInt32[Array, " arrays"]) -> Bool[Array, ""]:
        return _is_due(count) | ((old == 0) & (known > 0)).any()

    def one_pass(carry: Any) -> Any:
        # Pass 0 counts all values; passes 1 to 8 find the bits from the highest one.
        i, known, found = carry
        least = jnp.where(i == 0, 1, found | (256 >> i))
        counted = reaching(least, i)
        known = jnp.where(i == 0, counted, known)
        enough = (i > 0) & (counted >= (known >> 3) + (known % 8 > 0))
        return i + 1, known, jnp.where(enough, least, found)

    def goes_on(carry: Any) -> Bool[Array, ""]:
        i, known, _ = carry
        return (i == 0) | ((i < 9) & is_wanted(known))

    def measured() -> Int[Array, " arrays"]:
        start = jnp.int32(0), jnp.zeros_like(old, jnp.uint32), jnp.zeros_like(old)
        _, known, found = lax.while_loop(goes_on, one_pass, start)
        return jnp.where(is_wanted(known) & (known > 0), found, old)

    return lax.cond(_is_due(count) | (old == 0).any(), measured, lambda: old)


def _is_due(count: ArrayLike) -> Bool[Array, ""]:
    count = jnp.asarray(count)
    early = (count & (count - 1) == 0) & (count < PERIOD)
    return early | (count % PERIOD == 0)


def _count(values: Float32[Array, "..."], least: Int[Array, ""]) -> UInt32[Array, ""]:
    """Counts finite values whose biased exponent is at least a given one."""
    exponent = (to_bits(values) & ~SIGN) >> 23
    return jnp.sum((exponent >= least) & (exponent < 255), dtype=jnp.uint32)


def _axes_counted_over(
    values: Sequence[Array], exponents: Int[Array, " arrays"]
) -> tuple[str, ...]:
    """Returns the axes of a `jax.shard_map` that cut the values, not the exponents."""
    cut = [jax.typeof(x).manual_axis_type.varying for x in values]
    shared = jax.typeof(exponents).manual_axis_type.varying
    return tuple(sorted(frozenset().union(*cut) - shared))
