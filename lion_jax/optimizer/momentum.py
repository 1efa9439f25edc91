"""How momenta are stored: in which dtype; all is computed in float32 or wider."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, BFloat16, Float32, Inexact

from lion_jax.optimizer import calibration, int8
from lion_jax.optimizer.float_bits import CUT, from_bits, round_to_bfloat16, to_bits
from lion_jax.optimizer.leaves import factor, is_trainable, upcast
from lion_jax.optimizer.state import LionState, QuantizedLionState

Momentum = Any  # an array, an Int8Momentum, or MaskedNode for what is not trained


def check_dtype(mu_dtype: Any) -> DTypeLike | None:
    """Returns the dtype asked for a momentum.

    Raises:
      ValueError: If it is not None, int8, or floating with at least 16 bits.
    """
    if mu_dtype is None:
        return None
    try:
        dtype = jnp.dtype(bool if isinstance(mu_dtype, jax.Array) else mu_dtype)
        known = dtype == jnp.int8 or is_wide(dtype)
    except TypeError:
        known = False
    if not known:
        raise ValueError(
            f"lion: {mu_dtype=}, but it must be a floating dtype of at least 16 bits,"
            " 'int8' or None; to optax.inject_hyperparams, which calls a type as a"
            " schedule, give its name, such as 'bfloat16'."
        )
    return mu_dtype


def is_wide(dtype: DTypeLike) -> bool:
    """Whether a dtype is floating with at least 16 bits."""
    dtype = jnp.dtype(dtype)
    return jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize >= 2


def zeros(p: ArrayLike | jax.ShapeDtypeStruct, dtype: DTypeLike | None) -> Momentum:
    """Makes the momentum of a parameter.

    Args:
      p: The parameter, or its shape and dtype.
      dtype: Of the momentum; None for the parameter's own. Complex parameters keep
        theirs. int8 holds for arrays that it pays for; the others are float32 or wider.

    Returns:
      Zeros of the parameter's shape and sharding (inside of a jit, XLA chooses that);
      MaskedNode for a parameter that is not trained.
    """
    if not is_trainable(p):
        return optax.MaskedNode()
    own = jnp.result_type(p)
    if dtype is None or jnp.issubdtype(own, jnp.complexfloating):
        return jnp.zeros_like(p, dtype=own)
    if jnp.dtype(dtype) != jnp.int8:
        return jnp.zeros_like(p, dtype=dtype)
    if int8.fits(jnp.shape(p)):
        return int8.zeros(p)
    return jnp.zeros_like(p, dtype=own if own == jnp.float64 else jnp.float32)


def first_state(params: optax.Params, dtype: DTypeLike | None) -> Any:
    """Makes the state before the first step: a count and momenta of zero."""
    mu = jax.tree.map(lambda p: zeros(p, dtype), params)
    count = jnp.zeros([], jnp.int32)
    if dtype is None or jnp.dtype(dtype) != jnp.int8:
        return LionState(count, mu)
    arrays = sum(m.dtype == jnp.int8 for m in jax.tree.leaves(mu))
    # At least one: not every format of checkpoints takes an array without values.
    return QuantizedLionState(count, mu, jnp.zeros(max(arrays, 1), jnp.int32))


def values(state: LionState | QuantizedLionState) -> optax.Updates:
    """Returns a state's momenta as floating or complex arrays."""
    if isinstance(state, LionState):
        return state.mu
    exponents = iter(state.exponents)

    def decoded(m: Array) -> Array:
        if m.dtype != jnp.int8:
            return m
        return int8.load(m, next(exponents))

    return jax.tree.map(decoded, state.mu)


def with_values(state: Any, values: optax.Updates, exponents: Any = None) -> Any:
    """Returns a state with other momenta, stored as its own are.

    Args:
      state: A `LionState` or `QuantizedLionState`.
      values: The momenta, a tree like `values(state)`.
      exponents: Of the codes, for int8 momenta.
    """
    if isinstance(state, LionState):
        mu = jax.tree.map(lambda m, x: x.astype(m.dtype), state.mu, values)
        return state._replace(mu=mu)
    each = iter(exponents)

    def encoded(m: Array, x: Array) -> Array:
        if m.dtype != jnp.int8:
            return x.astype(m.dtype)
        return int8.store(x, next(each), int8.walk(state.count))

    mu = jax.tree.map(encoded, state.mu, values)
    return state._replace(mu=mu, exponents=exponents)


def opened(state: Any, gradients: optax.Updates, b2: Any) -> Any:
    """Returns a state's momenta, int8 ones with what their codes mean.

    Args:
      state: A `LionState` or `QuantizedLionState`.
      gradients: A tree like the momenta.
      b2: The decay rate.
    """
    codes, gradients_of_codes = [], []

    def collect(g: Any, m: Any) -> None:  # m is a MaskedNode where g is no number
        if getattr(m, "dtype", None) == jnp.int8:
            codes.append(m)
            gradients_of_codes.append(upcast(g))

    jax.tree.map(collect, gradients, state.mu)
    if not codes:
        return state.mu
    before, after = calibration.exponents(
        codes, gradients_of_codes, state.exponents, b2, state.count
    )
    each, walk = zip(before, after, strict=True), int8.walk(state.count)

    def open_codes(m: Array) -> Any:
        return int8.Int8Momentum(m, *next(each), walk) if m.dtype == jnp.int8 else m

    return jax.tree.map(open_codes, state.mu)


def closed(state: Any, momenta: Any) -> Any:
    """Returns the state after a step that made these momenta."""
    leaves, structure = jax.tree.flatten(momenta, is_leaf=_is_int8)
    exponents = [m.exponent for m in leaves if _is_int8(m)]
    mu = structure.unflatten([m.codes if _is_int8(m) else m for m in leaves])
    state = state._replace(count=optax.safe_increment(state.count), mu=mu)
    return state._replace(exponents=jnp.stack(exponents)) if exponents else state


def load(m: Momentum) -> Array:
    """Returns a momentum's values in float32 or wider."""
    return int8.load(m.codes, m.exponent) if _is_int8(m) else upcast(m)


def average(old: Momentum, g: Array, b2: Any, side: Any = None) -> Momentum:
    """Returns the new momentum b2 old + (1 - b2) g, stored as the old one is.

    Args:
      old: The momentum before.
      g: The gradient, in float32 or wider.
      b2: The decay rate.
      side: If given, a bfloat16 momentum is on the side of this number where it was
        before it was rounded.
    """
    if _is_int8(old):
        return int8.average(old, g, b2)
    b2 = factor(b2, g)
    return _narrow((1 - b2) * g + b2 * load(old), old.dtype, side)


def _is_int8(m: Momentum) -> bool:
    return isinstance(m, int8.Int8Momentum)


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
        unless it is on the wrong side. Where x is this number, either is.
    """
    if side is None or jnp.dtype(dtype) != jnp.bfloat16:
        return x.astype(dtype)
    return _to_bfloat16(x.astype(jnp.float32), side.astype(jnp.float32))


@jax.custom_jvp
def _to_bfloat16(
    x: Float32[Array, "*shape"], side: Float32[Array, "*shape"]
) -> BFloat16[Array, "*shape"]:
    # Not by `lax.reduce_precision`, which XLA:CPU is slow at.
    bits = to_bits(x)
    rounded = round_to_bfloat16(bits)
    other = jnp.where(rounded > bits, rounded - (1 << CUT), rounded + (1 << CUT))
    kept = jnp.sign(from_bits(rounded) - side) == jnp.sign(x - side)
    chosen = from_bits(jnp.where(kept, rounded, other))
    return jnp.where(jnp.isnan(x), x, chosen).astype(jnp.bfloat16)


@_to_bfloat16.defjvp
def _derivative(primals: Any, tangents: Any) -> Any:
    """Rounding's derivative is 1, as of any conversion; integers would have none."""
    return _to_bfloat16(*primals), tangents[0].astype(jnp.bfloat16)
