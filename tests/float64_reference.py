"""Steps of two small models in a dtype: `python float64_reference.py DTYPE OUT.npz`.

A process of its own, since 64-bit arithmetic (JAX_ENABLE_X64) and XLA's flags belong to
a whole process.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from small_models import stem

from lion_jax import models

STEPS, RATE = 4, 0.05


def losses_and_gradients(name, dtype):
    """Takes steps of plain gradient descent; returns losses and the last gradients."""
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(16, 28, 28, 3)), dtype)
    labels = jnp.asarray(rng.integers(0, 10, 16), jnp.int32)
    shape = {"image_size": 28, "num_classes": 10, "dtype": dtype}

    def make():
        if name == "stem":
            sizes = {"num_classes": 10, "channels": 3}
            return stem(**sizes, dtype=dtype, rngs=nnx.Rngs(0))
        return models.make(name, **shape, rngs=nnx.Rngs(0))

    model = nnx.eval_shape(make)  # the values are drawn below
    graph, *rest = nnx.split(model, nnx.Param, ...)
    # Values of NumPy's: JAX draws others where 64 bits are on.
    params, stats = jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.asarray(_value(path, x.shape, rng), dtype),
        [nnx.to_pure_dict(tree) for tree in rest],
    )

    @jax.jit
    def step(params, stats):
        def loss(params):
            model = nnx.merge(graph, params, stats)
            logits = model(images, train=True)
            each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return each.mean(), nnx.to_pure_dict(nnx.state(model, nnx.Param, ...)[1])

        (value, stats_after), grads = jax.value_and_grad(loss, has_aux=True)(params)
        moved = jax.tree.map(lambda p, g: p - RATE * g, params, grads)
        return value, grads, moved, stats_after

    losses = []
    for _ in range(STEPS):
        value, grads, params, stats = step(params, stats)
        losses.append(float(value))
    flat = [np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(grads)]
    return np.array(losses), np.concatenate(flat)


def _value(path, shape, rng):
    """Small numbers, around 1 for scales and variances."""
    middle = path[-1].key in ("scale", "var")
    return np.float32(middle + 0.05 * rng.normal(size=shape))


if __name__ == "__main__":
    dtype, out = sys.argv[1:]
    found = {}
    for name in ("stem", "vit_tiny"):
        losses, gradients = losses_and_gradients(name, jnp.dtype(dtype))
        found |= {f"{name} losses": losses, f"{name} gradients": gradients}
    np.savez(out, **found)
