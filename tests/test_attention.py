"""Attention: its formula, and where cuDNN's kernel is asked for."""

import importlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_runs import small_dataset

from lion_jax import models
from lion_jax.config import Config, ModelConfig
from lion_jax.models.layers import attention
from lion_jax.training import calls, sharding
from lion_jax.training.task import graph_of, make_task, split

HOPPER = SimpleNamespace(platform="gpu", compute_capability="9.0")
BLACKWELL = SimpleNamespace(platform="gpu", compute_capability="10.3")
VOLTA = SimpleNamespace(platform="gpu", compute_capability="7.0")
AMD = SimpleNamespace(platform="gpu", compute_capability="gfx942")
CPU = SimpleNamespace(platform="cpu")


def test_attention_is_its_formula():
    q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 7, 3, 16))
    scores = np.einsum("bnhe,bmhe->bhnm", *np.asarray([q, k], np.float64)) / 4
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    expected = np.einsum("bhnm,bmhe->bnhe", weights, np.asarray(v, np.float64))
    np.testing.assert_allclose(attention.attend(q, k, v), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("device", "head", "dtype", "applies"),
    [
        (HOPPER, 64, "bfloat16", True),
        (HOPPER, 64, "float16", True),
        (BLACKWELL, 128, "bfloat16", True),
        (HOPPER, 64, "float32", False),
        (HOPPER, 20, "bfloat16", False),
        (HOPPER, 256, "bfloat16", False),
        (VOLTA, 64, "bfloat16", False),
        (AMD, 64, "bfloat16", False),
        (CPU, 64, "bfloat16", False),
        (jax.devices()[0], 64, "bfloat16", False),
    ],
)
def test_where_cudnn_applies(device, head, dtype, applies):
    assert attention._cudnn_applies(device, head, jnp.dtype(dtype)) == applies


@pytest.fixture
def asked(monkeypatch):
    """The implementations that attention asks JAX for, none of which is run."""
    names = []

    def spy(query, key, value, implementation, **_):
        names.append(implementation)
        return query

    monkeypatch.setattr(jax.nn, "dot_product_attention", spy)
    return names


def test_cudnn_is_asked_for_where_it_applies(monkeypatch, asked):
    x = jnp.ones((1, 2, 3, 64), jnp.bfloat16)
    attention.attend(x, x, x)
    monkeypatch.setattr(jax, "devices", lambda name="": [CPU if name else HOPPER])
    attention.attend(x, x, x)
    attention.attend(x[:, :1], x, x)  # of the last layer of a ViT with a class token
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        attention.attend(x, x, x)
    with jax.default_device("cpu"):  # JAX takes a name, too
        attention.attend(x, x, x)
    assert asked == ["xla", "cudnn", "xla", "xla", "xla"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("found", "compiled_for", "fused", "kernel"),
    [
        (CPU, HOPPER, True, "cudnn"),
        (HOPPER, CPU, True, "xla"),
        (HOPPER, None, True, "cudnn"),
        (HOPPER, HOPPER, False, "xla"),
    ],
)
def test_the_device_that_is_compiled_for_decides(
    monkeypatch, asked, found, compiled_for, fused, kernel
):
    monkeypatch.setattr(jax, "devices", lambda: [found])

    def make(rngs):
        shape = {"image_size": 8, "num_classes": 3, "channels": 1}
        return models.make("vit_tiny", dtype="bfloat16", **shape, rngs=rngs)

    call = calls.of(ModelConfig("vit_tiny"), make, compiled_for, fused_attention=fused)
    graph = graph_of(make)
    parts = jax.eval_shape(lambda: calls.parts_of(make(nnx.Rngs(0))))
    images = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    jax.eval_shape(lambda parts, x: call(graph, *parts, x, train=True), parts, images)
    assert asked == [kernel, "xla"]  # the last layer's is of the class token alone


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_run_attends_as_its_own_devices_do(deterministic):
    mesh = sharding.make_mesh(2)
    config = Config(image_size=8, batch_size=16, eval_batch_size=16)
    config.deterministic = deterministic
    config.model.name = "vit_tiny"
    dataset = small_dataset()
    task = make_task(config, dataset, split(config, dataset), mesh)
    assert task.call.device in mesh.devices
    # jaxlib does not compile cuDNN's attention deterministically on every GPU.
    assert task.call.fused_attention != deterministic


@pytest.mark.parametrize("n", [49, 50, 196, 197])
def test_cudnns_attention_can_be_differentiated(monkeypatch, n):
    """JAX refuses an odd number of tokens, which it finds out without a GPU."""
    lowering = importlib.import_module("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(lowering, "check_cudnn_version", lambda: 91000)
    x = jax.ShapeDtypeStruct((2, n, 12, 64), jnp.bfloat16)

    def loss(*tokens):
        with attention.compiling_for(HOPPER):
            return attention.attend(*tokens).astype(jnp.float32).sum()

    text = str(jax.make_jaxpr(jax.grad(loss, argnums=(0, 1, 2)))(x, x, x))
    assert "dot_product_attention_bwd" in text


@pytest.mark.slow
@pytest.mark.standard_promotion("jax.nn.dot_product_attention promotes to float32")
@pytest.mark.parametrize("n", [5, 49])
def test_a_token_that_is_added_changes_no_bit(n):
    tokens = jax.random.normal(jax.random.key(1), (4, 2, n, 3, 16), jnp.bfloat16)
    *inputs, cotangent = tokens

    def both(attend):
        mixed, pull = jax.vjp(jax.jit(attend), *inputs)
        return mixed, *pull(cotangent)

    added = both(lambda *x: attention._with_even_tokens(*x, "xla"))
    plain = both(lambda *x: jax.nn.dot_product_attention(*x, implementation="xla"))
    for a, b in zip(added, plain, strict=True):
        assert a.shape == b.shape
        np.testing.assert_array_equal(a.astype(jnp.float32), b.astype(jnp.float32))
