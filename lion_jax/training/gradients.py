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
from jaxtyping import Array, Float, PyTree

SMALL = 2**18  # values; their kernels take less than two launches


def for_few_kernels(
    inner: optax.GradientTransformationExtraArgs,
) -> optax.GradientTransformationExtraArgs:
    """Returns a transformation whose gradients are arranged on a GPU."""

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
    leaves, tree = jax.tree.flatten(grads)
    small: dict[Any, list[int]] = {}
    for place, leaf in enumerate(leaves):
        if leaf.size <= SMALL:
            small.setdefault(leaf.dtype, []).append(place)
    for places in small.values():
        # Behind a barrier, or XLA would undo this.
        flat = jax.lax.optimization_barrier(
            jnp.concatenate([leaves[place].ravel() for place in places])
        )
        start = 0
        for place in places:
            end = start + leaves[place].size
            leaves[place] = flat[start:end].reshape(leaves[place].shape)
            start = end
    return jax.tree.unflatten(tree, map(_in_order, leaves))


def _in_order(leaf: Array) -> Array:
    """Has a convolution's gradient transposed before the optimizer reads it.

    XLA would do both in one kernel, which cannot write where it reads, and would copy
    parameters and momenta for it. An array of one axis has one order only.
    """
    if leaf.ndim < 4 or leaf.size <= SMALL:
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
