"""`model.matmul_precision` reaches every product, in the backward pass too."""

import re

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from lion_jax import models
from lion_jax.config import ModelConfig
from lion_jax.training import calls
from lion_jax.training.task import graph_of

PRODUCT = re.compile(r"stablehlo\.(?:dot_general|convolution).*")


def products(name, precision):
    """The products of a lowered gradient of a model, as StableHLO."""
    config = ModelConfig(name, matmul_precision=precision)

    def make(rngs):
        return models.make(name, image_size=8, num_classes=3, rngs=rngs)

    call = calls.of(config, make)
    graph = graph_of(make)
    parts = jax.eval_shape(lambda: calls.parts_of(make(nnx.Rngs(0))))

    def loss(params, stats, images):
        return call(graph, params, stats, images, train=True)[0].sum()

    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    return PRODUCT.findall(jax.jit(jax.grad(loss)).lower(*parts, images).as_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet_nano", "vit_tiny"])
def test_float32_is_float32_on_every_device(name):
    there = products(name, "float32")
    assert len(there) > 10
    assert all("precision = [HIGHEST, HIGHEST]" in product for product in there)
    with jax.default_matmul_precision("tensorfloat32"):  # the user's own
        assert all("[HIGH, HIGH]" in x for x in products(name, "default"))
    assert not any("HIGH" in product for product in products(name, "default"))
