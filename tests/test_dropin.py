"""What users of optax.lion do beside a plain loop: trees, dtypes, betas, states."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from orbax.checkpoint import v1 as ocp

import lion_jax
from lion_jax import LionState, lion, scale_by_lion, with_ema, with_error_bits
from lion_jax import with_stochastic_rounding as rounded

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("full_compilation")]


@jax.tree_util.register_pytree_node_class
class Layer:
    """A model as Equinox makes them: a pytree that can be called."""

    def __init__(self, w, b):
        self.w, self.b = w, b

    def __call__(self, x):
        return x @ self.w + self.b

    def tree_flatten(self):
        return (self.w, self.b), None

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls(*children)


def random(seed, shape=(64, 64)):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def trained(tx, params, state, seeds):
    for seed in seeds:
        grads = jax.tree.map(lambda p, seed=seed: random(seed, p.shape), params)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


# ----------------------------------------------------------------------------- trees


def test_a_mask_that_is_a_callable_pytree_is_a_mask():
    model = Layer(jnp.ones((2, 2)), jnp.ones(2))
    tx = lion(0.1, weight_decay=0.5, mask=jax.tree.map(lambda p: p.ndim > 1, model))
    zeros = jax.tree.map(jnp.zeros_like, model)
    updates, _ = tx.update(zeros, tx.init(model), model)
    np.testing.assert_allclose(updates.w, -0.05, rtol=1e-6)
    np.testing.assert_array_equal(updates.b, 0)


def averaging(tx):
    return with_ema(tx, 0.5)


@pytest.mark.parametrize("wrap", [lambda tx: tx, with_error_bits, rounded, averaging])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("body", [jnp.ones((4, 4)), {"deep": [jnp.ones(2)]}])
def test_no_gradient_for_a_frozen_part_gives_no_update(wrap, dtype, body):
    head = jnp.ones(3, dtype)
    params, grads = {"head": head, "body": body}, {"head": head, "body": None}
    tx = wrap(lion(0.125, weight_decay=0.5))
    updates, _ = jax.jit(tx.update)(grads, tx.init(grads), params)
    assert updates["body"] is None
    np.testing.assert_allclose(updates["head"], -0.1875, rtol=1e-6)


@pytest.mark.parametrize("wrap", [with_error_bits, rounded, averaging])
def test_a_step_without_a_gradient_loses_no_state(wrap):
    """Of an optimizer that takes None where its `init` saw weights."""
    params = {
        "a": jnp.ones(3, jnp.bfloat16),
        "b": {"c": jnp.full(2, 1.5, jnp.bfloat16)},
    }
    tx = wrap(optax.sgd(0.251))
    state = tx.init(params)
    grads = jax.tree.map(jnp.ones_like, params)
    with jax.numpy_dtype_promotion("standard"):
        _, first = tx.update(grads, state, params)
        frozen = {"a": 2 * grads["a"], "b": {"c": None}}
        _, second = tx.update(frozen, first, params)
        tx.update(grads, second, params)
    chex.assert_trees_all_equal_structs(second, state)
    assert not jnp.array_equal(*(jax.tree.leaves(s)[0] for s in (first, second)))
    own = list(zip(*map(jax.tree.leaves, (first, second)), strict=True))
    kept = [a for a, b in own if a.shape == (2,) and jnp.array_equal(a, b)]
    assert len(kept) == (wrap is not rounded)


# ---------------------------------------------------------------------------- dtypes


@pytest.mark.standard_promotion("an int8 momentum is float32 beside float64")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_numbers_of_numpy_are_as_those_of_python(dtype):
    """Also float64, which is a float of Python and yet has a dtype."""
    with jax.enable_x64(True):
        g = jnp.asarray(np.random.default_rng(0).normal(size=(64, 64)), dtype)

        def stepped(number):
            tx = lion(number(1e-3), b2=number(0.99), mu_dtype="int8")
            _, state = tx.update(g, tx.init(g), g)
            return tx.update(-g, state, g)

        chex.assert_trees_all_equal(stepped(np.float64), stepped(float))


def test_traced_betas_and_numpys_suit_complex_weights_under_strict_promotion():
    w = jnp.ones(3, jnp.complex64)
    with jax.numpy_dtype_promotion("strict"):
        traced = jax.jit(lambda b1, b2: scale_by_lion(b1, b2).update(w, start, w)[0])
        start = scale_by_lion().init(w)
        expected = scale_by_lion().update(w, start, w)[0]
        np.testing.assert_array_equal(traced(0.9, 0.99), expected)
        found = scale_by_lion(b2=np.float64(0.99)).update(w, start, w)[0]
        np.testing.assert_array_equal(found, expected)


def test_numbers_of_jax_are_checked_where_they_have_a_value():
    with pytest.raises(ValueError, match=r"lion: b1=.*must be"):
        lion(1e-3, b1=jnp.float32(2.0))
    with pytest.raises(ValueError, match=r"learning_rate=.*must be >= 0"):
        lion(jnp.float32(-1.0))
    jax.jit(lambda b1: lion(1e-3, b1=b1).init(jnp.ones(2)))(2.0)


@pytest.mark.parametrize("mu_dtype", [None, "bfloat16"])
def test_derivatives_through_updates_are_those_of_optax(mu_dtype):
    """As in meta-learning; rounding to bfloat16 has the derivative 1."""

    def two_steps(g, make):
        tx = make(mu_dtype=mu_dtype, mode="smooth")
        _, state = tx.update(g, tx.init(g), g)
        return tx.update(jnp.full_like(g, 0.2), state, g)[0].sum()

    g = jnp.full(4, 0.03)
    for derivative in (jax.grad, jax.jacfwd):
        found, theirs = (
            derivative(two_steps)(g, make)
            for make in (scale_by_lion, optax.scale_by_lion)
        )
        np.testing.assert_allclose(found, theirs, rtol=0.01)
        assert jnp.all(found > 0.008)


@pytest.mark.parametrize("betas", [(0.9, 0.9), (0.0, 0.9), (0.9, 0.99)])
def test_derivatives_by_the_betas_are_those_of_optax(betas):
    g, m = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.3, 0.1, -0.2])

    def step(make):
        def total(b1, b2):
            tx = make(b1, b2, mode="smooth")
            return tx.update(g, tx.init(g)._replace(mu=m))[0].sum()

        return jax.grad(total, (0, 1))(*betas)

    np.testing.assert_allclose(
        step(scale_by_lion), step(optax.scale_by_lion), rtol=1e-5
    )


def test_traced_betas_are_float64_where_jax_has_it():
    with jax.enable_x64(True):
        m, off = jnp.ones(4), jnp.array([1e-8, 1e-9, -1e-8, -1e-9])
        tx = optax.inject_hyperparams(scale_by_lion)()
        state = tx.init(m)
        state = state._replace(inner_state=state.inner_state._replace(mu=m))
        found, _ = jax.jit(tx.update)(-9 * m * (1 + off), state)
    np.testing.assert_array_equal(found, [-1, -1, 1, 1])


@pytest.mark.parametrize("mode", ["smooth", "refined"])
def test_where_more_than_a_sign_is_used_a_bfloat16_momentum_is_read_unrounded(mode):
    rng = np.random.default_rng(0)
    m = jnp.asarray(rng.normal(size=1000), jnp.bfloat16)
    g = jnp.asarray(rng.normal(size=1000) * 5, jnp.float32)
    tx = scale_by_lion(mu_dtype="bfloat16", mode=mode)
    found, _ = tx.update(g, tx.init(g)._replace(mu=m))
    c = 0.9 * np.float64(m) + 0.1 * np.float64(g)
    wanted = np.tanh(c) if mode == "smooth" else np.clip(c, -1, 1)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "complex64", "float32"])
@pytest.mark.parametrize(
    "tx",
    [
        lion(1e-3),
        lion(optax.constant_schedule(1e-3), weight_decay=np.float32(0.1)),
        lion(1e-3, cautious=True, cautious_weight_decay=True),
        lion(1e-3, mode="smooth", smooth_beta=2.0),
        lion(1e-3, mu_dtype="int8"),
        with_error_bits(lion(1e-3)),
        rounded(lion(1e-3)),
    ],
    ids=["plain", "schedule", "cautious", "smooth", "int8", "error bits", "rounded"],
)
def test_strict_dtype_promotion(tx, dtype):
    with jax.numpy_dtype_promotion("strict"):
        w = jnp.ones((64, 64), dtype)
        updates, _ = tx.update(w, tx.init(w), w)
        assert optax.apply_updates(w, updates).dtype == w.dtype


def test_error_bits_are_float32_weights_under_strict_promotion_too():
    exact, wrapped = jnp.ones((64, 64)), with_error_bits(lion(1e-3))
    narrow = exact.astype(jnp.bfloat16)
    state, low = lion(1e-3).init(exact), wrapped.init(narrow)
    with jax.numpy_dtype_promotion("strict"):
        for seed in range(20):
            g = random(seed).astype(jnp.bfloat16)
            updates, low = wrapped.update(g, low, narrow)
            narrow = optax.apply_updates(narrow, updates)
            updates, state = lion(1e-3).update(g.astype(jnp.float32), state, exact)
            exact = optax.apply_updates(exact, updates)
            np.testing.assert_array_equal(narrow, exact.astype(jnp.bfloat16))


@pytest.mark.parametrize("dtype", [jnp.float8_e4m3fn, jnp.float8_e5m2])
def test_float8_leaves_follow_optax(dtype):
    w = jnp.ones(4, dtype)
    found, expected = (
        tx.update(w, tx.init(w), w)[0] for tx in (lion(0.1), optax.lion(0.1))
    )
    assert found.dtype == expected.dtype == dtype
    np.testing.assert_allclose(
        found.astype(jnp.float32), expected.astype(jnp.float32), rtol=0.07
    )


@pytest.mark.parametrize("mu_dtype", [None, "int8"])
def test_arrays_of_more_than_two_to_the_31_values(mu_dtype):
    shape = jax.ShapeDtypeStruct((32, 8192, 8192), jnp.bfloat16)
    tx = lion(1e-4, mu_dtype=mu_dtype, cautious=True)
    jax.eval_shape(lambda p: tx.update(p, tx.init(p), p), shape)


@pytest.mark.parametrize("options", [{}, {"mode": "smooth"}, {"cautious": True}])
@pytest.mark.parametrize("mu_dtype", [None, "int8"])
def test_float32_weights_with_bfloat16_gradients_step_in_float32(options, mu_dtype):
    w, tx = jnp.ones((64, 64)), lion(1.0, mu_dtype=mu_dtype, **options)
    narrow = [random(seed).astype(jnp.bfloat16) for seed in range(2)]
    found = expected = tx.init(w)
    for g in narrow:
        a, found = tx.update(g, found, w)
        b, expected = tx.update(g.astype(jnp.float32), expected, w)
        chex.assert_trees_all_equal((a, found), (b, expected))


# ----------------------------------------------------------------------------- betas


def compiled(tx):
    params = {name: jnp.ones((512, 512)) for name in "abc"}

    def step(p, s, g):
        updates, s = tx.update(g, s, p)
        return optax.apply_updates(p, updates), s

    step = jax.jit(step, donate_argnums=(0, 1))
    return step.lower(params, tx.init(params), params).compile()


@pytest.mark.parametrize(
    "tx",
    [
        optax.inject_hyperparams(lion)(1e-4),
        optax.inject_hyperparams(lion)(1e-4, mu_dtype="bfloat16"),
        optax.inject_hyperparams(lion, static_args=("b1", "b2"))(1e-4),
        lion(1e-4, b1=np.float32(0.9), b2=np.float32(0.99)),
        lion(1e-4, b1=jnp.float32(0.9), b2=jnp.float32(0.99)),
        lion(1e-4, b1=np.asarray(0.9), b2=0.99),
    ],
    ids=["injected", "injected, bfloat16", "static", "numpy", "jax", "array"],
)
def test_betas_that_are_arrays_write_in_place(tx):
    assert compiled(tx).memory_analysis().temp_size_in_bytes < 512 * 512 * 4


@pytest.mark.parametrize("mode", ["hard", "smooth", "refined"])
@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.0, 0.9), (0.9, 0.5), (0.9, 0.9)])
def test_traced_betas_are_those_of_optax(betas, mode):
    def steps(factory):
        def run(b1, b2):
            tx = factory(b1, b2, mode=mode)
            state, found = tx.init(jnp.zeros((64, 64))), []
            for seed in range(4):
                u, state = tx.update(random(seed), state)
                found.append((u, state.mu))
            return found

        return jax.jit(run)(*map(jnp.float32, betas))

    chex.assert_trees_all_close(
        steps(scale_by_lion), steps(optax.scale_by_lion), rtol=1e-5, atol=1e-6
    )


def test_traced_betas_that_forget_the_momentum_are_visible(monkeypatch):
    # Read from the old momentum, as with the commands' flags, they forget nothing.
    monkeypatch.setenv("XLA_FLAGS", "")
    tx = optax.inject_hyperparams(scale_by_lion)(0.9, 0.05)
    updates, _ = jax.jit(tx.update)(jnp.ones(3), tx.init(jnp.ones(3)))
    assert jnp.isnan(updates).all()
    static = optax.inject_hyperparams(scale_by_lion, static_args=("b1", "b2"))
    tx = static(0.9, 0.05)  # the remedy that the docstring names
    updates, _ = jax.jit(tx.update)(jnp.ones(3), tx.init(jnp.ones(3)))
    np.testing.assert_array_equal(updates, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": "1e-3"}, "learning_rate='1e-3', .* a number or a schedule"),
        ({"learning_rate": None}, "learning_rate=None"),
        ({"b1": (0.9, 0.99)}, r"b1=\(0.9, 0.99\), but it must be a number, in"),
        ({"b2": "0.99"}, "b2='0.99'"),
        ({"weight_decay": [0.1]}, "weight_decay="),
        ({"smooth_beta": None}, "smooth_beta=None"),
        ({"mu_dtype": "int4"}, "mu_dtype='int4'"),
        ({"mu_dtype": 16}, "mu_dtype=16"),
        ({"mode": None}, "mode=None"),
        ({"b1": np.float32(1.5)}, "b1=.*1.5.*must be in"),
        ({"learning_rate": np.float64(-1)}, "learning_rate=.*must be >= 0"),
        ({"learning_rate": np.inf}, "learning_rate=inf.*>= 0 and finite"),
        ({"learning_rate": np.complex64(1)}, "learning_rate=.*must be a number"),
        ({"smooth_beta": np.inf}, "smooth_beta=inf"),
        ({"mask": "kernel"}, "mask holds 'kernel', but it must be a tree of booleans"),
        ({"mask": {"kernel": 0.5}}, r"mask holds 0\.5"),
    ],
)
def test_values_of_a_wrong_type_are_refused_at_construction(options, message):
    # The tests' hook checks annotations first, which users do not have.
    with pytest.raises((TypeError, ValueError), match=message):
        inspect.unwrap(lion)(**{"learning_rate": 1e-3} | options)


def test_an_injected_momentums_dtype_is_given_by_its_name():
    make = optax.inject_hyperparams(inspect.unwrap(lion))
    with pytest.raises(ValueError, match="give its name, such as 'bfloat16'"):
        make(1e-3, mu_dtype=jnp.bfloat16).init(PARAMS)
    state = make(1e-3, mu_dtype="bfloat16").init(PARAMS)
    momenta = jax.tree.leaves(state.inner_state.mu)
    assert {m.dtype for m in momenta} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize("mode", ["hard", "refined"])
def test_a_slope_without_the_smooth_mode_is_taken_as_optax_takes_it(mode):
    g = random(0)
    found, expected = (
        f(mode=mode, smooth_beta=2.0) for f in (scale_by_lion, optax.scale_by_lion)
    )
    np.testing.assert_allclose(
        found.update(g, found.init(g))[0],
        expected.update(g, expected.init(g))[0],
        rtol={"hard": 0, "refined": 1e-6}[mode],
    )


# ---------------------------------------------------------------------------- states

FALLING = optax.linear_schedule(0.1, 0.0, 10)
WRAPPED = {
    "alone": lambda tx: tx,
    "chain": lambda tx: optax.chain(optax.clip_by_global_norm(1.0), tx),
    "masked": lambda tx: optax.masked(tx, {"w": True, "b": False}),
    "several steps": lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    "partition": lambda tx: optax.partition(
        {"a": tx, "b": optax.set_to_zero()}, {"w": "a", "b": "b"}
    ),
    "if finite": lambda tx: optax.apply_if_finite(tx, 3),
}
OPTIONS = {
    "plain": {"learning_rate": 1e-3},
    "scheduled": {"learning_rate": FALLING, "weight_decay": FALLING},
    "mask and dtype": {
        "learning_rate": 1e-3,
        "mask": lambda p: jax.tree.map(lambda x: x.ndim > 1, p),
        "mu_dtype": "bfloat16",
    },
}
PARAMS = {"w": random(100), "b": random(101, (64,))}


@pytest.mark.standard_promotion("optax.lion and MultiSteps do not promote strictly")
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("wrapper", WRAPPED)
def test_a_run_of_optax_lion_continues_and_returns(wrapper, options):
    wrap, options = WRAPPED[wrapper], OPTIONS[options]
    theirs, ours = wrap(optax.lion(**options)), wrap(lion(**options))
    params, state = trained(theirs, PARAMS, theirs.init(PARAMS), range(3))
    expected = trained(theirs, params, state, range(3, 7))
    adopted = lion_jax.from_optax(state)
    chex.assert_trees_all_equal_structs(adopted, ours.init(PARAMS))
    found, adopted = trained(ours, params, adopted, range(3, 7))
    if "mu_dtype" in options:  # Optax rounds a bfloat16 momentum's terms too
        chex.assert_trees_all_close(found, expected[0], rtol=0.02, atol=0.01)
    else:
        chex.assert_trees_all_equal(found, expected[0])
        returned = lion_jax.to_optax(adopted, theirs.init(PARAMS))
        chex.assert_trees_all_equal(returned, expected[1])


def test_a_run_with_injected_hyperparameters_continues():
    theirs = optax.inject_hyperparams(optax.lion)(1e-3)
    ours = optax.inject_hyperparams(lion)(1e-3)
    params, state = trained(theirs, PARAMS, theirs.init(PARAMS), range(3))
    expected, _ = trained(theirs, params, state, range(3, 6))
    found, adopted = trained(ours, params, lion_jax.from_optax(state), range(3, 6))
    chex.assert_trees_all_equal(found, expected)
    chex.assert_trees_all_equal_structs(adopted, ours.init(PARAMS))
    static = {"static_args": ("b1", "b2")}
    state_of_theirs = optax.inject_hyperparams(optax.lion, **static)(1e-3).init(PARAMS)
    chex.assert_trees_all_equal_structs(
        lion_jax.from_optax(state_of_theirs),
        optax.inject_hyperparams(lion, **static)(1e-3).init(PARAMS),
    )
    own = optax.inject_hyperparams(lambda learning_rate: optax.lion(learning_rate))
    kept = lion_jax.from_optax(own(1e-3).init(PARAMS))  # a function of one's own
    assert kept.hyperparams.keys() == {"learning_rate"}
    back = lion_jax.to_optax(adopted, theirs.init(PARAMS))
    chex.assert_trees_all_equal_structs(back, state)
    expected, _ = trained(ours, found, adopted, range(6, 8))
    found, _ = trained(theirs, found, back, range(6, 8))
    chex.assert_trees_all_equal(found, expected)


def test_a_checkpoint_of_optax_lion_continues_to_the_bit(tmp_path):
    theirs = optax.lion(1e-3)
    params, state = trained(theirs, PARAMS, theirs.init(PARAMS), range(3))
    ocp.save(tmp_path / "run", {"params": params, "state": state})
    fresh = {"params": PARAMS, "state": theirs.init(PARAMS)}
    loaded = ocp.load(tmp_path / "run", fresh)
    expected, _ = trained(theirs, params, state, range(3, 8))
    adopted = lion_jax.from_optax(loaded["state"])
    found, _ = trained(lion(1e-3), loaded["params"], adopted, range(3, 8))
    chex.assert_trees_all_equal(found, expected)


def test_a_chain_of_ones_own_keeps_its_other_parts():
    def chain(direction):
        decay = optax.add_decayed_weights(0.1)
        return optax.chain(direction(), decay, optax.scale_by_learning_rate(1e-3))

    theirs, ours = chain(optax.scale_by_lion), chain(scale_by_lion)
    params, state = trained(theirs, PARAMS, theirs.init(PARAMS), range(3))
    adopted = lion_jax.from_optax(state, "scale_by_lion")
    assert isinstance(adopted[0], LionState)
    chex.assert_trees_all_equal_structs(adopted, ours.init(PARAMS))
    expected = trained(theirs, params, state, range(3, 6))
    found, adopted = trained(ours, params, adopted, range(3, 6))
    chex.assert_trees_all_equal(found, expected[0])
    chex.assert_trees_all_equal(lion_jax.to_optax(adopted, state), expected[1])


@pytest.mark.standard_promotion("optax's cosine does not promote strictly")
def test_a_state_that_returns_may_be_donated():
    """No buffer twice, whatever counts the schedule has beside the momentum's."""
    schedule = optax.cosine_decay_schedule(0.1, 10)
    theirs, params = optax.lion(schedule), jax.tree.map(jnp.copy, PARAMS)
    back = lion_jax.to_optax(lion(schedule).init(params), theirs.init(params))
    leaves = jax.tree.leaves(back)
    assert len({x.unsafe_buffer_pointer() for x in leaves}) == len(leaves)
    jax.jit(theirs.update, donate_argnums=1)(params, back, params)


@pytest.mark.parametrize("mu_dtype", [None, "bfloat16", "int8"])
def test_flaxs_optimizer_goes_on_with_the_adopted_state(mu_dtype):
    model = nnx.Linear(64, 64, rngs=nnx.Rngs(0))
    grads = nnx.grad(lambda m: (m(jnp.ones((2, 64))) ** 2).sum())(model)
    rate = optax.constant_schedule(0.1)
    old = nnx.Optimizer(model, optax.lion(rate), wrt=nnx.Param)
    old.update(model, grads)
    new = nnx.Optimizer(model, lion(rate, mu_dtype=mu_dtype), wrt=nnx.Param)
    structure = jax.tree.structure(new.opt_state)
    new.opt_state = lion_jax.from_optax(old.opt_state, mu_dtype=mu_dtype)
    assert jax.tree.structure(new.opt_state) == structure
    before = model.kernel[...]
    new.update(model, grads)
    assert not jnp.array_equal(model.kernel[...], before)
    structure = jax.tree.structure(old.opt_state)
    old.opt_state = lion_jax.to_optax(new.opt_state, old.opt_state)
    assert jax.tree.structure(old.opt_state) == structure
    old.update(model, grads)
    assert [int(x) for x in jax.tree.leaves(old.opt_state) if not x.shape] == [3, 3]


def test_a_momentum_may_become_int8_and_return():
    theirs, ours = optax.lion(1e-3), lion(1e-3, mu_dtype="int8")
    params, state = trained(theirs, PARAMS, theirs.init(PARAMS), range(3))
    adopted = lion_jax.from_optax(state, mu_dtype="int8")
    chex.assert_trees_all_equal_shapes_and_dtypes(adopted, ours.init(PARAMS))
    assert adopted.count == 3
    back = lion_jax.to_optax(adopted, theirs.init(PARAMS))
    chex.assert_trees_all_close(back, state, rtol=1 / 8, atol=1e-5)  # a level
    trained(ours, params, adopted, range(3, 5))


def test_what_is_no_state_of_optax_lion_is_refused():
    with pytest.raises(ValueError, match=r"no state of optax\.lion in .*restore"):
        lion_jax.from_optax(optax.adamw(1e-3).init(PARAMS))
    ours, theirs = lion(1e-3).init(PARAMS), optax.lion(1e-3).init(PARAMS)
    for state, like, said in (
        (theirs, theirs, "no LionState in state"),
        (ours, ours, r"no state of optax\.lion in like"),
        ((ours, 1), (theirs, 2, 3), "like is not the state of the same optimizer"),
    ):
        with pytest.raises(ValueError, match=said):
            lion_jax.to_optax(state, like)


def test_parts_of_a_state_are_found_by_their_names():
    for mu_dtype in (None, "int8"):
        tx = optax.chain(optax.clip_by_global_norm(1.0), lion(1e-3, mu_dtype=mu_dtype))
        _, state = trained(tx, PARAMS, tx.init(PARAMS), range(2))
        assert optax.tree.get(state, "mu")["w"].shape == (64, 64)
        assert optax.tree.get(state, "count") == 2
        assert optax.tree.get(optax.tree.set(state, count=7), "count") == 7
