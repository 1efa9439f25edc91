"""bfloat16 training: two wrappers of any Optax optimizer.

A bfloat16 has 8 significant bits, so updates below 1/512 of a weight are rounded away:
under Lion with learning rate 1e-4 all weights above 1/32 stand still. Either the state
stores the low-order bits (error compensation), or rounding is random, so that the
expected step is right.

Both hand float32 to the inner optimizer and split its results with integer arithmetic
on their bits: a compiler may drop a round trip of floats, not one of integers. Put
them outside of everything that looks at the weights or chooses between updates. The
updates are float32; bfloat16 where dtypes are promoted strictly.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, BFloat16, Float32, Inexact, Int, PyTree

from lion_jax.optimizer.float_bits import (
    CUT,
    SIGN,
    bits_of_bfloat16,
    from_bits,
    round_to_bfloat16,
    to_bits,
)
from lion_jax.optimizer.leaves import is_none, map_updates, promotes_strictly, upcast


class ErrorBitsState(NamedTuple):
    """State of `with_error_bits`."""

    inner_state: optax.OptState
    error: PyTree[Array]  # int8 or int16, like the parameters


class StochasticRoundingState(NamedTuple):
    """State of `with_stochastic_rounding`."""

    inner_state: optax.OptState
    count: ArrayLike  # int32 scalar


def with_error_bits(
    inner: optax.GradientTransformation, bits: int = 16
) -> optax.GradientTransformationExtraArgs:
    """Stores the low-order bits of bfloat16 weights in the optimizer's state.

    With 16 bits, weight and state together are a float32, of which only a tie that is
    rounded down loses its last place; a step is that of float32 weights, to the bit if
    XLA fuses both alike. With 8 they have 16 significant bits. Other dtypes stay.

    Args:
      inner: Any optimizer, with wrappers that choose between updates, such as
        `optax.apply_if_finite`; it sees float32 weights and gradients.
      bits: 8 or 16, kept for every bfloat16 weight.

    Returns:
      A gradient transformation whose state is an `ErrorBitsState`. `update` needs
      `params`; apply its updates with `optax.apply_updates` and nothing in between.

    Raises:
      ValueError: If `bits` is neither 8 nor 16.

    Examples:
      >>> import jax.numpy as jnp, optax
      >>> from lion_jax import lion, with_error_bits
      >>> tx = with_error_bits(lion(1e-4, weight_decay=0.0))
      >>> w = jnp.ones(1, jnp.bfloat16)
      >>> state = tx.init(w)
      >>> for _ in range(40):
      ...     updates, state = tx.update(w, state, w)
      ...     w = optax.apply_updates(w, updates)
      >>> print(w)  # 40 steps too small to be seen alone
      [0.996094]

    References:
      The split as in Zamirai et al., Revisiting BFloat16 Training, 2020,
      https://arxiv.org/abs/2010.06192 (Kahan summation), on integers.
    """
    if not isinstance(bits, int) or bits not in (8, 16):
        raise ValueError(f"with_error_bits: {bits=}, but it must be 8 or 16.")
    inner = optax.with_extra_args_support(inner)
    dtype = jnp.int8 if bits == 8 else jnp.int16

    def init(params: optax.Params) -> ErrorBitsState:
        def zero(p):
            return jnp.zeros_like(p, dtype) if _is_bf16(p) else optax.MaskedNode()

        error = jax.tree.map(zero, params)
        # Not joined: the error is zero, and init may see placeholders.
        return ErrorBitsState(inner.init(jax.tree.map(_widened, params)), error)

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("params=None, but update needs the weights it rounds.")
        masters = map_updates(
            lambda _, p, e: _join(p, e, bits) if _is_bf16(p) else p,
            updates,
            params,
            state.error,
        )
        steps, inner_state = _inner_update(
            inner, updates, state.inner_state, params, masters, extra_args
        )
        targets = map_updates(_add_if_bf16, steps, params, masters)
        moves = map_updates(
            lambda u, p, t: _move(p, _round(t)) if _is_bf16(p) else u,
            steps,
            params,
            targets,
        )

        def lacking(u, p, t, old):
            if u is None or not _is_bf16(p):  # the weight stays, or is all there is
                return old
            return _error(t, _round(from_bits(bits_of_bfloat16(p)) + upcast(u)), bits)

        error = jax.tree.map(
            lacking, moves, params, targets, state.error, is_leaf=is_none
        )
        return moves, ErrorBitsState(inner_state, error)

    return optax.GradientTransformationExtraArgs(init, update)


def with_stochastic_rounding(
    inner: optax.GradientTransformation, seed: int = 0
) -> optax.GradientTransformationExtraArgs:
    """Rounds new bfloat16 weights up or down at random, so that the mean is exact.

    Args:
      inner: Any optimizer; it sees float32 weights and gradients. Leaves of other
        dtypes pass through.
      seed: Of the rounding; its results do not depend on the number of devices, but in
        a `jax.shard_map`, where each has noise of its own (if not `check_vma=False`).

    Returns:
      A gradient transformation whose state is a `StochasticRoundingState`, to be used
      as that of `with_error_bits`.

    Examples:
      See `with_error_bits`, also for the source.
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: optax.Params) -> StochasticRoundingState:
        inner_state = inner.init(jax.tree.map(_widened, params))
        return StochasticRoundingState(inner_state, jnp.zeros([], jnp.int32))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("params=None, but update needs the weights it rounds.")
        masters = map_updates(lambda _, p: _widened(p), updates, params)
        steps, inner_state = _inner_update(
            inner, updates, state.inner_state, params, masters, extra_args
        )
        targets = map_updates(_add_if_bf16, steps, params, masters)
        key = jax.random.fold_in(jax.random.key(seed), state.count)
        structure = jax.tree.structure(steps, is_leaf=is_none)
        parts = [jax.random.fold_in(key, i) for i in range(structure.num_leaves)]
        moves = map_updates(
            lambda u, p, t, k: _move(p, _round(t, _own(k, p))) if _is_bf16(p) else u,
            steps,
            params,
            targets,
            structure.unflatten(parts),
        )
        count = optax.safe_increment(state.count)
        return moves, StochasticRoundingState(inner_state, count)

    return optax.GradientTransformationExtraArgs(init, update)


def _inner_update(inner, updates, inner_state, params, masters, extra_args):
    """Runs the wrapped optimizer on float32 gradients and weights."""
    wide_updates = map_updates(
        lambda g, p: g.astype(jnp.float32) if _is_bf16(p) else g, updates, params
    )
    return inner.update(wide_updates, inner_state, masters, **extra_args)


def _is_bf16(x: ArrayLike) -> bool:
    return jnp.result_type(x) == jnp.bfloat16


def _widened(p: ArrayLike) -> ArrayLike | jax.ShapeDtypeStruct:
    """A bfloat16 leaf in float32; shapes without values are given new dtypes too."""
    if not _is_bf16(p):
        return p
    if isinstance(p, jax.ShapeDtypeStruct):
        return p.update(dtype=jnp.float32)
    return jnp.asarray(p).astype(jnp.float32)


def _add_if_bf16(step: Array, p: Array, master: Array) -> Array:
    return master + step.astype(jnp.float32) if _is_bf16(p) else p


def _own(key: Array, p: Array) -> Array:
    """A key of the device's own, where a `jax.shard_map` cuts the weights."""
    for axis in sorted(jax.typeof(p).manual_axis_type.varying):
        key = jax.random.fold_in(key, lax.axis_index(axis))
    return key


def _move(p: BFloat16[Array, "*s"], bits: Int[Array, "*s"]) -> Inexact[Array, "*s"]:
    """The update that takes a weight to the bfloat16 with these float32 bits."""
    step = from_bits(bits) - from_bits(bits_of_bfloat16(p))
    if not promotes_strictly():
        return step
    # The same, where a weight changes by less than its half; else nearly the same.
    return from_bits(_round(step)).astype(jnp.bfloat16)


def _join(
    p: BFloat16[Array, "*s"], error: Int[Array, "*s"], bits: int
) -> Float32[Array, "*s"]:
    """Puts weight and error together: magnitudes add up, the sign is the weight's."""
    whole = bits_of_bfloat16(p)
    rest = error.astype(jnp.int32) << (CUT - bits)
    magnitude = jnp.maximum((whole & ~SIGN) + rest, 0)
    return from_bits(magnitude | (whole & SIGN))


def _error(
    master: Float32[Array, "*s"], rounded: Int[Array, "*s"], bits: int
) -> Int[Array, "*s"]:
    """What a weight lacks of its master, in units of the last place kept."""
    whole = to_bits(master)
    difference = (whole & ~SIGN) - (rounded & ~SIGN)
    difference = jnp.where((whole ^ rounded) < 0, 0, difference)
    units = (difference + ((1 << (CUT - bits)) >> 1)) >> (CUT - bits)
    limit = 1 << (bits - 1)
    dtype = jnp.int8 if bits == 8 else jnp.int16
    return jnp.clip(units, -limit, limit - 1).astype(dtype)


def _round(x: Float32[Array, "*s"], key: Array | None = None) -> Int[Array, "*s"]:
    """Rounds to bfloat16, to the nearest or at random, and returns float32 bits."""
    noise = None
    if key is not None:
        noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.int32)
    rounded = round_to_bfloat16(to_bits(x), noise)
    # A NaN must not be rounded up into a sign or down into an infinity.
    return jnp.where(jnp.isnan(x), jnp.int32(0x7FC00000), rounded)
