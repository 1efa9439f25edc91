"""What the optimizer asks of a tree's leaves: dtypes, and masks for each of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Inexact


def is_trainable(x: ArrayLike | jax.ShapeDtypeStruct) -> bool:
    """Whether a leaf is a floating or complex array: others are left alone."""
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def upcast(x: ArrayLike) -> Inexact[Array, "*shape"]:
    """Returns an array that is floating, in at least float32, or complex."""
    x = jnp.asarray(x)
    is_wide = jnp.issubdtype(x.dtype, jnp.inexact) and x.dtype.itemsize >= 4
    return x if is_wide else x.astype(jnp.float32)


def as_dtype_of(x: Array, like: ArrayLike) -> Array:
    """Returns an array in the dtype of another; as it is where that has no values."""
    dtype = jnp.result_type(like)
    return x if dtype == jax.dtypes.float0 else x.astype(dtype)


def wider_dtype(x: ArrayLike, y: ArrayLike) -> DTypeLike:
    """Returns the wider of two dtypes, even where dtypes are promoted strictly."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(x, y)


def promotes_strictly() -> bool:
    """Whether JAX refuses to promote dtypes now."""
    config: Any = jax.config  # the types of jax 0.10 lack its attributes
    return config.jax_numpy_dtype_promotion == "strict"


def factor(value: Any, x: Array) -> Any:
    """Returns a number that multiplies x without any promotion of dtypes."""
    if isinstance(value, np.float64):  # a float of Python that yet has a dtype
        return float(value)
    return value if isinstance(value, int | float) else jnp.asarray(value, x.dtype)


def for_every_leaf(mask: Any, params: optax.Params) -> Any:
    """Broadcasts a prefix mask to every leaf of the parameters.

    As in Optax, a mask is a function of the parameters if all its leaves are: a pytree
    of booleans may itself be callable.
    """
    leaves = jax.tree.leaves(mask)
    if leaves and all(callable(leaf) for leaf in leaves):
        mask = mask(params)
    prefix = True if mask is None else mask
    return jax.tree.map(lambda m, p: jax.tree.map(lambda _: m, p), prefix, params)


def map_updates(f: Callable[..., Any], updates: Any, *trees: Any) -> Any:
    """Maps over updates; the result is None where the update is None."""
    return jax.tree.map(
        lambda u, *leaves: None if u is None else f(u, *leaves),
        updates,
        *trees,
        is_leaf=is_none,
    )


def is_none(x: Any) -> bool:
    """Whether a leaf is None, which stands for no update."""
    return x is None


def at(value: ArrayLike | optax.Schedule, count: ArrayLike) -> Any:
    """Returns a number, or a schedule's at this count."""
    return value(count) if callable(value) else value
