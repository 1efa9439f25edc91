"""Gradients as a GPU's optimizer reads them with few kernels and no copies.

Nothing here changes a gradient. Most of a network's arrays are so small that a kernel
for each takes longer to launch than to run, and the gradient of a convolution's kernel
comes in another order of axes than the kernel. What each form saves was counted in
programs that XLA compiled: benchmarks/LOG.md.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

SMALL = 2**18  # values; their kernels take less than two launches


def for_few_kernels(
    inner: optax.GradientTransformationExtraArgs,
) -> optax.GradientTransformationExtraArgs:
    """Returns a transformation whose gradients are arranged on a GPU.

    It wraps the other, since a link of a chain would have a place in its state, and so
    in checkpoints.
    """

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        updates = jax.lax.platform_dependent(
            updates, cuda=_arranged, default=lambda x: x
        )
        return inner.update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _arranged(grads: PyTree[Array]) -> PyTree[Array]:
    """Makes the small gradients slices of one array for each dtype."""
    leaves, tree = jax.tree.flatten(grads)
    small: dict[Any, list[int]] = {}
    for place, leaf in enumerate(leaves):
        if leaf.size <= SMALL:
            small.setdefault(leaf.dtype, []).append(place)
        else:
            leaves[place] = _in_order(leaf)
    for places in small.values():
        flat, slices = ravel_pytree([leaves[place] for place in places])
        # Behind a barrier, or XLA would undo this.
        cut = slices(jax.lax.optimization_barrier(flat))
        for place, leaf in zip(places, cut, strict=True):
            leaves[place] = leaf
    return jax.tree.unflatten(tree, leaves)


def _in_order(leaf: Array) -> Array:
    """Has a convolution's gradient transposed before the optimizer reads it.

    XLA would do both in one kernel, which cannot write where it reads, and would copy
    parameters and momenta for it. An array of one axis has one order only.
    """
    if leaf.ndim < 4:
        return leaf
    return jax.lax.optimization_barrier(leaf.ravel()).reshape(leaf.shape)


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """As Optax's, with one sum for all arrays on a GPU, where it has one for each."""

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
    ) -> tuple[optax.Updates, optax.OptState]:
        del params
        norm = jax.lax.platform_dependent(updates, cuda=_norm, default=optax.tree.norm)
        within = norm < max_norm

        def clipped(leaf):
            smaller = (leaf / norm.astype(leaf.dtype)) * max_norm
            return jax.lax.select(within, leaf, smaller)

        return jax.tree.map(clipped, updates), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def _norm(tree: PyTree[Array]) -> Float[Array, ""]:
    """Sums rows of large arrays, and these sums with the squares of the small ones."""
    parts = [
        jnp.square(jnp.abs(leaf).astype(jnp.float32)) for leaf in jax.tree.leaves(tree)
    ]
    rows = [part.sum(-1) if part.size > SMALL else part for part in parts]
    # Behind a barrier, or XLA would sum each part by itself.
    flat = jnp.concatenate([row.ravel() for row in rows])
    return jnp.sqrt(jax.lax.optimization_barrier(flat).sum())
