"""The int8 momentum: its code, its rounding, its size, its place on the devices."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lion_jax import lion, scale_by_lion
from lion_jax.optimizer import calibration, int8, momentum

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("full_compilation")]

SHAPE = (48, 128)


def random(seed, shape=SHAPE, spread=1.0):
    """Values whose magnitudes are spread over orders of magnitude."""
    rng = np.random.default_rng(seed)
    scales = np.exp(spread * rng.normal(size=shape))
    return jnp.asarray(scales * rng.normal(size=shape), jnp.float32)


def encoded(values, exponent, count=5):
    """Values' codes at a step's threshold, and the exponent."""
    exponent, walk = jnp.int32(exponent), int8.walk(count)
    codes = int8.store(jnp.asarray(values, jnp.float32), exponent, walk)
    return codes, exponent


def stored(state):
    """The values of a state's only momentum."""
    return momentum.values(state)


def run(tx, params, gradients):
    @jax.jit
    def step(params, state, g):
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    state = jax.jit(tx.init)(params)
    for g in gradients:
        params, state = step(params, state, g)
    return params, state


@pytest.mark.parametrize("count", [0, 1, 1000, 2**31 - 1])
def test_values_come_back_within_a_level(count):
    x = random(0)
    back = int8.load(*encoded(x, 127, count))
    fine = (jnp.abs(x) > 2.0**-int8.LOW) & (jnp.abs(x) < 2.0**int8.HIGH)
    error = jnp.abs(back - x) / jnp.abs(x)
    level = int8.STEP / 2**23  # of a value whose mantissa is 1: the widest spacing
    assert jnp.max(jnp.where(fine, error, 0)) <= level
    assert jnp.mean(fine) > 0.5
    assert jnp.max(error) < 1  # an octave


def test_every_sign_survives_and_only_zero_is_zero():
    x = jnp.concatenate([random(0, spread=9.0), jnp.zeros((48, 8))], axis=-1)
    back = int8.load(*encoded(x, 127))
    assert jnp.min(jnp.abs(x[:, :128])) < 2.0**-30
    np.testing.assert_array_equal(jnp.sign(back), jnp.sign(x))


@pytest.mark.parametrize("exponent", [60, 127, int8.LARGEST])
def test_every_level_is_its_own_number_in_order(exponent):
    codes, exponent = jnp.arange(-127, 128, dtype=jnp.int8), jnp.int32(exponent)
    numbers = int8.load(codes, exponent)
    assert jnp.all(jnp.diff(numbers) > 0)
    assert numbers[127 + int8.BOTTOM + 8 * int8.LOW] == 2.0 ** (exponent - 127)
    assert numbers[-1] == jnp.inf
    assert numbers[127] == 0
    for count in range(5):
        back = int8.store(numbers, exponent, int8.walk(count))
        np.testing.assert_array_equal(back, codes)


@pytest.mark.parametrize("exponent", [0, 1, 127, 254])
def test_no_float_overflows_the_code(exponent):
    x = [3e38, -3e38, 2e-38, -2e-38, np.inf, -np.inf, 0.0]
    back = int8.load(*encoded(x, exponent))
    np.testing.assert_array_equal(jnp.sign(back), np.sign(x))
    np.testing.assert_array_equal(jnp.isinf(back), np.isinf(x))
    assert jnp.isnan(int8.load(*encoded([jnp.nan], exponent)))


def test_rounding_is_right_on_average_at_every_spacing():
    x = random(3, (1000,), spread=4.0)
    inside = (jnp.abs(x) > 2.0**-20) & (jnp.abs(x) < 2.0 ** (int8.HIGH + int8.UP))
    backs = jax.vmap(lambda count: int8.load(*encoded(x, 127, count)))(jnp.arange(987))
    error = jnp.abs(backs.mean(0) / x - 1)
    assert jnp.max(jnp.where(inside, error, 0)) < 0.002
    assert jnp.mean(inside) > 0.7


@pytest.mark.parametrize("shape", [SHAPE, (48 * 128,), (2, 3000), (12, 8, 64)])
def test_the_exponent_is_the_rows_median_and_no_outlier_moves_it(shape):
    tx, g = scale_by_lion(mu_dtype="int8"), random(4, shape)
    _, state = tx.update(g, tx.init(g))
    largest = 0.01 * jnp.abs(calibration._in_pieces(g)).max(axis=-1)
    (exponent,) = state.exponents
    assert jnp.mean(largest >= 2.0 ** (exponent - 127)) >= 1 / 2
    assert jnp.mean(largest >= 2.0 ** (exponent - 126)) < 1 / 2
    for outlier in (jnp.inf, jnp.nan, 1e30):
        spoilt = g.at[(0,) * g.ndim].set(outlier)
        _, state = tx.update(spoilt, tx.init(g))
        assert abs(state.exponents[0] - exponent) <= 1


def test_the_exponent_follows_and_waits_for_a_first_gradient():
    tx = scale_by_lion(mu_dtype="int8")
    update, one = jax.jit(tx.update), jnp.ones(SHAPE)
    state, seen = tx.init(one), []
    for t in range(300):
        size = 0.0 if t < 3 else 1.0 if t < 150 else 2.0**-30
        _, state = update(one * size, state)
        seen.append(int(state.exponents[0]))
    assert seen[:3] == [0, 0, 0]  # no gradient yet
    assert seen[3] == 127 - 7  # 0.01
    assert seen[128] == 127 - 1  # 0.71, at a power of two
    assert seen[199] == seen[255] == seen[128]
    assert seen[256] == 127 - 2  # 0.27, at a multiple of the period


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
def test_the_momentum_does_not_freeze(noise):
    # One step moves it by up to 1 %, a fraction of a level: to the nearest it stays.
    tx = scale_by_lion(mu_dtype="int8")
    rng = np.random.default_rng(0)
    signs = jnp.asarray(rng.choice([-1.0, 1.0], SHAPE), jnp.float32)
    state, exact = tx.init(signs), np.zeros(SHAPE)
    update = jax.jit(tx.update)
    for t in range(400):
        g = (signs if t < 300 else -signs) + noise * rng.normal(size=SHAPE)
        g = jnp.asarray(g, jnp.float32)
        _, state = update(g, state)
        exact = 0.99 * exact + 0.01 * np.float64(g)
    error = np.asarray(stored(state)) - exact
    assert np.mean(np.abs(error)) < 0.15 * np.mean(np.abs(exact)) + 0.03 * noise
    assert abs(np.mean(error * signs)) < 0.02


@pytest.mark.parametrize("power", [-40, -13, 40])
def test_scaling_every_gradient_changes_nothing(power):
    gradients = [random(seed) for seed in range(30)]
    scaled = [g * 2.0**power for g in gradients]
    tx = lion(1e-3, mu_dtype="int8", weight_decay=0.1)
    params, state = run(tx, random(99), gradients)
    same, same_state = run(tx, random(99), scaled)
    np.testing.assert_array_equal(params, same)
    np.testing.assert_array_equal(state.mu, same_state.mu)
    np.testing.assert_array_equal(state.exponents + power, same_state.exponents)


def test_the_direction_is_the_exact_one_of_the_stored_momentum():
    tx = scale_by_lion(mu_dtype="int8")
    state = tx.init(jnp.zeros(SHAPE))
    for seed in range(20):
        g = random(seed)
        m = np.float64(stored(state))
        c = 0.9 * m + 0.1 * np.float64(g)
        updates, state = tx.update(g, state)
        certain = np.abs(c) > 1e-6 * (np.abs(m) + np.abs(g))
        np.testing.assert_array_equal(updates[certain], np.sign(c[certain]))


def test_signs_agree_with_float32():
    coarse, fine = scale_by_lion(mu_dtype="int8"), scale_by_lion()
    states = coarse.init(jnp.zeros(SHAPE)), fine.init(jnp.zeros(SHAPE))
    mean, agreed = random(1, spread=0.5), []

    @jax.jit
    def step(states, key):
        g = mean * (1 + 3 * jax.random.normal(key, SHAPE))
        ours, low = coarse.update(g, states[0])
        theirs, high = fine.update(g, states[1])
        return (low, high), jnp.mean(ours == theirs)

    for key in jax.random.split(jax.random.key(0), 150):
        states, share = step(states, key)
        agreed.append(float(share))
    assert np.mean(agreed[100:]) > 0.96


def test_small_arrays_stay_float32_and_every_leaf_lies_as_its_parameter():
    tx = scale_by_lion(mu_dtype="int8")
    params = {"tiny": jnp.ones((64, 63)), "row": jnp.ones(64), "big": jnp.ones(SHAPE)}
    state = tx.init(params)
    assert state.mu["tiny"].dtype == state.mu["row"].dtype == jnp.float32
    assert state.mu["big"].dtype == jnp.int8
    chex.assert_trees_all_equal_shapes(state.mu, params)
    assert state.exponents.shape == (1,)
    assert tx.init(jnp.ones((4, 8), jnp.bfloat16)).mu.dtype == jnp.float32


@pytest.mark.parametrize("axes", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("shape", [(50304,), (4, 4008), (1, 8192)])
def test_few_long_rows_that_devices_cut_are_those_of_one_device(axes, shape):
    """As biases of a vocabulary are: their pieces lie on several devices."""
    mesh = jax.make_mesh((8,), ("data",), (axes,))
    tx = lion(1e-3, mu_dtype="int8")
    g = random(0, shape)
    expected = jax.jit(tx.update)(g, tx.init(g), g)
    with jax.set_mesh(mesh):
        spec = PartitionSpec(*[None] * (len(shape) - 1), "data")
        split = jax.device_put(g, NamedSharding(mesh, spec))
        found = jax.jit(tx.update)(split, tx.init(split), split)
    chex.assert_trees_all_equal(jax.device_get(found), expected)


@pytest.mark.parametrize("axes", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("spec", [("data",), (None, "data")])
def test_sharded_equals_unsharded_to_the_bit(axes, spec):
    mesh = jax.make_mesh((8,), ("data",), (axes,))
    tx = lion(1e-3, mu_dtype="int8", cautious=True)
    gradients = [random(seed) for seed in range(5)]

    @jax.jit
    def step(params, state, g):
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    expected = random(99), tx.init(random(99))
    for g in gradients:
        expected = step(*expected, g)
    with jax.set_mesh(mesh):
        split = NamedSharding(mesh, PartitionSpec(*spec))
        params, *gradients = jax.device_put([random(99), *gradients], split)
        state = jax.jit(tx.init)(params)
        if axes == AxisType.Auto:
            everywhere = NamedSharding(mesh, PartitionSpec())
            shardings = state._replace(count=everywhere, mu=split, exponents=everywhere)
            state = jax.device_put(state, shardings)
        before = jax.tree.map(lambda x: x.sharding, state)
        for g in gradients:
            params, state = step(params, state, g)
        for old, new in zip(
            jax.tree.leaves(before), jax.tree.leaves(state), strict=True
        ):
            assert new.sharding.is_equivalent_to(old, new.ndim)
    assert state.mu.sharding.is_equivalent_to(split, 2)
    chex.assert_trees_all_equal(jax.device_get((params, state)), expected)


@pytest.mark.parametrize("ratio", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_small_values_turn_round_whatever_their_neighbours(ratio, share):
    """A share of the values is small; it changes its sign at step 50."""
    small = np.arange(64 * 64).reshape(64, 64) % 64 < 64 * share
    size = np.where(small, ratio, 1.0)
    tx = scale_by_lion(mu_dtype="int8")
    state, step = tx.init(jnp.zeros((64, 64))), jax.jit(tx.update)
    for t in range(600):
        sign = np.where(small & (t >= 50), -1.0, 1.0)
        updates, state = step(jnp.asarray(size * sign, jnp.float32), state)
    assert (np.asarray(updates)[small] < 0).all()
    assert (np.asarray(updates)[~small] > 0).all()


@pytest.mark.parametrize("outlier", [np.inf, 1e30, 1e4])
def test_one_outlier_costs_one_value(outlier):
    tx = scale_by_lion(mu_dtype="int8")
    state, step = tx.init(jnp.zeros((64, 64))), jax.jit(tx.update)
    one = jnp.ones((64, 64))
    for _ in range(20):
        _, state = step(one, state)
    before = state.exponents
    _, state = step(one.at[3, 5].set(outlier), state)
    for _ in range(150):
        updates, state = step(-one, state)
    assert (np.asarray(updates) >= 0).sum() == 1
    assert updates[3, 5] == 1
    assert abs(int(state.exponents[0] - before[0])) <= 3


def test_nan_and_infinity_are_visible():
    tx = scale_by_lion(mu_dtype="int8")
    g = jnp.ones(SHAPE).at[3, 5].set(jnp.nan).at[7, 1].set(-jnp.inf)
    updates, state = tx.update(g, tx.init(g))
    assert jnp.isnan(updates[3, 5])
    m = stored(state)
    assert jnp.isnan(m[3, 5])
    assert m[7, 1] == -jnp.inf
    others = m.at[3, 5].set(0.01).at[7, 1].set(0.01)  # one value each, no row
    np.testing.assert_allclose(others, 0.01, rtol=0.1)
    updates, _ = tx.update(jnp.ones(SHAPE), state)
    assert jnp.isnan(updates[3, 5])
    np.testing.assert_array_equal(updates[3, 6:], 1)
    assert updates[7, 1] == -1
