"""A plain Flax ResNet-50 for train_step.py, in the manner of Flax's ImageNet example.

Linen modules, XLA's own convolutions, a jitted step with state donated: what a user of
Flax writes who does not think of the platform.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 convolutions beside a shortcut."""

    width: int
    stride: int
    train: bool

    @nn.compact
    def __call__(self, x):
        norm = partial(nn.BatchNorm, use_running_average=not self.train, momentum=0.9)
        conv = partial(nn.Conv, use_bias=False)
        d, strides = 4 * self.width, (self.stride, self.stride)
        y = nn.relu(norm()(conv(self.width, (1, 1))(x)))
        y = nn.relu(norm()(conv(self.width, (3, 3), strides)(y)))
        y = norm(scale_init=nn.initializers.zeros)(conv(d, (1, 1))(y))
        if x.shape != y.shape:
            x = norm()(conv(d, (1, 1), strides)(x))
        return nn.relu(x + y)


class ResNet50(nn.Module):
    """ResNet-50, version 1.5."""

    classes: int
    train: bool = True

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(64, (7, 7), (2, 2), padding=[(3, 3), (3, 3)], use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not self.train, momentum=0.9)(x))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for stage, count in enumerate((3, 4, 6, 3)):
            for index in range(count):
                stride = 2 if stage and not index else 1
                x = Bottleneck(64 * 2**stage, stride, self.train)(x)
        return nn.Dense(self.classes)(jnp.mean(x, axis=(1, 2)))


def prepare(
    row: str, model: str, image_size: int, batch: int, classes: int
) -> Callable[[], None]:
    """Returns a function that takes one step and waits for it."""
    del row, model
    rng = np.random.default_rng(0)
    shape = batch, image_size, image_size, 3
    images = jnp.asarray(rng.standard_normal(shape, dtype=np.float32))
    labels = jnp.asarray(rng.integers(0, classes, batch))
    resnet, tx = ResNet50(classes), optax.lion(1e-4, weight_decay=1.0)

    def train(state, images, labels):
        params, stats, opt_state = state

        def loss_of(params):
            variables = {"params": params, "batch_stats": stats}
            out: Any = resnet.apply(variables, images, mutable=["batch_stats"])
            losses = optax.softmax_cross_entropy_with_integer_labels(out[0], labels)
            return losses.mean(), out[1]["batch_stats"]

        (loss, new), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), new, opt_state), loss

    variables = jax.jit(resnet.init)(jax.random.key(0), images)
    params = variables["params"]
    state = params, variables["batch_stats"], tx.init(params)
    compiled = jax.jit(train, donate_argnums=0)

    def step() -> None:
        nonlocal state
        state, loss = compiled(state, images, labels)
        loss.block_until_ready()

    return step
