"""Leaves that are not plain float32 matrices, gradients that are not numbers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lion_jax import lion, scale_by_lion
from lion_jax.optimizer import in_place

FLOATS = ["float32", "bfloat16", "float16"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("full_compilation"),
    pytest.mark.standard_promotion(
        "optax.apply_updates adds updates to weights of another dtype"
    ),
]


def stepped(tx, params, grads, steps=1):
    state = tx.init(params)
    for _ in range(steps):
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("mu_dtype", [None, "float32", "bfloat16", "int8"])
@pytest.mark.parametrize("gradient", FLOATS)
@pytest.mark.parametrize("parameter", FLOATS)
def test_dtypes_shapes_and_weak_types_are_those_of_the_start(
    parameter, gradient, mu_dtype
):
    params = {"w": jnp.ones((64, 64), parameter), "b": jnp.ones(3, parameter)}
    grads = jax.tree.map(lambda p: p.astype(gradient), params)
    for tx in (lion(0.1, mu_dtype=mu_dtype), scale_by_lion(mu_dtype=mu_dtype)):
        state = tx.init(params)
        updates, after = jax.eval_shape(tx.update, grads, state, params)
        kinds = [jax.tree.map(jax.typeof, tree) for tree in (state, after)]
        assert kinds[0] == jax.tree.map(lambda a: a.update(), kinds[0])
        assert str(kinds[0]) == str(kinds[1])
        assert not any(a.weak_type for a in jax.tree.leaves(kinds[1]))
        alone = gradient if tx.update.__qualname__.startswith("scale") else None
        wider = jnp.promote_types(parameter, gradient)
        assert all(u.dtype == (alone or wider) for u in jax.tree.leaves(updates))


def test_weakly_typed_parameters_give_a_strongly_typed_state():
    weak = jnp.asarray(2.0)  # as a Python number makes it
    assert weak.weak_type
    tx = lion(0.1)
    state = tx.init(weak)
    assert not state.mu.weak_type
    _, after = tx.update(weak, state, weak)
    assert not after.mu.weak_type


@pytest.mark.parametrize("mu_dtype", [None, "bfloat16"])
def test_bfloat16_is_computed_in_float32(mu_dtype):
    rng = np.random.default_rng(0)
    params = jnp.asarray(rng.normal(size=(40, 40)), jnp.bfloat16)
    tx = lion(0.1, weight_decay=0.3, mu_dtype=mu_dtype)
    update = jax.jit(tx.update)
    state = tx.init(params)
    for _ in range(20):
        g = jnp.asarray(rng.normal(size=(40, 40)), jnp.bfloat16)
        m = np.float64(state.mu)
        updates, state = update(g, state, params)
        c = 0.9 * m + 0.1 * np.float64(g)
        sure = np.abs(c) > 1e-6 * (np.abs(m) + np.abs(g))
        u = -0.1 * (np.sign(c) + 0.3 * np.float64(params))
        exact_m = 0.99 * m + 0.01 * np.float64(g)
        # One rounding to bfloat16 of each result, none on the way (0.99 stays 0.99).
        np.testing.assert_allclose(
            np.float64(updates)[sure], u[sure], rtol=2.0**-8 * 1.01, atol=0
        )
        np.testing.assert_allclose(np.float64(state.mu), exact_m, rtol=2.0**-7)


def test_complex_parameters_have_a_sign_for_each_part():
    p = jnp.array([1 + 1j, 2 - 1j, 0j, 3j], jnp.complex64)
    g = jnp.array([3 - 4j, -1e-9 + 0j, 0j, -2j], jnp.complex64)
    expected = np.array([1 - 1j, -1, 0, -1j])
    for mu_dtype in (None, "bfloat16", "int8"):
        tx = scale_by_lion(mu_dtype=mu_dtype)
        updates, state = tx.update(g, tx.init(p))
        np.testing.assert_array_equal(updates, expected)
        assert state.mu.dtype == jnp.complex64
        np.testing.assert_allclose(state.mu, 0.01 * g, rtol=1e-5)
    both = lion(0.5, cautious=True, cautious_weight_decay=True, weight_decay=0.1)
    new, _ = stepped(both, p, g)
    assert new.dtype == jnp.complex64
    parts = jnp.stack([p.real, p.imag]), jnp.stack([g.real, g.imag])
    apart = [stepped(both, p, g)[0] for p, g in zip(*parts, strict=True)]
    np.testing.assert_array_equal(new, apart[0] + 1j * apart[1])


@pytest.mark.parametrize("mu_dtype", [None, "bfloat16", "int8"])
def test_integers_and_booleans_are_left_alone(mu_dtype):
    params = {
        "w": jnp.ones((64, 64)),  # large enough for int8
        "steps": jnp.int32(2**24 + 1),  # not a float32
        "on": jnp.array([True, False]),
    }

    def loss(p):
        return jnp.sum(p["w"] ** 2)

    grads = jax.grad(loss, allow_int=True)(params)
    assert grads["on"].dtype == jax.dtypes.float0
    tx = scale_by_lion(mu_dtype=mu_dtype)
    updates, _ = tx.update(grads, tx.init(params))
    assert not updates["on"].any()
    updates, _ = tx.update(params, tx.init(params))
    chex.assert_trees_all_equal_dtypes(updates, params)
    assert not updates["steps"].any()
    tx = optax.chain(lion(0.5, weight_decay=1.0, mu_dtype=mu_dtype))
    new, state = jax.jit(
        lambda p: stepped(tx, p, jax.grad(loss, allow_int=True)(p), 3)
    )(params)
    np.testing.assert_array_equal(new["steps"], params["steps"])
    np.testing.assert_array_equal(new["on"], params["on"])
    chex.assert_trees_all_equal_dtypes(new, params)
    assert new["w"][0, 0] < 1
    # The count and one momentum, with its exponent.
    assert len(jax.tree.leaves(state)) == 2 + (mu_dtype == "int8")


def test_votes_as_gradients_keep_betas_that_are_traced():
    tx, weights = optax.inject_hyperparams(lion)(0.1), jnp.ones(2)
    state = tx.init(weights)
    for votes in ([1, -1], [1, -1], [-1, 1]):
        _, state = tx.update(jnp.array(votes), state, weights)
    mu = state.inner_state.mu
    np.testing.assert_allclose(mu, [0.009701, -0.009701], rtol=1e-4)


def test_a_complex_leaf_beside_numbers_that_are_injected():
    params = {"a": jnp.ones(2, jnp.complex64), "w": jnp.ones(2)}
    tx = optax.inject_hyperparams(lion)(0.1)
    said = r"; with optax\.inject_hyperparams set hyperparam_dtype=jnp\.float32"
    with pytest.raises(TypeError, match=said):
        tx.update(params, tx.init(params), params)
    tx = optax.inject_hyperparams(lion, hyperparam_dtype=jnp.float32)(0.1)
    updates, _ = tx.update(params, tx.init(params), params)
    assert (updates["w"] < 0).all()


def test_a_number_that_is_injected_in_the_dtype_of_bfloat16_weights():
    """In which 0.999 is 1."""
    weights = jnp.ones(2, jnp.bfloat16)
    said = r"b2=.* in \[0, 1\); with optax\.inject_hyperparams set hyperparam_dtype="
    with pytest.raises(ValueError, match=said):
        optax.inject_hyperparams(lion)(0.1, b2=0.999).init(weights)
    injected = optax.inject_hyperparams(lion, hyperparam_dtype=jnp.float32)
    assert injected(0.1, b2=0.999).init(weights).hyperparams["b2"] < 1


def test_the_sign_is_read_from_no_float8():
    """The new momentum is rounded by more than what c is here."""
    tx, weights = scale_by_lion(), jnp.ones(1, jnp.float8_e4m3fn)
    state = tx.init(weights)._replace(mu=jnp.array([1.75], jnp.float8_e4m3fn))
    updates, _ = tx.update(jnp.array([-16.0]), state)
    assert updates == -1  # of 0.9 x 1.75 - 0.1 x 16


def test_none_masked_scalar_and_empty_leaves():
    params = {
        "none": None,
        "masked": optax.MaskedNode(),
        "scalar": jnp.float32(1.0),
        "empty": jnp.zeros((0, 64)),
        "nothing": {},
    }
    for mu_dtype in (None, "int8"):
        tx = lion(0.5, mu_dtype=mu_dtype, cautious=True, weight_decay=0.0)
        new, _ = stepped(tx, params, params)
        assert new["none"] is None
        assert isinstance(new["masked"], optax.MaskedNode)
        assert new["scalar"] == 0.5
        assert new["empty"].shape == (0, 64)
        assert new["nothing"] == {}


def test_float64_stays_float64():
    with jax.enable_x64(True):
        params = jnp.asarray(np.random.default_rng(0).normal(size=(64, 64)))
        assert params.dtype == jnp.float64
        grads = jnp.cos(9 * params)
        new, state = stepped(lion(0.1, weight_decay=0.3), params, grads, 5)
        assert state.mu.dtype == new.dtype == jnp.float64
        exact = np.asarray(params)
        for _ in range(5):  # a constant gradient: its sign is the direction
            exact = exact - 0.1 * (np.sign(grads) + 0.3 * exact)
        np.testing.assert_allclose(new, exact, rtol=1e-14)
        for mu_dtype in ("float32", "bfloat16", "int8"):
            tx = lion(0.1, mu_dtype=mu_dtype, weight_decay=0.3)
            new, _ = stepped(tx, params, grads, 5)
            np.testing.assert_allclose(new, exact, rtol=1e-14)


@pytest.mark.parametrize("mu_dtype", [None, "bfloat16", "int8"])
def test_nan_and_infinity_are_visible_and_apply_if_finite_works_around(mu_dtype):
    params, good = jnp.ones((64, 64)), jnp.ones((64, 64))
    for bad in (jnp.nan, jnp.inf):
        tx = lion(0.1, mu_dtype=mu_dtype)
        _, state = tx.update(good.at[2, 3].set(bad), tx.init(params), params)
        updates, _ = tx.update(good * -1, state, params)
        assert jnp.isnan(updates[2, 3]) or bad == jnp.inf
        assert updates[2, 3] != 0.1 * (1 - 1e-3)
        assert jnp.isfinite(updates[4:]).all()
    guarded = optax.apply_if_finite(lion(0.1, mu_dtype=mu_dtype), 3)
    state = guarded.init(params)
    updates, after = guarded.update(good.at[2, 3].set(jnp.nan), state, params)
    np.testing.assert_array_equal(updates, 0)
    chex.assert_trees_all_equal(after.inner_state, state.inner_state)


def test_learning_rate_zero_moves_nothing_but_the_momentum():
    params = jnp.arange(5.0)
    new, state = stepped(lion(0.0, weight_decay=1.0), params, jnp.ones(5), 3)
    np.testing.assert_array_equal(new, params)
    assert jnp.all(state.mu > 0)


@pytest.mark.parametrize("mu_dtype", [None, "bfloat16"])
@pytest.mark.parametrize("axes", [AxisType.Auto, AxisType.Explicit])
def test_sharded_equals_unsharded_to_the_bit(axes, mu_dtype):
    mesh = jax.make_mesh((8,), ("data",), (axes,))
    tx = lion(
        1e-2,
        mu_dtype=mu_dtype,
        cautious=True,
        cautious_weight_decay=True,
        mask={"w": True, "b": False},
    )
    key = jax.random.key(0)
    params = {"w": jax.random.normal(key, (64, 24)), "b": jnp.ones(16)}
    grads = jax.tree.map(lambda p: jnp.cos(7 * p), params)

    @jax.jit
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def run(params, grads):
        state = jax.jit(tx.init)(params)
        placed = jax.tree.map(lambda p: p.sharding, params)
        state = state._replace(mu=jax.device_put(state.mu, placed))
        for _ in range(4):
            params, new = step(params, state, grads)
            for old, now in zip(*map(jax.tree.leaves, (state.mu, new.mu)), strict=True):
                assert now.sharding.is_equivalent_to(old.sharding, now.ndim)
            state = new
        return params, state

    expected = run(params, grads)
    with jax.set_mesh(mesh):
        split = NamedSharding(mesh, PartitionSpec("data"))
        ours = run(*jax.device_put((params, grads), split))
    chex.assert_trees_all_equal(jax.device_get(ours), expected)


@pytest.mark.parametrize("mu_dtype", [None, "bfloat16", "float16", "int8"])
def test_zero_momentum_and_gradient_are_a_zero_step(mu_dtype):
    tx, zero = scale_by_lion(mu_dtype=mu_dtype), jnp.zeros((64, 64))
    updates, state = tx.update(zero, tx.init(zero))
    np.testing.assert_array_equal(updates, 0)
    np.testing.assert_array_equal(tx.update(zero, state)[0], 0)


@pytest.mark.parametrize("mu_dtype", [None, "bfloat16", "int8"])
def test_equal_betas_take_an_infinite_gradient_as_a_sign(mu_dtype):
    # c is the new momentum itself: no infinity is multiplied by b2/b1 - 1 = 0.
    g = jnp.ones((64, 64)).at[2, 3].set(jnp.inf).at[4, 5].set(-jnp.inf)
    tx = scale_by_lion(b1=0.9, b2=0.9, mu_dtype=mu_dtype)
    updates, _ = tx.update(g, tx.init(g))
    assert updates[2, 3] == 1
    assert updates[4, 5] == -1
    assert jnp.isfinite(updates).all()


@pytest.mark.parametrize("mu_dtype", [None, "bfloat16", "int8"])
@pytest.mark.parametrize("power", [-100, 100])
def test_updates_do_not_depend_on_the_gradients_scale(mu_dtype, power):
    tx, rng = lion(1e-3, mu_dtype=mu_dtype), np.random.default_rng(0)
    w = jnp.ones((64, 64))
    one, other = tx.init(w), tx.init(w)
    for _ in range(5):
        g = jnp.asarray(rng.normal(size=w.shape), jnp.float32)
        expected, one = tx.update(g, one, w)
        found, other = tx.update(g * np.float32(2.0**power), other, w)
        np.testing.assert_array_equal(found, expected)
    if mu_dtype == "int8":
        np.testing.assert_array_equal(one.mu, other.mu)
        np.testing.assert_array_equal(one.exponents + power, other.exponents)


def test_xlas_flags_are_read_at_construction(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    outside = in_place.Interpolation.of(0.9, 0.99)
    monkeypatch.setenv("XLA_FLAGS", f"--xla_backend_extra_options={in_place.ONE_LOOP}")
    within = in_place.Interpolation.of(0.9, 0.99)
    assert (outside.one_loop, within.one_loop) == (False, True)
    g, old, new = jnp.float32(0.0), jnp.float32(3.0), jnp.float32(5.0)
    assert outside(g, old, new) == 5
    np.testing.assert_allclose(within(g, old, new), 0.9 * 3)
