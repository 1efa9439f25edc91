"""Batch normalisation: Flax's numbers, less kept for the backward pass."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from lion_jax.models.layers import norm as norms
from lion_jax.models.layers.norm import BatchNorm
from lion_jax.training import sharding

X = 2 + 3 * jax.random.normal(jax.random.key(0), (6, 5, 4, 3))
SCALE, BIAS = np.float32([0.5, 1.5, -1.0]), np.float32([0.1, -0.2, 0.3])
WEIGHTS = jax.random.normal(jax.random.key(1), X.shape)


def flax_norm():
    return nnx.BatchNorm(3, momentum=0.9, epsilon=1e-5, rngs=nnx.Rngs(0))


def set_up(norm):
    norm.scale[...], norm.bias[...] = jnp.asarray(SCALE), jnp.asarray(BIAS)
    return norm


def ours(x, norm):
    return norm(x, train=True)


def flaxs(x, norm):
    return norm(x, use_running_average=False)


def cut(norm):
    """Structure, parameters and statistics, without variables of an outer trace."""
    graph, params, rest = nnx.split(norm, nnx.Param, ...)
    return graph, nnx.to_pure_dict(params), nnx.to_pure_dict(rest)


def gradients(apply, norm):
    graph, params, rest = cut(norm)

    def loss(params, x):
        return jnp.sum(WEIGHTS * jnp.sin(apply(x, nnx.merge(graph, params, rest))))

    return jax.tree.leaves(jax.grad(loss, argnums=(0, 1))(params, X))


def test_training_normalises_by_the_batch():
    x = np.asarray(X, np.float64)
    expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    norm = set_up(BatchNorm(3, scale=1.0, dtype=jnp.float32))
    np.testing.assert_allclose(
        ours(X, norm), expected * SCALE + BIAS, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(norm.mean[...], 0.1 * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-5)


def test_evaluation_normalises_by_the_running_statistics_and_leaves_them():
    norm = set_up(BatchNorm(3, scale=1.0, dtype=jnp.float32))
    norm.mean[...], norm.var[...] = jnp.array([1.0, 2.0, 3.0]), jnp.array([4.0, 1, 9])
    before = jax.tree.map(jnp.copy, nnx.state(norm))
    expected = (X - np.array([[[[1.0, 2.0, 3.0]]]])) / np.sqrt([[[[4.0, 1, 9]]]])
    np.testing.assert_allclose(
        norm(X, train=False), np.asarray(expected) * SCALE + BIAS, rtol=1e-4, atol=1e-4
    )
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(norm))


@pytest.mark.slow
def test_gradients_are_flaxs():
    mine = gradients(ours, set_up(BatchNorm(3, scale=1.0, dtype=jnp.float32)))
    theirs = gradients(flaxs, set_up(flax_norm()))
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_relu_after_it_is_flaxs():
    def with_relu(x, norm):
        return norm(x, train=True, relu=True)

    mine = gradients(with_relu, set_up(BatchNorm(3, scale=1.0, dtype=jnp.float32)))
    theirs = gradients(lambda *args: nnx.relu(flaxs(*args)), set_up(flax_norm()))
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    norm = set_up(BatchNorm(3, scale=1.0, dtype=jnp.float32))
    expected = nnx.relu(norm(X, train=False))
    np.testing.assert_array_equal(norm(X, train=False, relu=True), expected)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_gpus_two_sweeps_are_the_same_gradients(dtype):
    x, grad = X.astype(dtype), WEIGHTS.astype(dtype)
    scale, bias = jnp.asarray(SCALE), jnp.asarray(BIAS)
    (y, *_), residuals = norms._forward(x, scale, bias, dtype, relu=True)
    assert 0.2 < jnp.mean(y == 0) < 0.8
    one = norms._in_one_sweep(*residuals, grad)
    two = norms._in_two_sweeps(*residuals, grad)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sums", [norms._together, norms._by_image])
def test_a_gpus_sums_are_the_same(sums):
    for a, b in zip(norms._apart(X, X * X), sums(X, X * X), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def programs(layout=sharding.ONE_DEVICE, wrap=lambda norm: norm):
    """Those of a gradient for a CPU and for a GPU, which need not be there."""
    graph, params, rest = cut(BatchNorm(3, scale=1.0, dtype=jnp.float32))

    def loss(params, x):
        def norm(x):
            return nnx.merge(graph, params, rest)(x, train=True, relu=True)

        with layout.in_force():
            return jnp.sum(wrap(norm)(x))

    traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(params, X)
    return (
        traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda")
    )


@pytest.mark.parametrize(("large", "barriers"), [(1, 2), (norms.LARGE, 0)])
def test_a_gpus_program_can_be_made_here(large, barriers, monkeypatch):
    monkeypatch.setattr(norms, "LARGE", large)
    cpu, cuda = programs()
    assert "optimization_barrier" not in cpu
    assert cuda.count("optimization_barrier") == barriers


def test_over_many_devices_that_share_a_batch_a_gpu_sums_each_image_first(monkeypatch):
    """Of both sums at once XLA would gather what each device has."""
    mesh = sharding.make_mesh(2)
    monkeypatch.setattr(norms, "FEW", 1)
    monkeypatch.setattr(norms, "LARGE", X.size // 2 + 1)  # half a batch is small
    by_image = "(tensor<6x3xf32>, tensor<6x3xf32>)"
    _, alone = programs()
    assert by_image not in alone
    assert alone.count("optimization_barrier") == 2
    _, shared = programs(sharding.Layout(mesh))
    assert shared.count(by_image) >= 2  # of the statistics, and of their gradients
    assert "optimization_barrier" not in shared
    part = PartitionSpec(sharding.AXIS)
    each = partial(jax.shard_map, mesh=mesh, in_specs=part, out_specs=part)
    _, apart = programs(sharding.Layout(mesh), partial(each, check_vma=False))
    assert by_image.replace("6", "3") not in apart


def test_bfloat16_images_have_float32_statistics():
    norm = BatchNorm(3, scale=1.0, dtype=jnp.bfloat16)
    y = norm((1000 + X).astype(jnp.bfloat16), train=True)
    assert y.dtype == jnp.bfloat16
    mean = np.asarray((1000 + X).astype(jnp.bfloat16), np.float64).mean((0, 1, 2))
    np.testing.assert_allclose(norm.mean[...], 0.1 * mean, rtol=1e-5)
    assert norm.var[...].dtype == jnp.float32


def test_bfloat16_scales_have_gradients_of_their_own_dtype():
    norm = BatchNorm(3, scale=1.0, dtype=jnp.bfloat16)
    graph, params, rest = cut(norm)
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)

    def loss(params):
        return ours(X.astype(jnp.bfloat16), nnx.merge(graph, params, rest)).sum()

    for leaf in jax.tree.leaves(jax.grad(loss)(params)):
        assert leaf.dtype == jnp.bfloat16


def test_parameters_are_float32_and_not_weakly_so():
    for leaf in jax.tree.leaves(nnx.state(BatchNorm(3, scale=1.0, dtype=jnp.float32))):
        assert leaf.dtype == jnp.float32
        assert not leaf.weak_type


@pytest.mark.slow
def test_less_is_kept_than_by_flax():
    """Between layers that keep their inputs, as convolutions do."""

    def temporary(norm, apply):
        graph, params, rest = cut(norm)

        def loss(params, kernels, x):
            for kernel in kernels:
                model = nnx.merge(graph, params, rest)
                x = nnx.relu(apply(x @ kernel, model))
            return jnp.sum(x)

        shapes = params, [jnp.ones((3, 3))] * 4, jnp.ones((64, 32, 32, 3))
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    mine = temporary(BatchNorm(3, scale=1.0, dtype=jnp.float32), ours)
    assert mine < 0.95 * temporary(flax_norm(), flaxs)
