"""Layer normalisation: Flax's numbers, summed in few sweeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lion_jax.models.layers import layer_norm
from lion_jax.models.layers.layer_norm import LayerNorm

FEATURES = 5
SCALE = np.float32([0.5, 1.5, -1.0, 2.0, 0.0])
BIAS = np.float32([0.1, -0.2, 0.3, 0.0, 1.0])
SHAPES = [(4, FEATURES), (4, 3, FEATURES), (2, 2, 3, FEATURES)]


def made(kind, dtype=jnp.float32):
    norm = kind(FEATURES, epsilon=1e-6, dtype=dtype, rngs=nnx.Rngs(0))
    norm.scale[...], norm.bias[...] = jnp.asarray(SCALE), jnp.asarray(BIAS)
    return norm


def with_gradients(norm, x, g):
    """A norm's result and the gradients of its parameters and its input."""
    graph, params = nnx.split(norm)
    y, vjp = jax.vjp(lambda params, x: nnx.merge(graph, params)(x), params, x)
    return [y, *jax.tree.leaves(vjp(g))]


def batch(shape, dtype=jnp.float32):
    x, g = jax.random.normal(jax.random.key(0), (2, *shape))
    return (2 + 3 * x).astype(dtype), g.astype(dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_and_gradients_are_flaxs(shape):
    mine = with_gradients(made(LayerNorm), *batch(shape))
    theirs = with_gradients(made(nnx.LayerNorm), *batch(shape))
    for a, b in zip(mine, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_rounded_once():
    x, g = batch(SHAPES[1], jnp.bfloat16)
    exact = with_gradients(made(LayerNorm), *map(jnp.float32, (x, g)))
    mine = with_gradients(made(LayerNorm, jnp.bfloat16), x, g)
    kinds = jnp.bfloat16, jnp.float32, jnp.float32, jnp.bfloat16
    for a, b, kind in zip(mine, exact, kinds, strict=True):
        assert a.dtype == kind
        np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_gpus_sums_are_the_same(shape):
    sums = layer_norm._at_once(*batch(shape)), layer_norm._by_image(*batch(shape))
    for a, b in zip(*sums, strict=True):
        assert a.shape == (FEATURES,)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_gpu_sums_each_image_first_and_a_cpu_all_at_once():
    graph, params = nnx.split(made(LayerNorm))

    def loss(params, x):
        return nnx.merge(graph, params)(x).sum()

    traced = jax.jit(jax.grad(loss)).trace(params, batch(SHAPES[1])[0])
    of_images = "(tensor<4x5xf32>, tensor<4x5xf32>)"
    for platform, times in ("cpu", 0), ("cuda", 1):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert text.count(of_images) == times
