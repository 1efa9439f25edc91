"""The algorithm: against the oracle, against optax.lion, at its edges."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import lion_steps

from lion_jax import LionState, lion, scale_by_lion

pytestmark = pytest.mark.usefixtures("full_compilation")

STEPS = 100


def random_tree(seed, scale=1.0):
    rng = np.random.default_rng(seed)  # with jax.random, each shape is compiled

    def leaf(*shape):
        return jnp.asarray(scale * rng.normal(size=shape), jnp.float32)

    return {"w": leaf(7, 5), "deep": [leaf(3), leaf()]}


def trajectory(tx, params, gradients, *, jit):
    """All updates and states of a run of the optimizer."""

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, updates

    step = jax.jit(step) if jit else step
    state, rows = tx.init(params), []
    for grads in gradients:
        params, state, updates = step(params, state, grads)
        rows.append((updates, params, optax.tree.get(state, "mu")))
    return rows


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        {"learning_rate": 1e-3},
        {"learning_rate": 0.1, "b1": 0.95, "b2": 0.98, "weight_decay": 0.3},
        {"learning_rate": optax.linear_schedule(0.1, 0.0, 50), "weight_decay": 0.0},
        {"learning_rate": 0.1, "weight_decay": optax.linear_schedule(0.0, 1.0, 50)},
        {"learning_rate": 0.1, "mask": {"w": True, "deep": False}},
        {"learning_rate": 0.1, "b1": 0.9, "b2": 0.5},  # reads the old momentum
    ],
)
def test_equals_optax_to_the_bit(arguments, jit):
    # No interpolation of these gradients is lost in rounding, where signs may differ.
    steps = STEPS if jit else 10
    gradients = [random_tree(seed) for seed in range(1, 1 + steps)]
    ours = trajectory(lion(**arguments), random_tree(0), gradients, jit=jit)
    theirs = trajectory(optax.lion(**arguments), random_tree(0), gradients, jit=jit)
    for mine, their in zip(ours, theirs, strict=True):
        chex.assert_trees_all_equal(mine, their)


@pytest.mark.parametrize("mode", ["hard", "smooth", "refined"])
def test_modes_equal_optax(mode):
    gradients = [random_tree(seed) for seed in range(1, 20)]
    slope = {"smooth_beta": 3.0} if mode == "smooth" else {}
    ours = scale_by_lion(mode=mode, **slope)
    theirs = optax.scale_by_lion(mode=mode, **slope)
    mine = trajectory(ours, random_tree(0), gradients, jit=True)
    their = trajectory(theirs, random_tree(0), gradients, jit=True)
    chex.assert_trees_all_close(mine, their, rtol=1e-5, atol=1e-7)


@pytest.mark.standard_promotion("lion widens bfloat16 by jnp.promote_types")
@pytest.mark.parametrize("b2", [0.99, 0.9, 0.8])
@pytest.mark.parametrize("mu_dtype", ["float32", "bfloat16"])
def test_directions_are_the_float64_oracles(mu_dtype, b2):
    rng = np.random.default_rng(0)
    shape = (40, 25)
    # From a fifth of the terms down to 1e-5 of them: near the rounding of bfloat16.
    magnitudes = 10.0 ** rng.uniform(-5, 0, size=(STEPS, *shape))
    tx = scale_by_lion(b2=b2, mu_dtype=mu_dtype)
    update = jax.jit(tx.update)
    state = tx.init(jnp.zeros(shape))
    state = state._replace(mu=jnp.asarray(rng.normal(size=shape)).astype(mu_dtype))
    compared, close = 0, 0
    for size in magnitudes:
        m = np.float64(state.mu)
        nearly_cancels = -9 * m * (1 + size * rng.choice([-1, 1], shape))
        cancels = (np.abs(m) > 0.05) & (rng.random(shape) < 0.5)
        g = np.where(cancels, nearly_cancels, rng.normal(size=shape))
        g = np.clip(g, -30, 30).astype(np.float32)
        c = 0.9 * m + 0.1 * np.float64(g)
        terms = 0.9 * np.abs(m) + 0.1 * np.abs(g)
        updates, state = update(jnp.asarray(g), state)
        certain = np.abs(c) > 1e-6 * terms
        np.testing.assert_array_equal(updates[certain], np.sign(c[certain]))
        rounding = 2.0 ** -jnp.finfo(mu_dtype).nmant
        expected = b2 * m + (1 - b2) * np.float64(g)
        np.testing.assert_allclose(
            np.float64(state.mu),
            expected,
            rtol=rounding,
            atol=1e-6 * np.max(np.abs(g)),
        )
        compared += certain.sum()
        close += (certain & (np.abs(c) < 2.0**-9 * terms)).sum()
    assert compared > 0.9 * magnitudes.size
    assert close > 0.1 * magnitudes.size


def test_follows_the_float64_oracle():
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(40, 25)).astype(np.float32)
    scales = 10.0 ** rng.uniform(-12, 3, size=theta.shape)
    gradients = (rng.normal(size=(STEPS, *theta.shape)) * scales).astype(np.float32)
    eta, decay = 1e-2, 0.5
    tx = lion(eta, weight_decay=decay)
    params, state = jnp.asarray(theta), tx.init(jnp.asarray(theta))
    update = jax.jit(tx.update)
    directions, ours = [], []
    for g in gradients:
        updates, state = update(jnp.asarray(g), state, params)
        directions.append(np.sign(np.float64(-updates / eta - decay * params).round(3)))
        params = optax.apply_updates(params, updates)
        ours.append((np.asarray(params), np.asarray(optax.tree.get(state, "mu"))))
    oracle = lion_steps(theta, gradients, eta=eta, decay=decay, signs=directions)
    compared = 0
    for t, (params64, m64, c64) in enumerate(oracle):
        terms = 0.1 * np.abs(gradients[t]) + np.abs(c64)
        certain = np.abs(c64) > 1e-5 * terms  # above the rounding of its own terms
        np.testing.assert_array_equal(directions[t][certain], np.sign(c64[certain]))
        np.testing.assert_allclose(ours[t][0], params64, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ours[t][1] / scales, m64 / scales, atol=1e-5)
        compared += certain.sum()
    assert compared > 0.99 * gradients.size


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: lion(1e-3, b1=1.5), r"b1=1.5, but it must be in \[0, 1\)"),
        (lambda: lion(1e-3, b1=-0.1), "b1=-0.1"),
        (lambda: lion(1e-3, b2=1.0), "b2=1.0"),
        (lambda: lion(1e-3, b2=float("nan")), "b2=nan"),
        (lambda: lion(-1e-3), "learning_rate=-0.001, but it must be >= 0"),
        (lambda: lion(1e-3, weight_decay=-1.0), "weight_decay=-1.0"),
        (lambda: lion(1e-3, mu_dtype=jnp.int32), "mu_dtype"),
    ],
)
def test_wrong_values_are_refused_at_construction(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_zero_gradient_is_a_fixed_point_and_nan_is_visible():
    tx = scale_by_lion()
    zeros = jnp.zeros(3)
    updates, state = tx.update(zeros, tx.init(zeros))
    chex.assert_trees_all_equal(updates, zeros)
    chex.assert_trees_all_equal(state.mu, zeros)
    updates, state = tx.update(jnp.array([jnp.nan, 1.0, -0.0]), state)
    assert jnp.isnan(updates[0])
    assert jnp.isnan(state.mu[0])
    assert updates[1] == 1
    assert updates[2] == 0


def test_none_leaves_and_empty_trees():
    tx = lion(0.5, weight_decay=0.0)
    params = {"w": jnp.ones(2), "frozen": None, "empty": {}}
    grads = {"w": jnp.ones(2), "frozen": None, "empty": {}}
    updates, _ = tx.update(grads, tx.init(params), params)
    expected = {"w": -0.5 * jnp.ones(2), "frozen": None, "empty": {}}
    chex.assert_trees_all_equal(updates, expected)
    assert tx.update({}, tx.init({}), {})[0] == {}


def test_the_state_is_one_momentum_and_a_count():
    state = scale_by_lion().init(random_tree(0))
    assert isinstance(state, LionState)
    assert state._fields == ("count", "mu")
    chex.assert_trees_all_equal_shapes_and_dtypes(state.mu, random_tree(0))
    _, state = scale_by_lion().update(random_tree(1), state)
    assert state.count == 1


def test_masked_leaves_are_left_alone():
    params = random_tree(0)
    tx = optax.masked(lion(0.1), {"w": True, "deep": False})
    grads = random_tree(1)
    updates, _ = tx.update(grads, tx.init(params), params)
    chex.assert_trees_all_equal(updates["deep"], grads["deep"])
    assert not np.array_equal(updates["w"], grads["w"])


def test_hyperparameters_can_be_injected_and_changed():
    params = random_tree(0)
    tx = optax.inject_hyperparams(lion)(learning_rate=0.1, b1=0.9, weight_decay=0.0)
    state = tx.init(params)
    state.hyperparams["learning_rate"] = jnp.float32(0.25)
    updates, _ = jax.jit(tx.update)(random_tree(1), state, params)
    np.testing.assert_array_equal(np.abs(updates["w"]), 0.25)


def test_update_needs_params_for_its_decay():
    with pytest.raises(ValueError, match="update needs them"):
        lion(1e-3).update(jnp.ones(2), lion(1e-3).init(jnp.ones(2)))
