"""Layer normalisation that moves few bytes.

As `nnx.LayerNorm` has it, but with float32 scales and biases also among bfloat16
values, and with derivatives of our own. In those that JAX derives, the sums over tokens
for the scale and the sums over features have a float32 array of the batch's size in
common, which XLA writes down on a GPU where a device's batch is small. Here the sums
over tokens begin with those of each image, and all are computed from what is in memory
anyway (benchmarks/LOG.md).
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lion_jax.models.layers.norm import sums_of_two


class LayerNorm(nnx.LayerNorm):
    """Layer normalisation (Ba et al., 2016) over the last axis, with scale and bias.

    Statistics, scales and biases are float32; the result is of `dtype`.
    """

    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Norms each token; give several of an image along the last axis but one."""
        assert self.scale is not None
        assert self.bias is not None
        return _norm(x, self.scale[...], self.bias[...], self.epsilon, self.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _norm(x, scale, bias, epsilon, dtype):
    return _forward(x, scale, bias, epsilon, dtype)[0]


def _forward(x, scale, bias, epsilon, dtype):
    values = x.astype(jnp.float32)
    mean = _mean(values)
    # One pass for both, as Flax has it.
    var = jnp.maximum(_mean(jnp.square(values)) - jnp.square(mean), 0)
    rate = jax.lax.rsqrt(var + epsilon)
    y = (values - mean) * (rate * _per_feature(scale, x)) + _per_feature(bias, x)
    return y.astype(dtype), (x, mean, rate, scale)


def _backward(epsilon, dtype, residuals, grad):
    del epsilon, dtype
    x, mean, rate, scale = residuals
    grad = grad.astype(jnp.float32)
    normed = (x.astype(jnp.float32) - mean) * rate
    d_scale, d_bias = _sums(grad * normed, grad)
    scaled = grad * _per_feature(scale, x)
    d_x = (scaled - _mean(scaled) - normed * _mean(scaled * normed)) * rate
    return d_x.astype(x.dtype), d_scale.astype(scale.dtype), d_bias.astype(scale.dtype)


_norm.defvjp(_forward, _backward)


def _mean(x):
    return x.mean(-1, keepdims=True)


def _per_feature(values, x):
    """Gives one value per feature the rank of a batch."""
    return values.astype(jnp.float32).reshape((1,) * (x.ndim - 1) + values.shape)


def _sums(a, b):
    """Returns the sums of two batches by feature."""
    return jax.lax.platform_dependent(a, b, cuda=_by_image, default=_at_once)


def _at_once(a, b):
    axes = tuple(range(a.ndim - 1))
    return a.sum(axes), b.sum(axes)


def _by_image(a, b):
    sums = sums_of_two(a, b, (a.ndim - 2,)) if a.ndim > 2 else (a, b)
    stacked = jnp.stack(sums)  # or XLA would make one sum of both again
    return tuple(stacked.sum(tuple(range(1, stacked.ndim - 1))))
