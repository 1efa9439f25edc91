"""Linear maps: Flax's bits in float32, float32 bias gradients in bfloat16."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lion_jax.models.layers.conv import conv_general_dilated
from lion_jax.models.layers.linear import Linear, Patches

ROWS, WIDTH = 64, 8


def layers(dtype):
    """Each layer beside Flax's, with the same parameters, and what they are given."""
    biases = {"bias_init": nnx.initializers.normal(1.0), "dtype": dtype}
    patches = {"strides": 4, "padding": "VALID"}
    patches["conv_general_dilated"] = conv_general_dilated
    keys = jax.random.split(jax.random.key(0))
    rows = jax.random.normal(keys[0], (ROWS, 5))
    images = jax.random.normal(keys[1], (ROWS // 4, 8, 8, 3))
    return {
        "linear": (
            Linear(5, WIDTH, rngs=nnx.Rngs(1), **biases),
            nnx.Linear(5, WIDTH, rngs=nnx.Rngs(1), **biases),
            rows,
        ),
        "patches": (
            Patches(3, WIDTH, (4, 4), rngs=nnx.Rngs(1), **biases, **patches),
            nnx.Conv(3, WIDTH, (4, 4), rngs=nnx.Rngs(1), **biases, **patches),
            images,
        ),
    }


def values_and_gradients(layer, x):
    graph, params = nnx.split(layer)

    @jax.jit
    def loss(params, x):
        y = nnx.merge(graph, params)(x)
        weights = jnp.linspace(-1, 1, y.size).reshape(y.shape)
        return (y.astype(jnp.float32) * weights).sum(), y

    (_, y), grads = jax.value_and_grad(loss, has_aux=True)(params, x)
    return y, nnx.to_pure_dict(grads)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "patches"])
def test_in_float32_they_are_flaxs_to_the_bit(name):
    ours, flaxs, x = layers(jnp.float32)[name]
    found, wanted = (values_and_gradients(layer, x) for layer in (ours, flaxs))
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "patches"])
def test_bias_gradients_in_bfloat16_are_summed_in_float32(name):
    """On a GPU; XLA:CPU sums bfloat16 in float32 by itself, so the program is read."""
    ours, _, x = layers(jnp.bfloat16)[name]
    graph, params = nnx.split(ours)

    def loss(params):
        return nnx.merge(graph, params)(x).sum(dtype=jnp.float32)

    program = jax.make_jaxpr(jax.grad(loss))(params)
    sums = [e for e in program.eqns if e.primitive.name == "reduce_sum"]
    assert [e.invars[0].aval.dtype for e in sums] == [jnp.float32] * len(sums)
    assert sums
    y, grads = values_and_gradients(ours, x)
    assert y.dtype == jnp.bfloat16
    weights = np.linspace(-1, 1, y.size, dtype=np.float64).reshape(-1, WIDTH)
    rounded = np.asarray(weights, jnp.bfloat16).astype(np.float64)
    np.testing.assert_allclose(grads["bias"], rounded.sum(0), rtol=1e-6)
