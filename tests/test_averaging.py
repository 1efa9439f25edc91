"""The exponential moving average of the weights: against NumPy, and in whole runs."""

import inspect
import json
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from small_runs import (
    STEPS,
    assert_same_run,
    interrupt_at,
    records,
    run,
    saved_state,
    small_config,
    undisturbed,
    without_times,
)

from lion_jax import (
    averaged,
    lion,
    scale_by_lion,
    training,
    with_ema,
    with_error_bits,
    with_stochastic_rounding,
)
from lion_jax.config import OptimizerConfig
from lion_jax.training import preview, restored
from lion_jax.training.optimizers import make_optimizer

DECAY, RATE = 0.9, 2.0**-6
PARAMS = {"kernel": jnp.linspace(-1, 1, 4096 * 2).reshape(4096, 2), "b": jnp.ones(3)}
GRADS = jax.tree.map(lambda p: jnp.cos(7 * p), PARAMS)


def oracle(weights, decay=DECAY):
    """The mean of the weights after each step, the last one counted most."""
    powers = decay ** np.arange(len(weights))[::-1]
    return sum(
        p * np.asarray(w, np.float64) for p, w in zip(powers, weights, strict=True)
    ) / sum(powers)


def trained(tx, params, steps=7, grads=GRADS):
    """The weights after each step, and the last state."""
    step = jax.jit(lambda p, s: _step(tx, p, s, grads))
    states, state = [], tx.init(params)
    for _ in range(steps):
        params, state = step(params, state)
        states.append(params)
    return states, state


def _step(tx, params, state, grads):
    grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state


INNER = {
    "lion": lambda: lion(RATE, weight_decay=0.1),
    "int8 momentum": lambda: lion(RATE, mu_dtype="int8"),
    "optax.adamw": lambda: optax.adamw(RATE),
    "configured": lambda: make_optimizer(OptimizerConfig(clip_norm=1.0), 20),
}


@pytest.mark.slow
@pytest.mark.standard_promotion("optax.adamw raises floats to integer powers")
@pytest.mark.parametrize("name", INNER)
def test_the_average_is_that_of_numpy_and_the_weights_are_the_same(name):
    plain, _ = trained(INNER[name](), PARAMS)
    for steps in 1, 7:
        weights, state = trained(with_ema(INNER[name](), DECAY), PARAMS, steps)
        mean = averaged(state, weights[-1])
        for key in PARAMS:
            np.testing.assert_array_equal(weights[-1][key], plain[steps - 1][key])
            wanted = oracle([w[key] for w in weights])
            np.testing.assert_allclose(mean[key], wanted, rtol=1e-5, atol=1e-6)


def test_before_a_step_the_average_is_the_weights():
    tx = with_ema(lion(RATE), DECAY)
    state = tx.init(PARAMS)
    mean = averaged(state, PARAMS)
    jax.tree.map(np.testing.assert_array_equal, mean, PARAMS)
    # Both may be donated to one step: nothing is shared.
    pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves((state, PARAMS))]
    assert len({*pointers}) == len(pointers)


@pytest.mark.parametrize("decay", [0.9999, 1 - 1e-6])
def test_a_decay_close_to_one_is_as_exact(decay):
    """1 - d^t would lose all but a few digits."""
    weights, state = trained(with_ema(lion(RATE), decay), PARAMS, 5)
    wanted = oracle([w["b"] for w in weights], decay)
    np.testing.assert_allclose(averaged(state, weights[-1])["b"], wanted, rtol=1e-6)


@pytest.mark.parametrize("decay", [0.999, 0.9999])
def test_the_average_of_weights_that_rest_is_these_weights(decay):
    """What is lost in rounding 1 - w would add up, to 3e-5 and 3e-4 of a weight."""
    w = jnp.linspace(0.01, 3, 100)
    tx = with_ema(optax.set_to_zero(), decay)

    def step(_, state):
        return tx.update(jnp.zeros_like(w), state, w)[1]

    state = jax.jit(lambda s: jax.lax.fori_loop(0, 30_000, step, s))(tx.init(w))
    np.testing.assert_array_equal(averaged(state, w), w)


def test_leaves_without_an_average_are_returned_as_they_are():
    params = {"w": jnp.ones(3), "n": 3, "text": "x"}
    only = {"w": params["w"], "n": 3}
    for tx, given in (
        (with_ema(lion(RATE), DECAY), only),
        (optax.masked(with_ema(lion(RATE), DECAY), {"w": True, "n": False}), only),
    ):
        found = averaged(tx.init(given), given)
        assert found["n"] is given["n"]
        np.testing.assert_array_equal(found["w"], 1)
    state = with_ema(lion(RATE), DECAY).init({"w": params["w"]})
    assert averaged(state, params)["text"] == "x"


def test_a_state_to_restore_into_needs_shapes_only():
    tx, shapes = with_ema(lion(RATE), DECAY), jax.eval_shape(lambda: PARAMS)
    chex.assert_trees_all_equal_shapes_and_dtypes(tx.init(shapes), tx.init(PARAMS))


@pytest.mark.standard_promotion("optax.apply_updates adds float32 to bfloat16")
@pytest.mark.parametrize("wrap", [with_error_bits, with_stochastic_rounding])
def test_bfloat16_weights_have_a_float32_average(wrap):
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    weights, state = trained(with_ema(wrap(lion(RATE)), DECAY), params)
    assert {x.dtype for x in jax.tree.leaves(state.average)} == {jnp.dtype("float32")}
    wanted = oracle([w["kernel"] for w in weights])
    np.testing.assert_allclose(state.average["kernel"], wanted, atol=1e-6)
    mean = averaged(state, weights[-1])["kernel"]
    assert mean.dtype == jnp.bfloat16
    np.testing.assert_array_equal(mean, state.average["kernel"].astype(jnp.bfloat16))


def test_inside_of_error_bits_the_average_is_that_of_the_float32_weights():
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    wide = jax.tree.map(lambda p: p.astype(jnp.float32), half)
    grads = jax.tree.map(lambda g: g.astype(jnp.bfloat16), GRADS)
    rounded = jax.tree.map(lambda g: g.astype(jnp.float32), grads)
    inner = with_ema(lion(2.0**-12), DECAY)
    with jax.numpy_dtype_promotion("standard"):
        weights, state = trained(with_error_bits(inner), half, grads=grads)
    wanted, exact = trained(inner, wide, grads=rounded)
    average = averaged(exact, wanted[-1])["kernel"]
    np.testing.assert_allclose(
        state.inner_state.average["kernel"], average, rtol=0, atol=1e-6
    )
    assert averaged(state, weights[-1])["kernel"].dtype == jnp.bfloat16


@pytest.mark.standard_promotion("optax.MultiSteps does not promote strictly")
def test_it_advances_with_the_weights_in_multi_steps():
    tx = optax.MultiSteps(with_ema(lion(RATE), DECAY), 3).gradient_transformation()
    weights, state = trained(tx, PARAMS, 9)
    mean = averaged(state, weights[-1])["kernel"]
    wanted = oracle([w["kernel"] for w in weights[2::3]])
    np.testing.assert_allclose(mean, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.standard_promotion("optax.adam raises floats to integer powers")
def test_what_is_frozen_or_an_integer_has_no_average():
    params = PARAMS | {"stem": jnp.full((64, 64), 0.1), "count": jnp.arange(3)}
    own = {"name": "optax:adam", "freeze": "stem,count"}
    tx = make_optimizer(OptimizerConfig(**own, ema_decay=DECAY), 20)
    bare = make_optimizer(OptimizerConfig(**own), 20)
    sizes = [
        sum(x.size for x in jax.tree.leaves(t.init(params)) if x.ndim)
        for t in (tx, bare)
    ]
    assert sizes[0] - sizes[1] == sum(x.size for x in jax.tree.leaves(PARAMS))
    grads = jax.tree.map(jnp.ones_like, params)
    weights, state = trained(tx, params, 3, grads)
    mean = averaged(state, weights[-1])
    np.testing.assert_array_equal(mean["stem"], params["stem"])
    np.testing.assert_array_equal(mean["count"], params["count"])
    wanted = oracle([w["kernel"] for w in weights])
    np.testing.assert_allclose(mean["kernel"], wanted, rtol=1e-5, atol=1e-6)
    alone = with_ema(optax.identity(), DECAY).init({"count": params["count"]})
    assert not jax.tree.leaves(alone.average)


PREFIXES = {
    "masked": lambda tx: optax.masked(tx, {"a": True, "b": False}),
    "partition": lambda tx: optax.partition(
        {"t": tx, "f": optax.set_to_zero()}, {"a": "t", "b": "f"}
    ),
}


@pytest.mark.parametrize("wrap", PREFIXES.values(), ids=PREFIXES)
def test_masks_and_labels_may_be_those_of_whole_branches(wrap):
    params = {"a": jnp.ones(3), "b": {"c": jnp.ones(2), "d": jnp.ones(2)}}
    tx = wrap(with_ema(optax.sgd(0.5), DECAY))
    updates, state = tx.update(params, tx.init(params), params)
    mean = averaged(state, params)
    np.testing.assert_allclose(mean["a"], params["a"] + updates["a"])
    np.testing.assert_array_equal(mean["b"]["d"], 1)


def test_flaxs_optimizer_has_an_average_in_the_form_of_its_weights():
    model = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, with_ema(optax.sgd(0.5), DECAY), wrt=nnx.Param)
    weights = []
    for _ in range(2):
        optimizer.update(model, nnx.grad(lambda m: m(jnp.ones((2, 4))).sum())(model))
        weights.append(model.kernel[...])
    params = nnx.state(model, nnx.Param)
    mean = averaged(optimizer.opt_state, params)
    assert jax.tree.structure(mean) == jax.tree.structure(params)
    wanted = oracle(weights)
    np.testing.assert_allclose(mean["kernel"][...], wanted, rtol=1e-5, atol=1e-6)
    nnx.update(model, mean)
    pure = averaged(optimizer.opt_state, nnx.to_pure_dict(params))
    np.testing.assert_array_equal(pure["kernel"], mean["kernel"][...])


def test_float8_weights_have_a_float32_average():
    w = jnp.ones(3, jnp.float8_e4m3fn)
    tx = with_ema(optax.identity(), DECAY)
    assert tx.init(w).average.dtype == jnp.float32
    assert averaged(tx.init(w), w).dtype == w.dtype


def test_an_average_of_other_weights_is_refused():
    state = with_ema(lion(RATE), DECAY).init(PARAMS)
    for other in (
        {"other": PARAMS["kernel"]},
        {"kernel": jnp.ones(1), "b": PARAMS["b"]},
    ):
        with pytest.raises(
            ValueError, match=r"average \['\w+'\] of shape .*no such leaf"
        ):
            averaged(state, other)
    flat = optax.flatten(with_ema(lion(RATE), DECAY)).init(PARAMS)
    with pytest.raises(ValueError, match=r"average of all of shape \(\d+,\), but"):
        averaged(flat, PARAMS)


def test_what_is_wrong_is_refused():
    for decay in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="must be > 0 and < 1"):
            with_ema(lion(RATE), decay)
    make = inspect.unwrap(with_ema)  # without the tests' check of annotations
    for decay in ("0.9", lion(RATE), optax.constant_schedule(DECAY)):
        with pytest.raises(TypeError, match=r"must be a number.*static_args=\('decay'"):
            make(lion(RATE), decay)
    with pytest.raises(TypeError, match="decay=JitTracer"):
        jax.jit(lambda decay: make(lion(RATE), decay).init(PARAMS))(DECAY)
    injected = optax.inject_hyperparams(make, static_args=("decay",))  # the remedy
    tx = injected(lion(RATE), decay=DECAY)
    jax.jit(tx.update)(GRADS, tx.init(PARAMS), PARAMS)
    tx = with_ema(scale_by_lion(), DECAY)
    with pytest.raises(ValueError, match="params=None"):
        tx.update(GRADS, tx.init(PARAMS))
    with pytest.raises(ValueError, match="holds none of with_ema; give that of an op"):
        averaged(lion(RATE).init(PARAMS), PARAMS)
    with pytest.raises(ValueError, match=r"holds 2 states of with_ema.* once"):
        averaged((tx.init(PARAMS),) * 2, PARAMS)


def test_averages_of_different_weights_are_one():
    """As of `optax.partition`, with a rate of its own for each part."""
    params = {"a": jnp.ones(3), "b": {"c": jnp.ones((2, 2), jnp.bfloat16)}}
    x, y = with_ema(lion(0.1), 0.5), with_ema(lion(0.2), 0.9)
    labels = {"a": "x", "b": {"c": "y"}}
    found = after_a_step(optax.partition({"x": x, "y": y}, labels), params)
    assert jax.tree.structure(found) == jax.tree.structure(params)
    chex.assert_trees_all_equal(found["a"], after_a_step(x, params["a"]))
    chex.assert_trees_all_equal(found["b"], after_a_step(y, params["b"]))


def after_a_step(tx, params):
    """The average after a step whose gradients are the weights."""
    updates, state = tx.update(params, tx.init(params), params)
    return averaged(state, optax.apply_updates(params, updates))


def averaging(decay=DECAY):
    config = small_config()
    config.optimizer.ema_decay = decay
    return config


@pytest.fixture(scope="module")
def average(tmp_path_factory):
    """The folder of an undisturbed run with an average; not to be written to."""
    return undisturbed(averaging(), tmp_path_factory.mktemp("average") / "run")


@pytest.mark.slow
@pytest.mark.usefixtures("small_data")
def test_a_run_trains_as_without_and_evaluates_the_average(average, whole):
    plain, state = saved_state(whole, "latest"), saved_state(average, "latest")
    names = [name for name in plain if name.startswith("[0]")]
    assert any("batch_stats" in name for name in names)
    moved = 0
    for name in names:  # the weights themselves are among what resumes
        raw = state[name.replace("[0]", "[1]", 1)]
        np.testing.assert_array_equal(raw, plain[name])
        moved += not np.array_equal(state[name], plain[name])
    assert moved == len(names)
    for ours, theirs in zip(records(average), records(whole), strict=True):
        assert ours["train_loss"] == theirs["train_loss"]
        assert ours["val_loss"] != theirs["val_loss"]
    result = json.loads((average / "result.json").read_text())
    figures = training.evaluate(average, "best", {"devices": 1})
    assert figures["test_loss"] == result["test_loss"]
    best = next(r for r in records(average) if r["epoch"] == result["best_epoch"])
    assert figures["validation_loss"] == best["val_loss"]
    # What is loaded, and so predicts and is exported, is the average too.
    model = training.load(average, "latest", {"devices": 1})
    kernel = model.params["head"]["kernel"]
    np.testing.assert_array_equal(kernel, state["[0]['params']['head']['kernel']"])


@pytest.mark.slow
@pytest.mark.usefixtures("small_data")
def test_a_run_with_an_average_is_resumed_to_the_bit(average, tmp_path, monkeypatch):
    config = averaging()
    config.save_every_minutes = 1e-9
    with monkeypatch.context() as patch:
        interrupt_at(patch, STEPS + 4)
        assert run(config, tmp_path / "run")[0] == 128 + 15
    status, said = run(config, tmp_path / "run")
    assert status == 0
    assert "resumed at step" in said
    assert_same_run(average, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.usefixtures("small_data")
def test_another_decay_is_another_run(average, tmp_path):
    shutil.copytree(average, tmp_path / "run")
    with pytest.raises(training.run_folder.RunFolderError, match="ema_decay"):
        run(averaging(0.0), tmp_path / "run")
    assert restored.read_config(average).optimizer.ema_decay == DECAY
    assert without_times(records(average)) == without_times(records(tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.usefixtures("small_data")
def test_a_run_begins_with_an_average(average, tmp_path):
    config = small_config(init_from=str(average))
    config.epochs, config.optimizer.learning_rate = 1, 1e-30  # moves no weight
    config.optimizer.ema_decay = DECAY
    assert run(config, tmp_path / "run")[0] == 0
    best, begun = saved_state(average, "best"), saved_state(tmp_path / "run", "latest")
    for name in (name for name in best if name.startswith("[0]['params']")):
        np.testing.assert_allclose(begun[name], best[name], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("small_data")
def test_a_dry_run_counts_the_average(monkeypatch):
    monkeypatch.setattr(preview, "_show", lambda *_: None)
    with_, without = (
        training.dry_run(x)["bytes"] for x in (averaging(), small_config())
    )
    grown = with_["optimizer_state"] - without["optimizer_state"]
    assert grown == without["parameters"] + 4
