"""Signs on their way between devices: two bits each, four to a byte.

Lion's direction is -1, 0, 1 or NaN, so what one device knows of it reaches the others
in a sixteenth of its float32 bytes, and exactly.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, UInt8

PER_BYTE = 4
NAN = 2  # 0 and 1 are themselves, 3 is -1: as in two's complement


def gather(direction: Array, axis: int, whole: NamedSharding) -> Array:
    """Returns a direction on all devices, of which each has a part; traced.

    Args:
      direction: -1, 0, 1 or NaN in each value.
      axis: Along which it is divided evenly.
      whole: A copy on every device.
    """
    if not jnp.issubdtype(direction.dtype, jnp.floating):
        return jax.lax.with_sharding_constraint(direction, whole)
    along = packable(direction.shape, axis, whole.mesh.size)
    sent = codes(direction) if along is None else packed(direction, along)
    sent = jax.lax.with_sharding_constraint(sent, whole)
    # Behind a barrier, or XLA would unpack before it sends.
    sent = jax.lax.optimization_barrier(sent)
    got = values(sent) if along is None else unpacked(sent, along)
    return got.astype(direction.dtype)


def packable(shape: tuple[int, ...], axis: int, parts: int) -> int | None:
    """Returns the last axis of which each part has whole bytes, or None."""
    lengths = [n // parts if i == axis else n for i, n in enumerate(shape)]
    whole = [i for i, n in enumerate(lengths) if n % PER_BYTE == 0]
    return whole[-1] if whole else None


def codes(direction: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """Returns the two bits that stand for each value, in a byte."""
    known = jnp.nan_to_num(direction).astype(jnp.int8).astype(jnp.uint8) & 3
    return jnp.where(jnp.isnan(direction), jnp.uint8(NAN), known)


def values(codes: UInt8[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns what `codes` stand for, in float32."""
    signed = jnp.where(codes == 3, jnp.float32(-1), codes.astype(jnp.float32))
    return jnp.where(codes == NAN, jnp.float32(jnp.nan), signed)


def packed(direction: Float[Array, "..."], axis: int) -> UInt8[Array, "..."]:
    """Puts four neighbours along an axis into a byte."""
    shape = direction.shape
    split = *shape[:axis], shape[axis] // PER_BYTE, PER_BYTE, *shape[axis + 1 :]
    each = codes(direction).reshape(split)
    return functools.reduce(
        jnp.bitwise_or,
        (
            jax.lax.index_in_dim(each, i, axis + 1, keepdims=False) << jnp.uint8(2 * i)
            for i in range(PER_BYTE)
        ),
    )


def unpacked(bytes_: UInt8[Array, "..."], axis: int) -> Float[Array, "..."]:
    """Returns what `packed` put into bytes, in float32."""
    each = [(bytes_ >> jnp.uint8(2 * i)) & jnp.uint8(3) for i in range(PER_BYTE)]
    shape = bytes_.shape
    joined = *shape[:axis], shape[axis] * PER_BYTE, *shape[axis + 1 :]
    return values(jnp.stack(each, axis + 1).reshape(joined))
