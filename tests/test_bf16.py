"""bfloat16 weights: without help they freeze, with either wrapper they learn."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lion_jax import lion, with_error_bits, with_stochastic_rounding
from lion_jax.optimizer import bf16
from lion_jax.optimizer.float_bits import from_bits

KEY = jax.random.key(0)
TARGET = jax.random.normal(KEY, (32, 16))
START = TARGET + 0.1 * jnp.sign(jax.random.normal(jax.random.key(7), TARGET.shape))
FALLING = optax.linear_schedule(2e-3, 0.0, 150)
QUICK = lion(FALLING, b1=0.8, b2=0.9, weight_decay=0.0)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("full_compilation"),
    pytest.mark.standard_promotion("optax.apply_updates adds float32 to bfloat16"),
]


def gradient(w):
    """Of half the squared distance to the target."""
    return (w.astype(jnp.float32) - TARGET).astype(w.dtype)


def train(tx, w, steps=150, gradient=gradient):
    @jax.jit
    def step(w, state):
        updates, state = tx.update(gradient(w), state, w)
        return optax.apply_updates(w, updates), state

    state = jax.jit(tx.init)(w)
    for _ in range(steps):
        w, state = step(w, state)
    return w, state


def distance(w):
    return float(jnp.mean(jnp.abs(w.astype(jnp.float32) - TARGET)))


def test_plain_bfloat16_weights_freeze():
    tx, start = QUICK, START.astype(jnp.bfloat16)
    frozen, _ = train(tx, start)
    large = jnp.abs(start) > 1.03  # 2e-3 is less than half of their last place
    np.testing.assert_array_equal(frozen[large], start[large])
    assert distance(train(tx, START)[0]) < 0.01 < 0.05 < distance(frozen)


@pytest.mark.parametrize(
    ("wrapped", "close"),
    [
        (lambda tx: with_error_bits(tx, 16), 0.01),
        (lambda tx: with_error_bits(tx, 8), 0.01),
        (with_stochastic_rounding, 0.02),
    ],
)
@pytest.mark.parametrize("tx", [QUICK, optax.adam(FALLING)], ids=["lion", "adam"])
def test_wrapped_bfloat16_weights_learn(tx, wrapped, close):
    w, _ = train(wrapped(tx), START.astype(jnp.bfloat16))
    assert w.dtype == jnp.bfloat16
    assert distance(w) < close


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("tx", [lion(1e-3), optax.adamw(1e-3), optax.sgd(0.01, 0.9)])
def test_sixteen_error_bits_are_float32_weights(tx, jit):
    # Gradients that do not look at the weights: the weights' rounding is all there is.
    keys = jax.random.split(jax.random.key(1), 25)
    gradients = jax.vmap(lambda k: jax.random.normal(k, TARGET.shape))(keys)
    gradients = gradients.astype(jnp.bfloat16)
    exact = START.astype(jnp.bfloat16).astype(jnp.float32)
    w, wrapped = exact.astype(jnp.bfloat16), with_error_bits(tx)
    high, low = tx.init(exact), wrapped.init(w)

    def step(tx, w, state, g):
        updates, state = tx.update(g, state, w)
        return optax.apply_updates(w, updates), state

    if jit:
        step = jax.jit(step, static_argnums=0)
    for g in gradients:
        exact, high = step(tx, exact, high, g.astype(jnp.float32))
        w, low = step(wrapped, w, low, g)
        joined = bf16._join(w, low.error, 16)
        if jit:  # a fused multiply-add here and none there
            np.testing.assert_allclose(joined, exact, rtol=1e-6, atol=1e-7)
        else:
            np.testing.assert_array_equal(joined, exact)
            np.testing.assert_array_equal(w, exact.astype(jnp.bfloat16))
    assert low.error.dtype == jnp.int16


def test_eight_error_bits_are_within_their_last_place():
    w, state = train(with_error_bits(lion(1e-3), 8), START.astype(jnp.bfloat16), 30)
    exact, _ = train(lion(1e-3), START.astype(jnp.bfloat16).astype(jnp.float32), 30)
    assert state.error.dtype == jnp.int8
    joined = bf16._join(w, state.error, 8)
    np.testing.assert_allclose(joined, exact, rtol=30 * 2.0**-16, atol=1e-4)


def test_error_bits_over_all_magnitudes_and_signs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=4000) * 10.0 ** rng.uniform(-30, 30, 4000)
    x = jnp.asarray(np.concatenate([x, [0.0, -0.0, np.inf, -np.inf]]), jnp.float32)
    bits = bf16._round(x)
    w = from_bits(bits).astype(jnp.bfloat16)
    np.testing.assert_array_equal(w, x.astype(jnp.bfloat16))
    np.testing.assert_array_equal(bf16._join(w, bf16._error(x, bits, 16), 16), x)
    near = bf16._join(w, bf16._error(x, bits, 8), 8)
    np.testing.assert_allclose(near[:-2], x[:-2], rtol=2.0**-15)
    assert jnp.isnan(from_bits(bf16._round(jnp.float32(jnp.nan))))


def test_a_weight_may_cross_zero():
    tx = with_error_bits(optax.sgd(1.0))
    w = jnp.array([1e-3, -1e-3, 3.0], jnp.bfloat16)
    state = tx.init(w)
    exact = w.astype(jnp.float32)
    for g in ([1.5e-3, -1.5e-3, 3.0], [-2e-3, 1e-5, 1e-7], [1e-4, 1e-4, -1.0]):
        updates, state = tx.update(jnp.float32(g), state, w)
        w = optax.apply_updates(w, updates)
        exact = exact - jnp.float32(g)
        np.testing.assert_allclose(w, exact, rtol=0.01, atol=1e-7)
        joined = bf16._join(w, state.error, 16)
        np.testing.assert_allclose(joined, exact, rtol=1e-5, atol=1e-7)


def test_nan_is_visible():
    for wrap in (with_error_bits, with_stochastic_rounding):
        tx, w = wrap(lion(1e-3)), jnp.ones(2, jnp.bfloat16)
        g = jnp.array([jnp.nan, 1.0], jnp.bfloat16)
        updates, _ = tx.update(g, tx.init(w), w)
        w = optax.apply_updates(w, updates)
        assert jnp.isnan(w[0])
        assert jnp.isfinite(w[1])


def test_stochastic_rounding_is_unbiased_and_seeded():
    tx = with_stochastic_rounding(optax.sgd(1.0), seed=3)
    w = jnp.ones(100_000, jnp.bfloat16)
    g = jnp.full(w.shape, 2.0**-10)  # a quarter of the last place below 1
    moved = optax.apply_updates(w, tx.update(g, tx.init(w), w)[0])
    again = optax.apply_updates(w, tx.update(g, tx.init(w), w)[0])
    np.testing.assert_array_equal(moved, again)
    assert set(np.unique(np.float32(moved))) == {1 - 2.0**-8, 1.0}
    assert float(jnp.mean(moved.astype(jnp.float32))) == pytest.approx(
        1 - 2.0**-10, abs=5e-5
    )


@pytest.mark.parametrize("wrap", [with_error_bits, with_stochastic_rounding])
def test_other_leaves_pass_through(wrap):
    params = {"half": jnp.ones((8, 2), jnp.bfloat16), "full": jnp.ones(4), "n": None}
    grads = jax.tree.map(jnp.ones_like, params)
    tx, plain = wrap(lion(0.1)), lion(0.1)
    updates, state = tx.update(grads, tx.init(params), params)
    expected, _ = plain.update(grads, plain.init(params), params)
    np.testing.assert_array_equal(updates["full"], expected["full"])
    assert updates["n"] is None
    assert optax.tree.get(state, "mu")["half"].dtype == jnp.float32
    with pytest.raises(ValueError, match="params"):
        tx.update(grads, state)


@pytest.mark.parametrize("wrap", [with_error_bits, with_stochastic_rounding])
def test_sharded_equals_unsharded_to_the_bit(wrap):
    tx = wrap(lion(1e-3, mu_dtype="int8"))
    start = jnp.tile(START, (2, 8)).astype(jnp.bfloat16)

    def push(w):
        return jnp.cos(w.astype(jnp.float32) * 9).astype(w.dtype)

    expected = train(tx, start, 5, push)
    mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))
    split = jax.device_put(start, NamedSharding(mesh, PartitionSpec("data")))
    chex.assert_trees_all_equal(jax.device_get(train(tx, split, 5, push)), expected)


def test_devices_of_a_shard_map_round_their_parts_by_noise_of_their_own():
    mesh = jax.make_mesh((4,), ("d",), (AxisType.Auto,))
    tx = with_stochastic_rounding(lion(1e-3, weight_decay=0.0))
    w = jnp.ones((4, 256), jnp.bfloat16)

    def step(w):
        return tx.update(w, tx.init(w), w)[0]

    split = PartitionSpec("d")
    cut = jax.shard_map(step, mesh=mesh, in_specs=split, out_specs=split)
    rows = np.asarray(jax.jit(cut)(w))
    assert 0 < np.count_nonzero(rows[0]) < 256
    assert len(np.unique(rows, axis=0)) == 4
    # Weights that every device holds are rounded alike, as without devices.
    every = PartitionSpec()
    whole = jax.shard_map(step, mesh=mesh, in_specs=every, out_specs=every)
    np.testing.assert_array_equal(jax.jit(whole)(w), jax.jit(step)(w))


def test_wrong_bits_are_refused():
    with pytest.raises(ValueError, match="bits=12, but it must be 8 or 16"):
        with_error_bits(lion(1e-3), bits=12)
