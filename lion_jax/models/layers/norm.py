"""Batch normalisation, with a ReLU where one follows, that moves few bytes.

Flax's batch norm leaves its input less the mean beside the input itself. Memory is what
a training step waits for, so this one leaves its input alone.

On a GPU the backward pass has two sweeps, one for the sums and one for the result. XLA
would write down between them which values the ReLU let pass; each sweep computes that
again instead, from the input, which both read anyway (benchmarks/LOG.md).
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
# Values of a device's batch; of a smaller one XLA was seen to write the masked
# gradient, and in float32.
LARGE = 2**23
FEW = 8  # devices: to gather the sums of so few takes less than further kernels


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
        self, x: Float[Array, "b h w c"], *, train: bool, relu: bool = False
    ) -> Float[Array, "b h w c"]:
        """Norms by the batch's statistics and updates the running ones, or by those.

        With `relu`, returns what is positive of that, and 0 for the rest.
        """
        scale, bias = self.scale[...], self.bias[...]
        if not train:
            rate = jax.lax.rsqrt(self.var[...] + EPSILON) * scale
            y = _scaled(x, self.mean[...], rate, bias).astype(self.dtype)
            return jax.nn.relu(y) if relu else y
        normed: Any = _norm(x, scale, bias, self.dtype, relu)
        y, mean, var = normed
        for running, batch_value in (self.mean, mean), (self.var, var):
            running[...] = MOMENTUM * running[...] + (1 - MOMENTUM) * batch_value
        return y


def _per_channel(values: Float[Array, " c"]) -> Float[Array, "1 1 1 c"]:
    """Gives one value per channel the rank of an image batch."""
    return values[None, None, None]


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _norm(x, scale, bias, dtype, relu):
    """Returns the normed batch, its mean and its variance; these have no gradient."""
    return _forward(x, scale, bias, dtype, relu)[0]


def _forward(x, scale, bias, dtype, relu):
    values, n = x.astype(jnp.float32), x.size / x.shape[-1]
    # One pass over the batch for both, as Flax has it; what is lost where the mean is
    # far larger than the deviation, it loses too.
    total, squares = _sums(values, jnp.square(values))
    mean = total / n
    var = jnp.maximum(squares / n - jnp.square(mean), 0)
    rate = jax.lax.rsqrt(var + EPSILON)
    factor = rate * scale.astype(jnp.float32)
    y = _scaled(x, mean, factor, bias).astype(dtype)
    if relu:
        y = jax.nn.relu(y)
    return (y, mean, var), (x, y if relu else None, mean, rate, factor, bias)


def _scaled(x, mean, factor, bias):
    y = (x.astype(jnp.float32) - _per_channel(mean)) * _per_channel(factor)
    return y + _per_channel(bias.astype(jnp.float32))


def _devices() -> int:
    """Returns between how many devices a batch is divided, where its program tells."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty or mesh.manual_axes else mesh.size


def _sums(a, b):
    """Returns the sums of two batches by channel."""
    on_gpu = _together if _devices() <= FEW else _by_image
    return jax.lax.platform_dependent(a, b, cuda=on_gpu, default=_apart)


def _apart(a, b):
    return a.sum(AXES), b.sum(AXES)


def _together(a, b):
    """In one kernel, where each of two would be shorter than its launch."""
    return sums_of_two(a, b, AXES)


def _by_image(a, b):
    """First those of each image, or XLA would gather the sums of all devices."""
    return tuple(jnp.stack(sums_of_two(a, b, AXES[1:])).sum(1))


def sums_of_two(a, b, axes):
    """Returns the float32 sums of two arrays of one shape, from one sweep over both."""
    zeros = (jnp.zeros([], jnp.float32),) * 2
    return tuple(jax.lax.reduce((a, b), zeros, partial(jax.tree.map, jnp.add), axes))


def _backward(dtype, relu, residuals, cotangents):
    del dtype
    arguments: Any = *residuals, cotangents[0]
    if not relu:
        return _in_one_sweep(*arguments)
    large = residuals[0].size >= LARGE * _devices()
    on_gpu = _in_two_sweeps if large else _in_one_sweep
    return jax.lax.platform_dependent(*arguments, cuda=on_gpu, default=_in_one_sweep)


def _in_one_sweep(x, y, mean, rate, factor, bias, grad):
    """The gradients; the output, which is kept anyway, tells what a ReLU let pass."""
    # Without a ReLU, XLA fuses these sums with what makes the gradient.
    add = _apart
    if y is not None:
        grad, add = jnp.where(y > 0, grad, 0), _sums
    grad = grad.astype(jnp.float32)
    centred = x.astype(jnp.float32) - _per_channel(mean)
    sums = add(grad, grad * centred)
    return _gradients(x, grad, centred, sums, rate, factor, bias)


def _in_two_sweeps(x, y, mean, rate, factor, bias, grad):
    """The same, with the mask computed twice from the input."""
    del y

    def terms(x, grad):
        # A sign, since XLA would write down the result of a comparison. (Where the
        # gradient is infinite it is NaN, and not 0, that the ReLU lets pass.)
        mask = jnp.sign(jnp.maximum(_scaled(x, mean, factor, bias), 0))
        centred = x.astype(jnp.float32) - _per_channel(mean)
        return grad.astype(jnp.float32) * mask, centred

    # Each sweep behind a barrier, or XLA would see one computation in both.
    x, grad = jax.lax.optimization_barrier((x, grad))
    masked, centred = terms(x, grad)
    sums = _sums(masked, masked * centred)
    x, grad = jax.lax.optimization_barrier((x, grad))
    return _gradients(x, *terms(x, grad), sums, rate, factor, bias)


def _gradients(x, grad, centred, sums, rate, factor, bias):
    """Returns the gradients of a norm's input, scale and bias (both of one dtype)."""
    n = x.size / x.shape[-1]
    d_bias, d_scale = sums[0], sums[1] * rate
    shift, slope = _per_channel(d_bias / n), _per_channel(rate * d_scale / n)
    d_x = (grad - shift - centred * slope) * _per_channel(factor)
    return d_x.astype(x.dtype), d_scale.astype(bias.dtype), d_bias.astype(bias.dtype)


_norm.defvjp(_forward, _backward)
