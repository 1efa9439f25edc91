"""Max pooling: Flax's values and gradients, ties and NaN included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lion_jax.models.layers.pool import max_pool


def flaxs(x, size, stride):
    pad = (size // 2, size // 2)
    return nnx.max_pool(x, (size, size), strides=(stride, stride), padding=(pad, pad))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(16, 16), (15, 8), (5, 7), (2, 2), (1, 1)])
@pytest.mark.parametrize(("size", "stride"), [(3, 2), (3, 1), (1, 2), (5, 3)])
def test_values_and_gradients_are_flaxs(shape, size, stride):
    # Few different values, so that most windows have ties.
    rng = np.random.default_rng(0)
    x = np.float32(np.round(rng.normal(size=(3, *shape, 4))))
    rows, columns = (-(-length // stride) for length in shape)
    weights = np.float32(rng.normal(size=(3, rows, columns, 4)))

    def loss(pool):
        return lambda x: jnp.sum(weights * pool(x, size, stride))

    both = jax.jit(lambda x: (max_pool(x, size, stride), flaxs(x, size, stride)))
    np.testing.assert_array_equal(*both(x))
    grads = jax.jit(lambda x: [jax.grad(loss(pool))(x) for pool in (max_pool, flaxs)])
    np.testing.assert_allclose(*grads(x), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_nan_wins_wherever_it_stands():
    for i in range(3):
        for j in range(3):
            x = jnp.ones((1, 3, 3, 1)).at[0, i, j, 0].set(jnp.nan)
            assert jnp.isnan(max_pool(x, 3, 1)[0, 1, 1, 0])
            grad = jax.grad(lambda x: max_pool(x, 3, 1)[0, 1, 1, 0])(x)
            assert grad[0, i, j, 0] == 1
            assert grad.sum() == 1


@pytest.mark.slow
def test_bfloat16_stays():
    x = jnp.ones((1, 4, 4, 1), jnp.bfloat16)
    assert max_pool(x, 3, 2).dtype == jnp.bfloat16
    assert jax.grad(lambda x: max_pool(x, 3, 2).sum())(x).dtype == jnp.bfloat16
