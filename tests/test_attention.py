"""Attention: its formula, and where cuDNN's kernel is asked for."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lion_jax.models.layers import attention

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


def test_cudnn_is_asked_for_where_it_applies(monkeypatch):
    asked = []

    def spy(query, key, value, implementation):
        asked.append(implementation)
        return query

    monkeypatch.setattr(jax.nn, "dot_product_attention", spy)
    x = jnp.ones((1, 2, 3, 64), jnp.bfloat16)
    attention.attend(x, x, x)
    monkeypatch.setattr(jax, "devices", lambda: [HOPPER])
    attention.attend(x, x, x)
    assert asked == ["xla", "cudnn"]
