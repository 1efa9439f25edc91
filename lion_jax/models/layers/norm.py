"""Batch normalisation that keeps little for the backward pass.

Flax's batch norm leaves its input less the mean beside the input itself. Memory is what
a training step waits for, so this one leaves its input alone.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

AXES = (0, 1, 2)  # over which an image batch is normed
MOMENTUM = 0.9  # of the running statistics
EPSILON = 1e-5


class BatchNorm(nnx.Module):
    """Batch normalisation (Ioffe & Szegedy, 2015) of NHWC images.

    Over devices that share a batch, the statistics are those of the whole batch.
    """

    def __init__(self, c: int, *, scale: float, dtype: DTypeLike):
        """Makes a norm of `c` channels whose scales start at `scale`.

        Statistics, scales and biases are float32; the result is of `dtype`.
        """
        self.scale = nnx.Param(jnp.full(c, scale, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(c, jnp.float32))
        self.mean = nnx.BatchStat(jnp.zeros(c, jnp.float32))
        self.var = nnx.BatchStat(jnp.ones(c, jnp.float32))
        self.dtype = dtype

    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b h w c"]:
        """Norms by the batch's statistics and updates the running ones, or by those."""
        scale, bias = self.scale[...], self.bias[...]
        if not train:
            rate = jax.lax.rsqrt(self.var[...] + EPSILON) * scale
            centred = x.astype(jnp.float32) - _per_channel(self.mean[...])
            y = centred * _per_channel(rate) + _per_channel(bias)
            return y.astype(self.dtype)
        normed: Any = _norm(x, scale, bias, self.dtype)
        y, mean, var = normed
        for running, batch_value in (self.mean, mean), (self.var, var):
            running[...] = MOMENTUM * running[...] + (1 - MOMENTUM) * batch_value
        return y


def _per_channel(values: Float[Array, " c"]) -> Float[Array, "1 1 1 c"]:
    """Gives one value per channel the rank of an image batch."""
    return values[None, None, None]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _norm(x, scale, bias, dtype):
    """Returns the normed batch, its mean and its variance; these have no gradient."""
    return _forward(x, scale, bias, dtype)[0]


def _forward(x, scale, bias, dtype):
    values = x.astype(jnp.float32)
    factor, shift = scale.astype(jnp.float32), bias.astype(jnp.float32)
    mean = values.mean(AXES)
    # One pass over the batch for both, as Flax has it; what is lost where the mean is
    # far larger than the deviation, it loses too.
    var = jnp.maximum(jnp.square(values).mean(AXES) - jnp.square(mean), 0)
    rate = jax.lax.rsqrt(var + EPSILON)
    y = (values - _per_channel(mean)) * _per_channel(rate * factor)
    y += _per_channel(shift)
    return (y.astype(dtype), mean, var), (x, mean, rate, scale, bias)


def _backward(dtype, residuals, cotangents):
    del dtype
    x, mean, rate, scale, bias = residuals
    grad = cotangents[0].astype(jnp.float32)
    centred = x.astype(jnp.float32) - _per_channel(mean)
    n = x.size / x.shape[-1]
    d_bias = grad.sum(AXES)
    d_scale = (grad * centred).sum(AXES) * rate
    shift, slope = _per_channel(d_bias / n), _per_channel(rate * d_scale / n)
    factor = rate * scale.astype(jnp.float32)
    d_x = (grad - shift - centred * slope) * _per_channel(factor)
    return d_x.astype(x.dtype), d_scale.astype(scale.dtype), d_bias.astype(bias.dtype)


_norm.defvjp(_forward, _backward)
