"""The byte momentum: its code, its rounding, its size, its place on the devices."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lion_jax import lion, models, scale_by_lion
from lion_jax.optimizer import int8

SHAPE = (48, 128)


def random(seed, shape=SHAPE, spread=1.0):
    """Values whose magnitudes are spread over orders of magnitude."""
    rng = np.random.default_rng(seed)
    scales = np.exp(spread * rng.normal(size=shape))
    return jnp.asarray(scales * rng.normal(size=shape), jnp.float32)


def row_maximum(x):
    return jnp.max(jnp.abs(x), axis=-1, keepdims=True)


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
    back = int8.load(int8.store(x, row_maximum(x), jnp.int32(count)))
    near = jnp.abs(x) > row_maximum(x) * 2.0**-8
    error = jnp.abs(back - x) / jnp.abs(x)
    level = int8.STEP / 2**23  # of a value whose mantissa is 1: the widest spacing
    assert jnp.max(jnp.where(near, error, 0)) <= level
    assert jnp.mean(near) > 0.5


def test_every_sign_survives_and_only_zero_is_zero():
    x = jnp.concatenate([random(0, spread=9.0), jnp.zeros((48, 8))], axis=-1)
    back = int8.load(int8.store(x, row_maximum(x), jnp.int32(5)))
    assert jnp.min(jnp.abs(x[:, :128]) / row_maximum(x)) < 2.0**-30
    np.testing.assert_array_equal(jnp.sign(back), jnp.sign(x))


def test_every_level_is_its_own_number_in_order():
    levels = jnp.arange(-127, 128, dtype=jnp.int8)
    numbers = int8.load(int8.Int8Momentum(levels, jnp.float32([3.0])))
    assert jnp.all(jnp.diff(numbers) > 0)
    assert numbers[-1] == 3
    assert numbers[127] == 0


def test_the_bound_is_a_bound_and_close():
    momentum, scale_by = scale_by_lion(mu_dtype="int8"), []
    state = momentum.init(jnp.zeros(SHAPE))
    for seed in range(120):
        g = random(seed)
        exact = 0.99 * int8.load(state.mu) + 0.01 * g
        bound = int8.decayed_bound(state.mu, g, 0.99)
        assert jnp.all(bound >= row_maximum(exact) * (1 - 1e-6))
        scale_by.append(float(jnp.max(bound / row_maximum(exact))))
        _, state = momentum.update(g, state)
    assert np.mean(scale_by[100:]) < 2  # less than one octave of 16 is wasted


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
    error = np.asarray(int8.load(state.mu)) - exact
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
    np.testing.assert_array_equal(state.mu.values, same_state.mu.values)
    np.testing.assert_array_equal(state.mu.scale * 2.0**power, same_state.mu.scale)


def test_the_direction_is_the_exact_one_of_the_stored_momentum():
    tx = scale_by_lion(mu_dtype="int8")
    state = tx.init(jnp.zeros(SHAPE))
    for seed in range(20):
        g = random(seed)
        m = np.float64(int8.load(state.mu))
        c = 0.9 * m + 0.1 * np.float64(g)
        updates, state = tx.update(g, state)
        certain = np.abs(c) > 1e-6 * (np.abs(m) + np.abs(g))
        np.testing.assert_array_equal(updates[certain], np.sign(c[certain]))


def test_signs_agree_with_float32():
    coarse, fine = scale_by_lion(mu_dtype="int8"), scale_by_lion()
    states = coarse.init(jnp.zeros(SHAPE)), fine.init(jnp.zeros(SHAPE))
    mean, agreed = random(1, spread=0.5), []
    for seed in range(150):
        g = mean * (1 + 3 * jax.random.normal(jax.random.key(seed), SHAPE))
        ours, low = coarse.update(g, states[0])
        theirs, high = fine.update(g, states[1])
        states = low, high
        agreed.append(float(jnp.mean(ours == theirs)))
    assert np.mean(agreed[100:]) > 0.96


@pytest.mark.standard_promotion("lion widens bfloat16 by jnp.promote_types")
def test_small_arrays_stay_float32_and_are_counted():
    tx = scale_by_lion(mu_dtype="int8")
    params = {"tiny": jnp.ones((64, 63)), "row": jnp.ones(64), "big": jnp.ones(SHAPE)}
    mu = tx.init(params).mu
    assert mu["tiny"].dtype == mu["row"].dtype == jnp.float32
    assert isinstance(mu["big"], int8.Int8Momentum)
    assert mu["big"].values.shape == SHAPE
    assert mu["big"].scale.shape == (48, 1)
    assert tx.init(jnp.ones((4, 8), jnp.bfloat16)).mu.dtype == jnp.float32


@pytest.mark.parametrize(
    ("name", "size"), [("vit_b16", 86_000_000), ("resnet50", 23_500_000)]
)
def test_bytes_a_parameter(name, size):
    def momentum():
        model = models.make(name, image_size=224, num_classes=10, rngs=nnx.Rngs(0))
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        return params, scale_by_lion(mu_dtype="int8").init(params).mu

    params, mu = nnx.eval_shape(momentum)
    count = sum(p.size for p in jax.tree.leaves(params))
    held = sum(m.size * m.dtype.itemsize for m in jax.tree.leaves(mu))
    assert count == pytest.approx(size, rel=0.01)
    assert held / count <= (1.07 if name == "vit_b16" else 1.03)


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
            rows = NamedSharding(mesh, PartitionSpec(*spec[:1]))
            shardings = state._replace(
                count=NamedSharding(mesh, PartitionSpec()),
                mu=int8.Int8Momentum(split, rows),
            )
            state = jax.device_put(state, shardings)
        before = jax.tree.map(lambda x: x.sharding, state)
        for g in gradients:
            params, state = step(params, state, g)
        for old, new in zip(
            jax.tree.leaves(before), jax.tree.leaves(state), strict=True
        ):
            assert new.sharding.is_equivalent_to(old, new.ndim)
    assert state.mu.values.sharding.is_equivalent_to(split, 2)
    chex.assert_trees_all_equal(jax.device_get((params, state)), expected)


def test_nan_and_infinity_are_seen():
    tx = scale_by_lion(mu_dtype="int8")
    g = jnp.ones(SHAPE).at[3, 5].set(jnp.nan).at[7, 1].set(-jnp.inf)
    updates, state = tx.update(g, tx.init(g))
    assert jnp.isnan(updates[3, 5])
    m = int8.load(state.mu)
    assert jnp.isnan(m[3, 5])
    assert m[7, 1] == -jnp.inf
    others = jnp.concatenate([m[:3], m[4:7], m[8:]])
    np.testing.assert_allclose(others, 0.01)
    updates, _ = tx.update(jnp.ones(SHAPE), state)
    assert jnp.isnan(updates[3, 5])
    np.testing.assert_array_equal(updates[3, 6:], 1)
    assert updates[7, 1] == -1
