"""A table of optimizers times a list of laws that every one of them must keep."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lion_jax import (
    lion,
    scale_by_lion,
    with_ema,
    with_error_bits,
    with_stochastic_rounding,
)
from lion_jax.config import OptimizerConfig
from lion_jax.training.optimizers import kernels, make_optimizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.standard_promotion("optax.apply_updates adds float32 to bfloat16"),
]
SCHEDULE = optax.cosine_decay_schedule(0.1, 10)
OPTIMIZERS = {
    "lion": lambda: lion(0.1),
    "lion, scheduled": lambda: lion(SCHEDULE, weight_decay=SCHEDULE),
    "lion, masked decay": lambda: lion(0.1, mask=kernels),
    "lion, bfloat16 momentum": lambda: lion(0.1, mu_dtype=jnp.bfloat16),
    "lion, int8 momentum": lambda: lion(0.1, mu_dtype="int8"),
    "lion, all variants": lambda: lion(
        0.1,
        mode="refined",
        cautious=True,
        cautious_weight_decay=True,
        independent_weight_decay=True,
    ),
    "lion, error bits": lambda: with_error_bits(lion(0.1)),
    "adamw, 8 error bits": lambda: with_error_bits(optax.adamw(0.1), bits=8),
    "lion, stochastic rounding": lambda: with_stochastic_rounding(lion(0.1)),
    "lion, averaged": lambda: with_ema(lion(0.1), 0.9),
    "clip, lion": lambda: optax.chain(optax.clip_by_global_norm(1.0), lion(0.1)),
    "scale_by_lion, smooth": lambda: scale_by_lion(mode="smooth"),
    "scale_by_lion, refined": lambda: scale_by_lion(mode="refined"),
    **{
        f"configured {name}": lambda name=name: make_optimizer(
            OptimizerConfig(
                name=name, schedule="cosine", warmup_fraction=0.1, clip_norm=1.0
            ),
            steps=20,
        )
        for name in ("lion", "adamw", "sgd")
    },
}
PARAMS = {
    "layer": {"kernel": jnp.arange(4096.0).reshape(64, 64) / 4096, "bias": jnp.ones(8)},
    "half": jnp.ones((8, 2), jnp.bfloat16),
}
GRADS = jax.tree.map(lambda p: jnp.cos(7 * p).astype(p.dtype), PARAMS)


def step(tx, params, state, grads):
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state


def compiles_once(tx):
    traces = []

    @jax.jit
    def counted(params, state, grads):
        traces.append(1)
        return step(tx, params, state, grads)

    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(3):
        params, state = counted(params, state, GRADS)
    assert len(traces) == 1


def keeps_dtypes_shapes_and_structure(tx):
    before = tx.init(PARAMS)
    params, after = step(tx, PARAMS, before, GRADS)
    chex.assert_trees_all_equal_shapes_and_dtypes(before, after)
    chex.assert_trees_all_equal_shapes_and_dtypes(PARAMS, params)


def runs_under_scan_as_in_a_loop(tx):
    params, state = PARAMS, tx.init(PARAMS)
    jitted = jax.jit(lambda p, s: step(tx, p, s, GRADS))
    for _ in range(4):
        params, state = jitted(params, state)
    scanned, _ = jax.lax.scan(
        lambda carry, _: (step(tx, *carry, GRADS), None),
        (PARAMS, tx.init(PARAMS)),
        length=4,
    )
    chex.assert_trees_all_close(scanned, (params, state), rtol=1e-2)


def runs_under_vmap(tx):
    stacked = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), PARAMS)
    states = jax.jit(jax.vmap(tx.init))(stacked)
    grads = jax.tree.map(lambda g: jnp.stack([g, -g]), GRADS)
    vmapped = jax.jit(jax.vmap(lambda p, s, g: step(tx, p, s, g)))
    both, _ = vmapped(stacked, states, grads)
    first, _ = step(tx, PARAMS, tx.init(PARAMS), GRADS)
    chex.assert_trees_all_close(jax.tree.map(lambda p: p[0], both), first, rtol=1e-2)


def gives_its_buffers_away(tx):
    donating = jax.jit(lambda p, s, g: step(tx, p, s, g), donate_argnums=(0, 1))
    params, state = jax.tree.map(jnp.copy, (PARAMS, tx.init(PARAMS)))
    expected, _ = step(tx, PARAMS, tx.init(PARAMS), GRADS)
    new, _ = donating(params, state, GRADS)
    assert all(p.is_deleted() for p in jax.tree.leaves(params))
    chex.assert_trees_all_close(new, expected, rtol=1e-2)


def is_like_a_parameter(path, leaf):
    """Whether a leaf lies as a parameter does: not counts, nor exponents of codes."""
    return bool(np.ndim(leaf)) and ".exponents" not in jax.tree_util.keystr(path)


def keeps_shardings(tx):
    mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))
    params, grads = jax.device_put((PARAMS, GRADS), split)
    state = jax.jit(tx.init)(params)
    everywhere = NamedSharding(mesh, PartitionSpec())
    like_params = jax.tree_util.tree_map_with_path(
        lambda path, s: split if is_like_a_parameter(path, s) else everywhere, state
    )
    state = jax.device_put(state, like_params)
    params, after = jax.jit(lambda p, s, g: step(tx, p, s, g))(params, state, grads)
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert new.sharding.is_equivalent_to(old.sharding, new.ndim)
    expected, _ = step(tx, PARAMS, tx.init(PARAMS), GRADS)
    chex.assert_trees_all_close(params, expected, rtol=1e-2)


def works_inside_multi_steps(tx):
    wrapped = optax.MultiSteps(tx, every_k_schedule=2)
    state = wrapped.init(PARAMS)
    first, state = wrapped.update(GRADS, state, PARAMS)
    chex.assert_trees_all_equal(first, jax.tree.map(jnp.zeros_like, PARAMS))
    second, _ = wrapped.update(GRADS, state, PARAMS)
    expected, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS)
    chex.assert_trees_all_close(second, expected, rtol=1e-2, atol=1e-2)


def initialises_from_shapes_alone(tx):
    shapes = jax.eval_shape(lambda: PARAMS)
    from_shapes = jax.eval_shape(tx.init, shapes)
    chex.assert_trees_all_equal_shapes_and_dtypes(from_shapes, tx.init(PARAMS))


def tells_params_from_other_state(tx):
    state = optax.tree.map_params(tx, lambda s: s + 1, tx.init(PARAMS))
    moved = [
        np.all(np.asarray(new) == np.asarray(old) + 1)
        for (path, old), new in zip(
            jax.tree_util.tree_leaves_with_path(tx.init(PARAMS)),
            jax.tree.leaves(state),
            strict=True,
        )
        if is_like_a_parameter(path, old)
    ]
    assert moved
    assert all(moved)


LAWS = (
    compiles_once,
    keeps_dtypes_shapes_and_structure,
    runs_under_scan_as_in_a_loop,
    runs_under_vmap,
    gives_its_buffers_away,
    keeps_shardings,
    works_inside_multi_steps,
    initialises_from_shapes_alone,
    tells_params_from_other_state,
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_law(name, law):
    law(OPTIMIZERS[name]())
