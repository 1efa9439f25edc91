"""From configuration to optimizer: schedules, decay masks, clipping."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lion_jax import lion
from lion_jax.config import OptimizerConfig
from lion_jax.training.optimizers import kernels, make_optimizer, make_schedule

PARAMS = {"a": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}, "token": jnp.ones(4)}


def one_step(config, grads, steps=10):
    tx = make_optimizer(config, steps)
    updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS)
    return updates


def ones(scale=1.0):
    return jax.tree.map(lambda p: scale * jnp.ones_like(p), PARAMS)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ({"warmup_fraction": 0.4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]),
        (
            {"schedule": "cosine"},
            (1 + np.cos(np.pi * np.arange(10) / 10)) / 2,
        ),
        (
            {"schedule": "cosine", "warmup_fraction": 0.2},
            [0.5, 1, *((1 + np.cos(np.pi * np.arange(8) / 8)) / 2)],
        ),
        ({"warmup_fraction": 0.1}, [1] * 10),
    ],
)
def test_schedule(options, expected):
    schedule = make_schedule(OptimizerConfig(learning_rate=0.5, **options), 10)
    rates = [float(schedule(step)) for step in range(10)]
    np.testing.assert_allclose(rates, 0.5 * np.asarray(expected), atol=1e-6)


def test_cosine_ends_at_zero():
    schedule = make_schedule(OptimizerConfig(schedule="cosine"), 10)
    assert schedule(10) == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
@pytest.mark.standard_promotion("optax.adamw raises floats to integer powers")
def test_kernels_decay_and_nothing_else():
    assert kernels(PARAMS) == {"a": {"kernel": True, "bias": False}, "token": False}
    for name in ("lion", "adamw", "sgd"):
        config = OptimizerConfig(
            name=name, learning_rate=0.5, weight_decay=0.25, decay="kernels"
        )
        updates = one_step(config, ones(0.0))
        assert updates["a"]["kernel"] == pytest.approx(-0.125 * np.ones((2, 3)))
        assert not np.any(updates["a"]["bias"])
        assert not np.any(updates["token"])


def test_all_parameters_decay_by_default():
    updates = one_step(OptimizerConfig(learning_rate=0.5, weight_decay=0.5), ones(0.0))
    chex.assert_trees_all_close(updates, ones(-0.25))


@pytest.mark.standard_promotion("optax.adamw raises floats to integer powers")
def test_the_configured_optimizers_are_optaxs():
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.5, b1=0.8, b2=0.95)
    peers = {
        "lion": lion(0.1, 0.8, 0.95, weight_decay=0.5),
        "adamw": optax.adamw(0.1, 0.8, 0.95, weight_decay=0.5),
        "sgd": optax.chain(optax.add_decayed_weights(0.5), optax.sgd(0.1, 0.9)),
    }
    for name, tx in peers.items():
        config.name = name
        expected, _ = tx.update(ones(2.0), tx.init(PARAMS), PARAMS)
        chex.assert_trees_all_close(one_step(config, ones(2.0)), expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.standard_promotion("lion widens bfloat16 by jnp.promote_types")
@pytest.mark.parametrize(
    "option",
    [
        {"mu_dtype": "bfloat16"},
        {"mu_dtype": "int8"},
        {"mode": "refined"},
        {"cautious": True},
        {"cautious_weight_decay": True},
        {"independent_weight_decay": True},
    ],
)
def test_lions_variants_are_configured(option):
    keys = jax.random.split(jax.random.key(0), 3)
    params, *grads = (jax.random.normal(key, (64, 64)) for key in keys)

    def updates_and_state(tx):
        state = tx.init(params)
        for g in grads:
            updates, state = tx.update(g, state, params)
        return updates, jax.tree.leaves(state)

    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.5, **option)
    ours = updates_and_state(make_optimizer(config, 10))
    chex.assert_trees_all_close(
        ours[0], updates_and_state(lion(0.1, weight_decay=0.5, **option))[0]
    )
    plain = updates_and_state(lion(0.1, weight_decay=0.5))
    same = [np.array_equal(a, b) for a, b in zip(ours[0], plain[0], strict=True)]
    types = [x.dtype for x in ours[1]] == [x.dtype for x in plain[1]]
    assert not (all(same) and types)


@pytest.mark.slow
def test_clipping_bounds_the_global_norm_of_the_gradient():
    config = OptimizerConfig(
        name="sgd", learning_rate=1.0, weight_decay=0.0, momentum=0.0, clip_norm=0.5
    )
    assert float(optax.tree.norm(one_step(config, ones(9.0)))) == pytest.approx(0.5)
    small = one_step(config, ones(0.01))
    chex.assert_trees_all_close(small, ones(-0.01))
