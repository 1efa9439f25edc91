"""Cautious steps, three kinds of weight decay, modes: each against its formula."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lion_jax import lion, scale_by_lion
from lion_jax.optimizer import variants

pytestmark = pytest.mark.usefixtures("full_compilation")

SHAPE = (16, 24)
RNG = np.random.default_rng(0)
PARAMS = jnp.asarray(RNG.normal(size=SHAPE), jnp.float32)
GRADS = [jnp.asarray(RNG.normal(size=SHAPE), jnp.float32) for _ in range(6)]


def after(tx, params=PARAMS, grads=GRADS):
    """The state before the last gradient, and the last updates."""
    state = tx.init(params)
    for g in grads[:-1]:
        _, state = tx.update(g, state, params)
    updates, _ = tx.update(grads[-1], state, params)
    return state, np.float64(updates)


def plain_direction(grads=GRADS):
    m = np.zeros(SHAPE)
    for g in grads[:-1]:
        m = 0.99 * m + 0.01 * np.float64(g)
    return np.sign(0.9 * m + 0.1 * np.float64(grads[-1]))


@pytest.mark.slow
def test_cautious_is_the_papers_formula():
    u, g = plain_direction(), np.float64(GRADS[-1])
    kept = u * g > 0
    assert 0.5 < kept.mean() < 1
    _, ours = after(scale_by_lion(cautious=True))
    np.testing.assert_allclose(ours, u * kept / kept.mean(), rtol=1e-6)


@pytest.mark.slow
def test_cautious_keeps_zeros_and_shows_nan():
    d = variants.cautious_direction(jnp.float32([1, -1, 0, jnp.nan]), jnp.ones(4))
    assert d[0] == 4
    assert d[1] == 0
    assert d[2] == 0
    assert jnp.isnan(d[3])
    none = variants.cautious_direction(-jnp.ones(3), jnp.ones(3))
    np.testing.assert_array_equal(none, 0)
    assert variants.cautious_direction(jnp.ones(0), jnp.ones(0)).shape == (0,)


@pytest.mark.slow
def test_cautious_takes_the_mean_over_the_whole_tensor_on_any_mesh():
    mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))
    # Each device's part has another share of agreement.
    u = jnp.ones((8, 40))
    g = jnp.where(jnp.arange(40)[None] < 5 * jnp.arange(8)[:, None], 1.0, -1.0)
    expected = variants.cautious_direction(u, g)
    split = jax.device_put((u, g), NamedSharding(mesh, PartitionSpec("data")))
    ours = jax.jit(variants.cautious_direction)(*split)
    np.testing.assert_array_equal(ours, expected)
    assert float(ours.max()) == pytest.approx(320 / (5 * 28))


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("cautious_decay", [False, True])
def test_weight_decay_is_its_formula(independent, cautious_decay):
    eta, decay = 0.01, 0.3
    tx = lion(
        eta,
        weight_decay=decay,
        cautious_weight_decay=cautious_decay,
        independent_weight_decay=independent,
    )
    u, theta = plain_direction(), np.float64(PARAMS)
    pull = decay * theta * (u * theta >= 0 if cautious_decay else 1)
    expected = -eta * u - pull * (1 if independent else eta)
    _, ours = after(tx)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-8)


def test_independent_decay_does_not_see_the_learning_rate():
    tx = lion(0.0, weight_decay=0.25, independent_weight_decay=True)
    _, ours = after(tx)
    np.testing.assert_allclose(ours, -0.25 * PARAMS, rtol=1e-6)


@pytest.mark.parametrize("independent", [False, True])
def test_weight_decay_follows_its_schedule(independent):
    decay = optax.linear_schedule(0.0, 1.0, 10)
    tx = lion(0.5, weight_decay=decay, independent_weight_decay=independent)
    state, params = tx.init(PARAMS), PARAMS
    for t in range(4):
        updates, state = tx.update(jnp.zeros(SHAPE), state, params)
        factor = (1.0 if independent else 0.5) * t / 10
        np.testing.assert_allclose(updates, -factor * params, rtol=1e-6)


def test_masked_decay_also_when_cautious():
    params = {"a": PARAMS, "b": {"c": PARAMS}}
    tx = lion(
        0.0,
        weight_decay=0.5,
        independent_weight_decay=True,
        mask={"a": True, "b": False},
    )
    grads = jax.tree.map(lambda p: -p, params)
    updates, _ = tx.update(grads, tx.init(params), params)
    assert np.abs(updates["a"]).max() > 0
    np.testing.assert_array_equal(updates["b"]["c"], 0)


@pytest.mark.parametrize("mode", ["smooth", "refined"])
def test_modes_are_their_formulas(mode):
    m = np.zeros(SHAPE)
    for g in GRADS[:-1]:
        m = 0.99 * m + 0.01 * 30 * np.float64(g)
    c = 0.9 * m + 0.1 * 30 * np.float64(GRADS[-1])
    slope = {"smooth_beta": 3.0} if mode == "smooth" else {}
    expected = np.tanh(3 * c) if mode == "smooth" else np.clip(c, -1, 1)
    assert 0.1 < np.mean(np.abs(c) > 1) < 0.9
    tx = scale_by_lion(mode=mode, **slope)
    _, ours = after(tx, grads=[30 * g for g in GRADS])
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: lion(1e-3, weight_decay=0.0, cautious_weight_decay=True),
            "say how to",
        ),
        (
            lambda: lion(1e-3, weight_decay=0.0, independent_weight_decay=True),
            "say how to",
        ),
        (lambda: scale_by_lion(mode="smooth", smooth_beta=-1.0), "must be positive"),
        (
            lambda: inspect.unwrap(lion)(1e-3, mode="soft"),
            "mode='soft', but it must be one of",
        ),
        (lambda: lion(1e-3, mu_dtype="uint8"), "mu_dtype='uint8', but it must be"),
        (lambda: lion(1e-3, mu_dtype=jnp.float8_e4m3fn), "of at least 16 bits"),
    ],
)
def test_wrong_combinations_are_refused_at_construction(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("independent_weight_decay", 1e-4),  # which is a decay, and no boolean
        ("cautious_weight_decay", "no"),
        ("cautious", "no"),
    ],
)
def test_a_flag_is_a_boolean(name, value):
    with pytest.raises(TypeError, match=f"{name}={value!r}, but it must be True or"):
        inspect.unwrap(lion)(1e-3, **{name: value})
    inspect.unwrap(lion)(1e-3, **{name: np.bool_(True)})


def test_a_traced_slope_promotes_nothing():
    with jax.numpy_dtype_promotion("strict"):
        weights = jnp.ones(3, jnp.bfloat16)
        smooth = optax.inject_hyperparams(functools.partial(lion, mode="smooth"))
        tx = smooth(0.1)
        updates, _ = tx.update(weights, tx.init(weights), weights)
    assert (updates < 0).all()


@pytest.mark.slow
def test_all_variants_are_off_by_default():
    options = {"cautious": False, "cautious_weight_decay": False}
    options |= {"independent_weight_decay": False, "mode": "hard"}
    _, plain = after(lion(0.1))
    _, spelled = after(lion(0.1, **options))
    _, peer = after(optax.lion(0.1))
    chex.assert_trees_all_equal(plain, spelled, peer)
