"""Laws of Lion that hold for all gradients, sought to be broken by hypothesis."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lion_jax import lion, scale_by_lion

pytestmark = pytest.mark.usefixtures("full_compilation")

SHAPE = (4, 6)
# Normal float32 numbers: twice 2**40 away from overflow and from being flushed to 0.
NUMBERS = st.floats(-(2.0**20), 2.0**20, width=32, allow_subnormal=False)
LARGE_ENOUGH = NUMBERS.map(lambda x: x if abs(x) > 2.0**-60 else 0.0)
GRADIENTS = hnp.arrays(np.float32, (5, *SHAPE), elements=LARGE_ENOUGH)
quick = settings(max_examples=40, deadline=None)


@jax.jit
def directions(gradients):
    tx = scale_by_lion()

    def step(state, g):
        u, state = tx.update(g, state)
        return state, (u, state.mu)

    _, rows = jax.lax.scan(step, tx.init(gradients[0]), gradients)
    return rows


def after(eta, decay, theta, gradients):
    tx = lion(eta, weight_decay=decay)

    def step(carry, g):
        theta, state = carry
        updates, state = tx.update(g, state, theta)
        return (optax.apply_updates(theta, updates), state), theta

    (last, _), rows = jax.lax.scan(step, (theta, tx.init(theta)), gradients)
    return jnp.concatenate([rows, last[None]])


@quick
@given(GRADIENTS, st.integers(-40, 40))
def test_a_power_of_two_in_the_gradients_changes_no_update(gradients, power):
    u, m = directions(gradients)
    scaled_u, scaled_m = directions(gradients * np.float32(2.0**power))
    np.testing.assert_array_equal(u, scaled_u)
    np.testing.assert_array_equal(m * np.float32(2.0**power), scaled_m)


@quick
@given(GRADIENTS)
def test_opposite_gradients_give_opposite_updates(gradients):
    u, m = directions(gradients)
    chex.assert_trees_all_equal(directions(-gradients), (-u, -m))


@pytest.mark.slow
@quick
@given(GRADIENTS, st.floats(2.0**-20, 1.0, width=32))
def test_every_step_has_the_length_of_the_learning_rate(gradients, eta):
    tx = lion(eta, weight_decay=0.0)
    state, theta = tx.init(gradients[0]), jnp.zeros(SHAPE)
    m = np.zeros(SHAPE)
    for g in gradients:
        c = 0.9 * m + 0.1 * np.float64(g)
        updates, state = tx.update(g, state, theta)
        length = np.abs(updates)
        assert set(np.unique(length)) <= {np.float32(0), np.float32(eta)}
        moved = np.abs(c) > 1e-5 * (np.abs(m) + np.abs(g))
        np.testing.assert_array_equal(length[moved], np.float32(eta))
        np.testing.assert_array_equal(length[(m == 0) & (g == 0)], 0)
        m = np.float64(state.mu)


@pytest.mark.slow
@quick
@given(
    hnp.arrays(np.float32, SHAPE, elements=st.floats(-1, 1, width=32)),
    GRADIENTS,
    st.floats(2.0**-7, 1.0, width=32),
    st.floats(0.125, 1.0, width=32),
)
def test_with_decay_no_weight_leaves_one_over_lambda(theta, gradients, eta, decay):
    # eta lambda <= 1, so a step is an average of theta and of +-1/lambda.
    thetas = jax.jit(after)(
        jnp.float32(eta), jnp.float32(decay), theta / decay, gradients
    )
    assert np.max(np.abs(thetas)) <= (1 + 1e-5) / decay


@pytest.mark.slow
@settings(quick, max_examples=15)
@given(GRADIENTS)
def test_the_tree_does_not_matter(gradients):
    tx = lion(0.1, weight_decay=0.3)
    theta = jnp.linspace(-1, 1, 24).reshape(SHAPE)
    apart = {"rows": list(theta), "deep": {"all": theta, "none": None}}
    states = tx.init(theta), tx.init(apart)
    for g in gradients:
        tree = {"rows": list(g), "deep": {"all": g, "none": None}}
        whole, first = tx.update(g, states[0], theta)
        parts, second = tx.update(tree, states[1], apart)
        states = first, second
        np.testing.assert_array_equal(jnp.stack(parts["rows"]), whole)
        np.testing.assert_array_equal(parts["deep"]["all"], whole)
