"""How a GPU's optimizer reads gradients: other programs, the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lion_jax import lion
from lion_jax.config import OptimizerConfig
from lion_jax.training import gradients, sharding
from lion_jax.training.optimizers import make_optimizer

SHAPES = {"b": (3,), "c": (3, 3, 4, 5), "d": (7, 11), "k": (3, 3, 64, 512), "s": ()}


def tree(seed=0):
    keys = jax.random.split(jax.random.key(seed), len(SHAPES))
    drawn = map(jax.random.normal, keys, SHAPES.values())
    return dict(zip(SHAPES, drawn, strict=True)) | {"h": jnp.ones(2, jnp.bfloat16)}


@pytest.mark.slow
def test_arranged_gradients_are_the_same():
    assert np.prod(SHAPES["k"]) > gradients.SMALL
    arranged = jax.jit(gradients._arranged)(tree())
    jax.tree.map(np.testing.assert_array_equal, arranged, tree())
    assert [x.dtype for x in jax.tree.leaves(arranged)] == [
        x.dtype for x in jax.tree.leaves(tree())
    ]


def test_parameters_that_another_transformation_takes_are_left_out():
    masked = tree() | {"b": optax.MaskedNode()}
    arranged = gradients._arranged(masked)
    assert jax.tree.structure(arranged) == jax.tree.structure(masked)


@pytest.mark.slow
def test_the_norm_is_optaxs():
    expected = optax.tree.norm(jax.tree.map(lambda x: x.astype(jnp.float32), tree()))
    np.testing.assert_allclose(gradients._norm(tree()), expected, rtol=1e-5)


@pytest.mark.parametrize("max_norm", [1e-3, 1e3])
def test_clipping_is_optaxs(max_norm):
    grads = {name: x for name, x in tree().items() if name != "h"}
    ours, theirs = (
        make(max_norm).update(grads, optax.EmptyState())[0]
        for make in (gradients.clip_by_global_norm, optax.clip_by_global_norm)
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("mode", ["data", "fsdp"])
def test_only_a_gpus_program_is_arranged(mode):
    config = OptimizerConfig(clip_norm=1.0)
    tx = make_optimizer(config, 10, sharding.Layout(None, mode))
    params = {name: x for name, x in tree().items() if name != "h"}
    traced = jax.jit(tx.update).trace(params, tx.init(params), params)
    joined = {
        platform: "optimization_barrier"
        in traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda")
    }
    assert joined == {"cpu": False, "cuda": mode == "data"}


def test_the_state_is_the_inner_ones():
    params = tree()
    inner = lion(1e-3)
    outer = gradients.for_few_kernels(inner)
    assert jax.tree.structure(outer.init(params)) == jax.tree.structure(
        inner.init(params)
    )
